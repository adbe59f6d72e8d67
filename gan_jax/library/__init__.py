"""The notebook API: load a run, sample, transform, predict, files; list runs, monitor a training.

Does not train.
"""
