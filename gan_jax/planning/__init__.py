"""Cost of training a config on hardware that is not available here: compiled, never run."""
