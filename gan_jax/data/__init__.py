"""Data sets: opened from their config section, read by random access, with fixed splits."""

from gan_jax.data.dataset import Dataset, Domains, Split
from gan_jax.data.sources import open_data

__all__ = ["Dataset", "Domains", "Split", "open_data"]
