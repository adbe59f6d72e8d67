"""Convolutions that are fast on CPU, and functions that XLA compiles separately.

No networks and no methods.
"""
