"""The vocabulary of all rooms: task, state, spec, config, options, keys, errors, images.

Imports no other room.
"""
