"""Networks: one architecture family per file, pure Flax Linen modules configured by keywords."""
