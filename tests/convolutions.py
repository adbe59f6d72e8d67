"""A run whose transforms are small convolutions with known receptive fields, for tests of use."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.spec import Stream
from gan_jax.core.task import Transform
from gan_jax.library.run import Run

CONTEXT = 3  # px: a 5x5 and a 3x3 kernel
SIZE = 16  # px of the training images


def _conv(x: jax.Array, kernel: np.ndarray) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _kernels(inputs: int, outputs: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    shapes = ((5, 5, inputs, 4), (3, 3, 4, outputs))
    return [draw.normal(0, 0.3, shape).astype(np.float32) for shape in shapes]


def sharpen(state: Any, images: jax.Array, keys: Any, labels: Any = None, **_: Any) -> jax.Array:
    """Return the image and two convolutions of it."""
    first, second = _kernels(images.shape[-1], images.shape[-1])
    return jnp.tanh(images + 0.3 * _conv(jnp.tanh(_conv(images, first)), second))


def wide(state: Any, images: jax.Array, keys: Any, labels: Any = None, **_: Any) -> jax.Array:
    """Return three convolutions of the image with 64 channels between, as networks have."""
    draw = np.random.default_rng(0)
    for inputs, outputs in ((images.shape[-1], 64), (64, 64), (64, 3)):
        kernel = draw.normal(0, 0.05, (3, 3, inputs, outputs)).astype(np.float32)
        images = jnp.tanh(_conv(images, kernel))
    return images


def double(state: Any, images: jax.Array, keys: Any, labels: Any = None, **_: Any) -> jax.Array:
    """Return the sharpened image at twice its size."""
    return sharpen(state, images, keys).repeat(2, 1).repeat(2, 2)


def normalise(state: Any, images: jax.Array, keys: Any, labels: Any = None, **_: Any) -> jax.Array:
    """Return the image less its mean: what a norm over the image does."""
    return jnp.tanh(images - images.mean((1, 2), keepdims=True))


def fill(state: Any, images: jax.Array, keys: Any, labels: Any = None, **_: Any) -> jax.Array:
    """Return the image with 0.5 where the mask is, and the mean of the colours seen there."""
    colours, mask = images[..., :-1], images[..., -1:]
    return jnp.where(mask > 0, 0.5 + colours, colours)


def noise(state: Any, images: jax.Array, keys: Any, labels: Any = None, **_: Any) -> jax.Array:
    """Return the image with a constant of its own key added."""
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (), minval=-0.5, maxval=0.5))(keys)
    return images * 0.5 + drawn[:, None, None, None]


TRANSFORMS = {
    "sharpen": Transform("sharpen", sharpen, multiple=1, context=CONTEXT),
    "wide": Transform("convolve", wide, multiple=1, context=CONTEXT),
    "double": Transform("double", double, multiple=4, context=CONTEXT, scale=2.0),
    "normalise": Transform("normalise", normalise, multiple=1),
    "fill": Transform("fill", fill, multiple=1, context=0, takes_mask=True),
    "noise": Transform("noise", noise, multiple=1, context=0),
    "fixed": Transform("the training size only", sharpen),
}


def convolutions_of(run: Run, channels: int = 3) -> Run:
    """Return a run with these transforms in place of its own, and images of SIZE."""
    stream = Stream((SIZE, SIZE, channels), "float32", "image")
    how = {"size": [SIZE, SIZE], "channels": channels, "resize": "bicubic", "fit": "crop"}
    spec = dataclasses.replace(run.spec, streams={"image": stream}, preprocess=how)
    task = dataclasses.replace(run.task, transforms=TRANSFORMS)
    return dataclasses.replace(run, spec=spec, task=task, _compiled_functions={})
