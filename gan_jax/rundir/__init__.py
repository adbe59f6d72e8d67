"""A run's directory: config, checkpoints, metrics and pictures. Independent of the method."""
