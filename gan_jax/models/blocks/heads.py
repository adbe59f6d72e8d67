"""The last layers of a discriminator: its logit and all other outputs.

Every discriminator of a GAN ends in `apply_head`. Its method `outputs` returns all outputs,
`__call__` the logits only.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.blocks.disc_norm import DiscLayers
from gan_jax.models.blocks.wide import widen
from gan_jax.parallel.axes import axis_gather

# How a discriminator uses the class (`model.conditional`), in addition to "none".
# concat: planes of the one-hot class are appended to the image's channels (arXiv:1411.1784).
# classifier: it predicts the class, as an auxiliary classifier (arXiv:1610.09585).
# projection: the inner product of class embedding and features is added to the logit
# (arXiv:1802.05637).
# semi_supervised: it predicts the class or "generated"; the generator is unconditional
# (arXiv:1606.03498, section 5).
# contrastive, d2d_ce: embeddings of images and classes (arXiv:2006.12681, arXiv:2111.01118).
CONDITIONALS = (
    "concat",
    "classifier",
    "projection",
    "contrastive",
    "d2d_ce",
    "semi_supervised",
)


@dataclasses.dataclass(frozen=True)
class Head:
    """The configuration of a discriminator's last layers.

    Attributes:
      conditional: one of CONDITIONALS, the use of classes if there are any.
      embedding: dimensions of the embeddings of "contrastive" and "d2d_ce".
      linear: (name, outputs) of further linear layers.
      semi_supervised: number of classes in addition to "generated"; 0 for none. The logit of class
        "generated" is 0, so that the logit of real is the logsumexp of the others.
      minibatch_kernels: of `MinibatchDiscrimination`; 0 for none.
    """

    conditional: str = "projection"
    embedding: int = 512
    linear: tuple[tuple[str, int], ...] = ()
    semi_supervised: int = 0
    minibatch_kernels: int = 0


class Outputs(NamedTuple):
    """The outputs of a discriminator.

    Attributes:
      logits: [B], or [B, h, w] of patches; positive for real.
      features: [B, F], the input of the last layer; empty if a network does not return it.
      heads: name -> [B, n]: "class" (logits of an auxiliary classifier), "embedding" and "proxy"
        (of the image and of its class), and those of `Head.linear`.
    """

    logits: jax.Array
    features: Any = ()
    heads: Any = ()


def with_class_planes(
    images: jax.Array, labels: jax.Array | None, *, num_classes: int, head: Head
) -> jax.Array:
    """Return the input of a discriminator for images [B, H, W, C].

    With classes and a head "concat", `num_classes` constant planes, the one-hot class, are appended
    to the channels; otherwise the images are returned.
    """
    if not num_classes or head.conditional != "concat":
        return images
    planes = jax.nn.one_hot(labels, num_classes, dtype=images.dtype)[:, None, None]
    shape = (*images.shape[:3], num_classes)
    return jnp.concatenate([images, jnp.broadcast_to(planes, shape)], -1)


class MinibatchDiscrimination(nn.Module):
    """Append to each image's features its similarity to the batch.

    Salimans et al. 2016 (arXiv:1606.03498, section 3.2): with M = f T, `kernels` rows of `dims`
    numbers, o_b = sum over the batch, on all devices, of exp(-|M_b - M'_b|_1). (The authors' code
    leaves the image itself out, a constant of 1, scales T's columns to a learnt length, and has a
    bias.)

    Attributes:
      kernels: 100 in the paper's code.
      dims: 5 there.
    """

    kernels: int = 100
    dims: int = 5

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Map [B, F] to [B, F + kernels]; the batch is all real or all generated."""
        shape = (features.shape[-1], self.kernels, self.dims)
        kernel = self.param("tensor", nn.initializers.normal(0.05), shape, jnp.float32)
        mine = widen(jnp.einsum("bf,fkd->bkd", features, kernel.astype(features.dtype)))
        distance = jnp.abs(mine[:, None] - axis_gather(mine)).sum(-1)
        return jnp.concatenate([features, jnp.exp(-distance).sum(1).astype(features.dtype)], -1)


def apply_head(
    layers: DiscLayers,
    flat: jax.Array,
    pooled: jax.Array,
    labels: jax.Array | None,
    *,
    num_classes: int,
    head: Head,
    kernel_init: nn.initializers.Initializer,
) -> Outputs:
    """Return a discriminator's outputs; call it inside its compact method.

    Args:
      layers: see `disc_layers`.
      flat: [B, F], the features in which the logit and all other outputs are linear.
      pooled: [B, C], the features that a projection multiplies with the class embedding.
      labels: int [B]; only with num_classes.
      num_classes: 0 for a discriminator without classes.
      head: configuration of the last layers.
      kernel_init: of all weights.
    """

    def linear(size: int, name: str) -> jax.Array:
        return layers.dense(size, kernel_init=kernel_init, name=name)(flat)

    features = flat  # feature matching excludes the features of minibatch discrimination
    if head.minibatch_kernels:
        flat = MinibatchDiscrimination(head.minibatch_kernels, name="minibatch")(flat)
    found = {name: linear(size, name) for name, size in head.linear}
    if head.semi_supervised:
        found["class"] = linear(head.semi_supervised, "classifier")
        return Outputs(jax.nn.logsumexp(widen(found["class"]), axis=-1), features, found)
    logits = linear(1, "logits")[:, 0]
    if num_classes and head.conditional == "projection":
        embed = layers.embed(
            num_classes, pooled.shape[-1], embedding_init=kernel_init, name="class"
        )
        logits = logits + (embed(labels) * pooled).sum(-1)
    if num_classes and head.conditional == "classifier":
        found["class"] = linear(num_classes, "classifier")
    if num_classes and head.conditional in ("contrastive", "d2d_ce"):
        found["embedding"] = linear(head.embedding, "embedding")
        proxy = layers.embed(num_classes, head.embedding, embedding_init=kernel_init, name="proxy")
        found["proxy"] = proxy(labels)
    return Outputs(logits, features, found)
