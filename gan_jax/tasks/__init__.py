"""Methods: one family of train steps a file, each a `make_task(config, spec)`."""
