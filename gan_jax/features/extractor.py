"""Extractor: the record that a feature network is to metrics.

Images come as they are stored, uint8 of any size, and a network prepares them for itself: the
resizing filter is a part of what is measured, and so of the extractor's name.
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
      name: the protocol part of a metric's name: "inception_v3_tf/clean", "cnn:RUNNAME", ...
      dimensions: D.
      variables: pytree of host arrays, to be placed once and passed to `apply`, never closed over.
      apply: (variables, images uint8 [B, H, W, C] of any size, C in 1, 3, 4) -> {"features": [B, D]
        float32, "logits": [B, K] float32}; without "logits" where the network has no classes. Pure,
        to be compiled by the caller, who passes batches of one size.
    """

    name: str
    dimensions: int
    variables: Any
    apply: Callable[[Any, jax.Array], Features]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the name and the variables: equal where features may be compared."""
        digest = hashlib.sha256(self.name.encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()


def checked(apply: Callable[[Any, jax.Array], Features]) -> Callable[[Any, jax.Array], Features]:
    """Return `apply` with its images checked, in float32 where an accelerator does less."""

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
