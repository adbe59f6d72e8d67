"""Methods: each file or sub-package is a family of training steps with a `make_task(config, spec)`.

`registry` lists all of them. Networks are in `models`, losses in `objectives`.
"""
