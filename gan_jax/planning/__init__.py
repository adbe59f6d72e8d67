"""What a config costs on a machine that is not here: compiled, counted, never run."""
