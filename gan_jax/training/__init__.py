"""The loop, its step and what they need; gets a task and an evaluator, builds neither."""
