"""Speed of EfficientNet-Lite0 by the implementation of its depthwise convolutions.

    python benchmarks/efficientnet_speed.py [--batch=16] [--rounds=4]

Times forward passes to features and logits, and gradients of a stage with respect to the images, at
224 px with random weights. The original (extra `parity`) is measured too if installed, forward
only. All are timed in turns, so that other jobs on the machine slow them alike; the fastest counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.features import efficientnet

try:
    import torch
    from efficientnet_lite_pytorch import EfficientNet
except ImportError:
    EfficientNet = None


def ours(images: np.ndarray, form: Callable[..., jax.Array]) -> dict[str, Callable[[], object]]:
    """Return compiled passes with one implementation of the depthwise convolutions."""
    net = efficientnet.EfficientNetLite0()
    with mock.patch.object(efficientnet, "_shifted_products", form):
        variables = jax.jit(net.init)(jax.random.key(0), images[:1])
        forward = jax.jit(lambda v, x: [net.apply(v, x)[k] for k in ("features", "logits")])
        slope = jax.jit(jax.grad(lambda x, v: jnp.square(net.apply(v, x)["stage5"]).sum()))
        forward, slope = (
            forward.lower(variables, images).compile(),
            slope.lower(images, variables).compile(),
        )
    return {
        "features": lambda: jax.block_until_ready(forward(variables, images)),
        "gradient": lambda: jax.block_until_ready(slope(images, variables)),
    }


def original(images: np.ndarray) -> Callable[[], object]:
    """Return the forward pass of efficientnet-lite-pytorch, channels last."""
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)  # a view: channels last in memory

    def forward() -> object:
        with torch.inference_mode():
            return net(planes)

    return forward


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    flags = parser.parse_args()
    shape = (flags.batch, efficientnet.SIZE, efficientnet.SIZE, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    passes = {}
    for form in (efficientnet._shifted_products, efficientnet._grouped_convolution):
        name = form.__name__.strip("_").replace("_", " ")
        passes |= {f"{name}, {what}": run for what, run in ours(images, form).items()}
    if EfficientNet is not None:
        passes["PyTorch, features"] = original(images)
    times: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(1 + flags.rounds):  # the first warms up
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    print(f"{jax.devices()[0].platform}, jax {jax.__version__}, batch {flags.batch}; images/s")
    for name, seconds in times.items():
        print(f"{name:32} {flags.batch / min(seconds[1:]):6.1f}")


if __name__ == "__main__":
    main()
