"""Devices: mesh, collectives, shards, processes, microbatches, precision.

The only room that knows how a step is spread, or jit from pmap.
"""
