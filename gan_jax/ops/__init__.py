"""Convolutions that are fast on CPU, resampling, and functions that XLA compiles separately.

No networks and no methods.
"""
