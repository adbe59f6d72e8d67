"""`python -m gan_jax`: the same command as `python main.py` in a checkout."""

from gan_jax.cli.flags import start

start()
