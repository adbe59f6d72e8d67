"""The parts of accelerator.py, one per file, each with a function `run(context)`.

A part is a process that starts workers and prints rows (`context.py`); the functions of its workers
are in the same file and called by name (`serve.py`). The part itself imports neither JAX nor
PyTorch, so that it holds no device memory next to the measured processes.
"""
