"""A trained run in Python: load it, sample, transform, write files. Trains nothing."""
