"""Devices: mesh, collectives, shards, processes, microbatches, precision.

The only package that knows how a step is distributed, or distinguishes jit from pmap.
"""
