"""Losses, penalties and likelihoods: pure functions of arrays, per example.

Nothing here knows a network, a config or a state.
"""
