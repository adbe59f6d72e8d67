"""Command line: train, evaluate, sample, transform, report, inspect and plan. See README.md.

python main.py                                                       quickstart
python main.py --config=configs/dcgan.py:mnist --workdir=runs/dcgan  --config.optim.gen.lr=1e-4
python main.py --mode=sample --workdir=RUN --num=64 --output=DIR

Once the package is installed, `gan_jax` runs the same command from any directory.
"""

from gan_jax.cli.flags import main, start

__all__ = ["main"]

if __name__ == "__main__":
    start()
