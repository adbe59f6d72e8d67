"""A run's directory: its record, checkpoints, numbers and pictures. Knows no method."""
