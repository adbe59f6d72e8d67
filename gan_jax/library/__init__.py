"""What a notebook uses: load a run, sample, transform, write files; find runs, watch one train.

Trains nothing.
"""
