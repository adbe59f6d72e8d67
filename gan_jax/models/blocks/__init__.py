"""Building blocks of networks: layers, norms, heads, attention, embeddings."""
