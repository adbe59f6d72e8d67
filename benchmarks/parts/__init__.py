"""The parts of accelerator.py: one question a file, each with a function `run(context)`.

A part is a process of its own that starts others and prints rows (`context.py`); what those others
do stands in the same file and is called by name (`serve.py`). A part imports neither JAX nor
PyTorch itself, so that no allocator lives beside what is measured.
"""
