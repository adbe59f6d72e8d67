"""The records and types that all packages share: task, state, spec, config, options, keys, errors.

Imports no other package of gan_jax.
"""
