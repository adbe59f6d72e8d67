"""Methods: one family of training steps a file or room, each a `make_task(config, spec)`.

`registry` is the one list of them. Networks lie in `models`, losses in `objectives`.
"""
