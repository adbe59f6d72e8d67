"""Speed of a convolution's forward and gradient products on CPU: XLA's implementations and ours.

    python benchmarks/conv_forms.py [--rounds=5] [--only=SUBSTRING]

Prints GFLOP/s of the forward pass, the input gradient and the weight gradient, for each of

1. XLA's convolution as jaxlib computes it by default, with YNNPACK;
2. XLA's convolution with Eigen (`gan_jax.platform.host.convolve_by_eigen`);
3. ours (`gan_jax.ops.conv_cpu`), also with Eigen. Operations are counted as in the direct form, so
   forms with fewer multiplications can exceed the speed of matrix products.

A transposed convolution has the same three products in other roles. Inputs are activations,
relu(a x + b), which the same program computes and returns, as in a network: XLA may recompute them
instead of reading them. Implementations are timed in turns, so that other jobs on the machine slow
all of them alike; the fastest median over all rounds counts.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.ops import conv_cpu, conv_plain
from gan_jax.ops.conv_plain import Geometry
from gan_jax.platform.heap import reuse_host_memory

# batch, pixels, channels, features, kernel, stride; all 'SAME'
SHAPES = [
    (128, 64, 3, 32, 4, 2),  # the first layer of the VAE, and the last
    (64, 32, 3, 128, 3, 1),  # the first of a residual discriminator
    (64, 32, 128, 3, 3, 1),  # the last of a residual generator
    (64, 64, 3, 64, 4, 2),  # DCGAN at 64 pixels
    (64, 32, 64, 128, 4, 2),
    (64, 16, 128, 256, 4, 2),
    (64, 8, 256, 512, 4, 2),
    (64, 2, 512, 512, 3, 1),  # residual networks
    (64, 4, 512, 512, 3, 1),
    (64, 8, 256, 256, 3, 1),
    (64, 32, 64, 64, 3, 1),
    (64, 32, 128, 128, 3, 1),
    (64, 28, 32, 32, 3, 1),
    (128, 32, 64, 128, 1, 2),  # shortcuts
    (64, 32, 128, 128, 1, 1),
    (64, 16, 256, 256, 3, 1),
    (128, 32, 32, 64, 4, 2),  # the second layer of the VAE
    (128, 28, 1, 32, 3, 1),  # the MNIST classifier
    (128, 28, 32, 32, 3, 1),
    (128, 14, 64, 64, 3, 1),
    (128, 7, 128, 128, 3, 1),
]
PRODUCTS = ("forward", "input_gradient", "weight_gradient")
YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"}


def compile_form(
    geometry: Geometry, form: Callable[..., jax.Array], options: dict[str, str] | None = None
) -> Callable[..., tuple[jax.Array, ...]]:
    """Return a compiled implementation of a product of activations."""
    product = functools.partial(form, geometry)

    def run(a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
        a = jax.nn.relu(1.5 * a + 0.1)
        return product(a, b), a

    return jax.jit(run, compiler_options=options)


def median_time(function: Callable[..., Any], a: jax.Array, b: jax.Array) -> float:
    """Return seconds per call: the median of at least three calls and about 0.1 s."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.1:
        start = time.perf_counter()
        jax.block_until_ready(function(a, b))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(shape: tuple[int, ...], rounds: int) -> list[tuple[float, ...]]:
    """Return GFLOP/s (YNNPACK, Eigen, ours) of the three products."""
    batch, pixels, channels, features, kernel, stride = shape
    pads = jax.lax.padtype_to_pads((pixels,) * 2, (kernel,) * 2, (stride,) * 2, "SAME")
    geometry = Geometry((pixels,) * 2, (kernel,) * 2, (stride,) * 2, tuple(pads))
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, pixels, pixels, channels))
    k = jax.random.normal(keys[1], (kernel, kernel, channels, features))
    g = jax.random.normal(keys[2], (batch, *geometry.out, features))
    gflop = 2e-9 * math.prod(g.shape) * math.prod(k.shape[:3])
    results = []
    for product, (a, b) in zip(PRODUCTS, ((x, k), (g, k), (x, g)), strict=True):
        forms = [
            compile_form(geometry, getattr(conv_plain, product), YNNPACK),
            compile_form(geometry, getattr(conv_plain, product)),
            compile_form(geometry, getattr(conv_cpu, product)),
        ]
        expected, *others = (form(a, b)[0] for form in forms)
        for other in others:
            error = float(jnp.abs(other - expected).max() / jnp.abs(expected).max())
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
    reuse_host_memory()
    print(f"{jax.devices()[0].platform}, jax {jax.__version__}; GFLOP/s, YNNPACK / Eigen / ours")
    print(f"{'':38}" + "".join(f"{name.replace('_', ' '):>24}" for name in PRODUCTS))
    for shape in SHAPES:
        batch, pixels, channels, features, kernel, stride = shape
        name = f"{pixels:3} px {channels:3} -> {features:3}, {kernel}x{kernel} s{stride}"
        name += f", batch {batch}"
        if flags.only not in name:
            continue
        cells = [" / ".join(f"{x:5.1f}" for x in row) for row in measure(shape, flags.rounds)]
        print(f"{name:38}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
