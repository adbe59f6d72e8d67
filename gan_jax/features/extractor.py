"""Extractor: the interface of feature networks to metrics.

Extractors take images as stored, uint8 of any size, and include their own preprocessing: metrics
depend on the resizing filter, so it is part of the extractor and of its name.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError

Features = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Extractor:
    """A feature network.

    Attributes:
      name: the extractor's part of a metric name: "inception_v3_tf/clean", "cnn:RUNNAME", ...
      dimensions: number of features, D.
      variables: pytree of host arrays, to be placed once and passed to `apply`, never closed over.
      apply: (variables, images uint8 [B, H, W, C] of any size, C in 1, 3, 4) -> {"features": [B, D]
        float32, "logits": [B, K] float32}; no "logits" if the network has no classes. Pure; the
        caller compiles it and should use one batch size.
    """

    name: str
    dimensions: int
    variables: Any
    apply: Callable[[Any, jax.Array], Features]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of name and variables; features with equal fingerprints are comparable."""
        digest = hashlib.sha256(self.name.encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()


def checked(apply: Callable[[Any, jax.Array], Features]) -> Callable[[Any, jax.Array], Features]:
    """Wrap `apply` to validate its images and compute in full float32 on accelerators."""

    @functools.wraps(apply)
    def call(variables: Any, images: jax.Array) -> Features:
        if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or images.dtype != jnp.uint8:
            raise UserError(
                f"features of {images.dtype} {list(images.shape)}: give uint8 images"
                " [B, H, W, 1 | 3 | 4]"
            )
        with jax.default_matmul_precision("highest"):
            return apply(variables, images)

    return call
