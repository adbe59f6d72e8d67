"""Convolutions that are fast on CPU, and parts of a program that XLA keeps apart.

No network and no method.
"""
