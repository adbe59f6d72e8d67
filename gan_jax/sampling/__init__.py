"""Sampling from trained generators beyond a forward pass. Trains nothing."""
