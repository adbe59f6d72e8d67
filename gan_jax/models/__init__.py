"""Networks: one architecture family a file, pure Flax Linen modules that take keyword arguments."""
