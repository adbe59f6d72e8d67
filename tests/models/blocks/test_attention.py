"""Self-attention against its definition in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models.blocks.attention import SelfAttention
from gan_jax.models.blocks.spectral import SpectralConv

X = jax.random.normal(jax.random.key(0), (2, 6, 5, 16))


def test_starts_as_the_identity() -> None:
    module = SelfAttention()
    variables = module.init(jax.random.key(1), X)
    np.testing.assert_array_equal(module.apply(variables, X), X)
    gradient = jax.grad(lambda p: (module.apply({"params": p}, X) * X).sum())(variables["params"])
    assert abs(gradient["gain"]) > 0 and abs(gradient["query"]["kernel"]).max() == 0


def test_equals_its_definition_pixel_by_pixel() -> None:
    module = SelfAttention()
    params = module.init(jax.random.key(1), X)["params"]
    params = {**params, "gain": jnp.float32(0.7)}
    got = module.apply({"params": params}, X)
    kernel = {name: np.asarray(params[name]["kernel"])[0, 0] for name in params if name != "gain"}
    for image, made in zip(np.asarray(X, np.float64), got, strict=True):
        # Of 6 x 5 pixels, 2 x 2 blocks cover 6 x 4.
        blocks = [
            [(i + a, j + b) for a in (0, 1) for b in (0, 1)] for i in (0, 2, 4) for j in (0, 2)
        ]
        keys, values = (
            np.stack([max_over(image @ kernel[name], block) for block in blocks])
            for name in ("key", "value")
        )
        for i, j in np.ndindex(6, 5):
            scores = keys @ (image[i, j] @ kernel["query"])
            weights = np.exp(scores) / np.exp(scores).sum()
            expected = image[i, j] + 0.7 * (weights @ values) @ kernel["out"]
            np.testing.assert_allclose(made[i, j], expected, rtol=1e-4, atol=1e-5)


def max_over(image: np.ndarray, pixels: list[tuple[int, int]]) -> np.ndarray:
    return np.stack([image[pixel] for pixel in pixels]).max(0)


@pytest.mark.parametrize("channels", [16, 4])
def test_shapes_of_parameters(channels: int) -> None:
    module = SelfAttention(conv=lambda *a, **k: SpectralConv(*a, train=True, **k))
    variables = module.init(jax.random.key(1), X[..., :channels])
    shapes = {name: jax.tree.leaves(p)[0].shape[2:] for name, p in variables["params"].items()}
    narrow, half = max(channels // 8, 1), channels // 2
    assert shapes == {
        "gain": (),
        "query": (channels, narrow),
        "key": (channels, narrow),
        "value": (channels, half),
        "out": (half, channels),
    }
    assert set(variables["spectral"]) == {"query", "key", "value", "out"}
