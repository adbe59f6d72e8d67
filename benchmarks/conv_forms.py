"""Speed of the three products of a convolution: ours (gan_jax.models.layers) against plain XLA.

    python benchmarks/conv_forms.py [--rounds=5] [--only=SUBSTRING]

Prints GFLOP/s, plain -> ours, of the forward pass, the input gradient and the weight gradient; a
transposed convolution has the same three, in other roles. The forms are timed in turns, so that
another job on the machine slows both alike, and of all rounds the fastest median counts.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.models import layers

# batch, pixels, channels, features, kernel, stride; all 'SAME'
SHAPES = [
    (64, 64, 3, 64, 4, 2),  # DCGAN at 64 pixels
    (64, 32, 64, 128, 4, 2),
    (64, 16, 128, 256, 4, 2),
    (64, 8, 256, 512, 4, 2),
    (64, 32, 128, 128, 3, 1),  # residual networks
    (64, 28, 32, 32, 3, 1),
    (64, 16, 256, 256, 3, 1),
    (128, 28, 1, 32, 3, 1),  # the MNIST classifier
    (128, 28, 32, 32, 3, 1),
    (128, 14, 64, 64, 3, 1),
    (128, 7, 128, 128, 3, 1),
]
PRODUCTS = ("forward", "input_gradient", "weight_gradient")


def median_time(function: Callable[..., jax.Array], a: jax.Array, b: jax.Array) -> float:
    """Return seconds a call: the median of at least three calls and about a tenth of a second."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.1:
        start = time.perf_counter()
        function(a, b).block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(shape: tuple[int, ...], rounds: int) -> list[tuple[float, float]]:
    """Return GFLOP/s (plain, ours) of the three products."""
    batch, pixels, channels, features, kernel, stride = shape
    pads = jax.lax.padtype_to_pads((pixels,) * 2, (kernel,) * 2, (stride,) * 2, "SAME")
    geometry = layers._Geometry((pixels,) * 2, (kernel,) * 2, (stride,) * 2, tuple(pads))
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, pixels, pixels, channels))
    k = jax.random.normal(keys[1], (kernel, kernel, channels, features))
    g = jax.random.normal(keys[2], (batch, *geometry.out, features))
    gflop = 2e-9 * math.prod(g.shape) * math.prod(k.shape[:3])
    results = []
    for product, (a, b) in zip(PRODUCTS, ((x, k), (g, k), (x, g)), strict=True):
        names = (f"_plain_{product}", f"_{product}")
        forms = [jax.jit(functools.partial(getattr(layers, name), geometry)) for name in names]
        plain, ours = (form(a, b) for form in forms)
        error = float(jnp.abs(plain - ours).max() / jnp.abs(plain).max())
        if not error < 1e-4:
            raise ArithmeticError(f"{product} of {shape}: the forms differ by {error:.1e}.")
        times = [[median_time(form, a, b) for form in forms] for _ in range(rounds)]
        results.append(tuple(gflop / min(column) for column in zip(*times, strict=True)))
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    flags = parser.parse_args()
    print(f"{jax.devices()[0].platform}, jax {jax.__version__}; GFLOP/s, plain -> ours")
    print(f"{'':38}" + "".join(f"{name.replace('_', ' '):>22}" for name in PRODUCTS))
    for shape in SHAPES:
        batch, pixels, channels, features, kernel, stride = shape
        name = f"{pixels:3} px {channels:3} -> {features:3}, {kernel}x{kernel} s{stride}"
        name += f", batch {batch}"
        if flags.only not in name:
            continue
        cells = [f"{plain:7.1f} -> {ours:6.1f}" for plain, ours in measure(shape, flags.rounds)]
        print(f"{name:38}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
