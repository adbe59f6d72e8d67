"""The notebook API: load a run, sample, transform, write files; list runs, monitor a training.

Does not train.
"""
