"""Products that an accelerator must not round ask for full float32.

By default a GPU multiplies float32 matrices in TF32 and a TPU in bfloat16, 11 and 8 bits: fine for
the layers of a network, but not for sampling coordinates or distances.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bfloat16 import equations
from jax.lax import Precision

from gan_jax.augment import ada, diffaugment, distortion, geometric
from gan_jax.features.resize import resize
from gan_jax.metrics import corruptions, image_quality
from gan_jax.models.blocks.spectral import spectral_norm
from gan_jax.models.lapgan import enlarge, shrink
from gan_jax.objectives import contrastive
from gan_jax.objectives.weights import orthogonal

IMAGES = jnp.zeros((2, 16, 16, 3))
KEYS = jax.random.split(jax.random.key(0), 2)
ROWS = jnp.ones((4, 3))
MARGINS = dict(temperature=0.5, positive_margin=0.9, negative_margin=0.1)
LABELS = jnp.array([0, 1, 0, 1])
EXACT: dict[str, Callable[[], object]] = {
    "ada": lambda: ada.ada(IMAGES, KEYS, jnp.float32(0.5), ada.PARTS),
    "blur": lambda: corruptions.gaussian_blur(IMAGES, 1.0),
    "resizing": lambda: resize(jnp.zeros((2, 16, 16, 3), jnp.uint8), (9, 9), "clean"),
    "levels of a pyramid": lambda: enlarge(shrink(IMAGES)),
    "ssim": lambda: image_quality.ssim(prediction=IMAGES, target=IMAGES),
    "2C": lambda: contrastive.conditional_contrastive(
        embeddings=ROWS, proxies=ROWS, labels=LABELS, temperature=0.5
    ),
    "D2D-CE": lambda: contrastive.data_to_data_cross_entropy(
        embeddings=ROWS, proxies=ROWS, labels=LABELS, **MARGINS
    ),
    "NT-Xent": lambda: contrastive.normalized_temperature_cross_entropy(
        first=ROWS, second=ROWS, temperature=0.5
    ),
    "spectral norm": lambda: spectral_norm(jnp.ones((3, 4)), jnp.ones(4) / 2, iterate=True),
    "orthogonality": lambda: orthogonal(params={"kernel": jnp.ones((3, 4))}),
}
WITHOUT_PRODUCTS: dict[str, Callable[[], object]] = {
    "diffaugment": lambda: diffaugment.diffaugment(IMAGES, KEYS, diffaugment.PARTS),
    "distortion": lambda: distortion.distortion(IMAGES, KEYS, distortion.PARTS),
    "turning": lambda: geometric.rotate(IMAGES, 10.0),
}


def precisions(function: Callable[[], object]) -> list[object]:
    """Return the precision of each matrix product and convolution in a function."""
    kinds = ("dot_general", "conv_general_dilated")
    program = jax.make_jaxpr(function)().jaxpr
    return [e.params["precision"] for e in equations(program) if e.primitive.name in kinds]


@pytest.mark.parametrize("name", EXACT)
def test_products_are_exact(name: str) -> None:
    found = precisions(EXACT[name])
    assert found and all(p == (Precision.HIGHEST,) * 2 for p in found), found


@pytest.mark.parametrize("name", WITHOUT_PRODUCTS)
def test_nothing_is_multiplied(name: str) -> None:
    assert not precisions(WITHOUT_PRODUCTS[name])


def test_the_test_sees_a_default_product() -> None:
    assert precisions(lambda: jnp.matmul(ROWS, ROWS.T)) == [None]
    assert np.isfinite(np.asarray(ada.ada(IMAGES, KEYS, jnp.float32(1.0), ada.PARTS))).all()
