"""The training loop and its parts. It is given a task and an evaluator and builds neither."""
