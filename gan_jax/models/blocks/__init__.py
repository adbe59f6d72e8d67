"""What networks are made of: layers, norms, heads, attention, embeddings."""
