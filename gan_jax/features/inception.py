"""Inception-v3 (arXiv:1512.00567) as a feature network, for the two sets of weights in common use.

"tf" is the graph of 2015-12-05 with which FID (arXiv:1706.08500) and the Inception Score
(arXiv:1606.03498) are defined, "torchvision" the one of PyTorch's model library. They have the same
shapes except for the number of classes, and differ in pooling and in the scale of the input, see
`gan_jax.features.inception_weights.VARIANTS`.

For evaluation only: batch normalisation is folded into the convolutions when weights are loaded.
For speed, some operations are rearranged, with results equal up to rounding. 1x1 convolutions are
matrix products, which XLA:CPU computes faster, and those at the start of a block's branches are
computed as one. Average pooling is moved after the 1x1 convolution that follows it in the paper,
where there are fewer channels. Pools are sums and maxima of shifted images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.models.blocks.layers import Conv

POOLED, _LAST = "branch_pool", "Mixed_7c"


class Unit(NamedTuple):
    """Convolution, batch normalisation and ReLU; named as in the PyTorch files."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    strides: int = 1
    same: bool = True


# A branch is a chain of units, which may end in a fork: a tuple of units with the same input.
Branch = tuple[Unit | tuple[Unit, ...], ...]


class Block(NamedTuple):
    """Parallel branches, and a pooling branch with a 1x1 convolution to `pooled` channels.

    With pooled=0 the block halves the size, and its pooling branch is a max pool only.
    """

    branches: tuple[Branch, ...]
    pooled: int = 0


def _a(pooled: int) -> Block:
    branches = (
        (Unit("branch1x1", 64),),
        (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5))),
        (
            Unit("branch3x3dbl_1", 64),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3)),
        ),
    )
    return Block(branches, pooled)


def _c(inner: int) -> Block:
    row, column = (1, 7), (7, 1)
    branches = (
        (Unit("branch1x1", 192),),
        (
            Unit("branch7x7_1", inner),
            Unit("branch7x7_2", inner, row),
            Unit("branch7x7_3", 192, column),
        ),
        (
            Unit("branch7x7dbl_1", inner),
            Unit("branch7x7dbl_2", inner, column),
            Unit("branch7x7dbl_3", inner, row),
            Unit("branch7x7dbl_4", inner, column),
            Unit("branch7x7dbl_5", 192, row),
        ),
    )
    return Block(branches, 192)


def _fork(name: str) -> tuple[Unit, ...]:
    return Unit(f"{name}a", 384, (1, 3)), Unit(f"{name}b", 384, (3, 1))


_E = Block(
    (
        (Unit("branch1x1", 320),),
        (Unit("branch3x3_1", 384), _fork("branch3x3_2")),
        (
            Unit("branch3x3dbl_1", 448),
            Unit("branch3x3dbl_2", 384, (3, 3)),
            _fork("branch3x3dbl_3"),
        ),
    ),
    192,
)
_HALVING = dict(kernel=(3, 3), strides=2, same=False)
STEM: tuple[Unit | None, ...] = (  # None: a max pool
    Unit("Conv2d_1a_3x3", 32, **_HALVING),
    Unit("Conv2d_2a_3x3", 32, (3, 3), same=False),
    Unit("Conv2d_2b_3x3", 64, (3, 3)),
    None,
    Unit("Conv2d_3b_1x1", 80),
    Unit("Conv2d_4a_3x3", 192, (3, 3), same=False),
    None,
)
BLOCKS: dict[str, Block] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": Block(
        (
            (Unit("branch3x3", 384, **_HALVING),),
            (
                Unit("branch3x3dbl_1", 64),
                Unit("branch3x3dbl_2", 96, (3, 3)),
                Unit("branch3x3dbl_3", 96, **_HALVING),
            ),
        )
    ),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": Block(
        (
            (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, **_HALVING)),
            (
                Unit("branch7x7x3_1", 192),
                Unit("branch7x7x3_2", 192, (1, 7)),
                Unit("branch7x7x3_3", 192, (7, 1)),
                Unit("branch7x7x3_4", 192, **_HALVING),
            ),
        )
    ),
    "Mixed_7b": _E,
    "Mixed_7c": _E,
}


def _shifted(x: jax.Array, axis: int, stride: int) -> list[jax.Array]:
    """Return the three shifted views of x that form windows of three along an axis."""
    end = x.shape[axis] - 2
    return [lax.slice_in_dim(x, i, end + i, stride, axis) for i in range(3)]


def _pool(
    x: jax.Array, combine: Callable[[jax.Array, jax.Array], jax.Array], stride: int = 1
) -> jax.Array:
    """Combine the pixels of 3x3 windows of x [B, H, W, C], without padding."""
    for axis in (2, 1):
        x = functools.reduce(combine, _shifted(x, axis, stride))
    return x


def _surrounded(x: jax.Array, value: float) -> jax.Array:
    edge = (1, 1, 0)
    return lax.pad(x, jnp.asarray(value, x.dtype), ((0, 0, 0), edge, edge, (0, 0, 0)))


def _average_pool(x: jax.Array, zeros_count: bool) -> jax.Array:
    """Average 3x3 windows around each pixel; padding counts as zeros or not at all."""
    counts = []
    for size in x.shape[1:3]:
        low, high = np.arange(size) - 1, np.arange(size) + 2
        inside = np.minimum(high, size) - np.maximum(low, 0)
        counts.append(high - low if zeros_count else inside)
    area = np.outer(*counts).astype(np.float32)
    return _pool(_surrounded(x, 0), jnp.add) / area[..., None]


class ConvReLU(nn.Module):
    """A `Unit` with its normalisation folded into kernel and bias."""

    unit: Unit

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, C] to [B, H', W', features]."""
        _, features, kernel, strides, same = self.unit
        if kernel == (1, 1):
            return nn.relu(nn.Dense(features, name="conv")(x))
        padding = [(k // 2, k // 2) for k in kernel] if same else "VALID"
        return nn.relu(Conv(features, kernel, strides, padding, name="conv")(x))


class _Bias(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)


class Mixed(nn.Module):
    """A `Block`. Submodule "entry" computes the first 1x1 convolutions of all branches at once.

    Attributes:
      block: the description of the block.
      pool: "max", "average" (padding excluded), or "average_with_zeros" (padding counts as zeros).
    """

    block: Block
    pool: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, C] to [B, H', W', C']."""
        widths = entry(self.block, self.pool)
        found = nn.Dense(sum(widths.values()), name="entry")(x)
        ends = np.cumsum([*widths.values()])
        begun = {n: found[..., e - w : e] for (n, w), e in zip(widths.items(), ends, strict=True)}
        outputs = []
        for branch in self.block.branches:
            head, *rest = branch
            y = nn.relu(begun[head.name]) if head.name in begun else self._unit(head, x)
            for unit in rest:
                if isinstance(unit, Unit):
                    y = self._unit(unit, y)
                else:
                    y = jnp.concatenate([self._unit(each, y) for each in unit], -1)
            outputs.append(y)
        outputs.append(self._pooled(x, begun))
        return jnp.concatenate(outputs, -1)

    def _unit(self, unit: Unit, x: jax.Array) -> jax.Array:
        return ConvReLU(unit, name=unit.name, parent=self)(x)

    def _pooled(self, x: jax.Array, begun: Mapping[str, jax.Array]) -> jax.Array:
        if not self.block.pooled:
            return _pool(x, jnp.maximum, stride=2)
        if POOLED not in begun:
            x = _pool(_surrounded(x, -jnp.inf), jnp.maximum)
            return self._unit(Unit(POOLED, self.block.pooled), x)
        # The bias is added after pooling, since the padding must not contain it.
        pooled = _average_pool(begun[POOLED], zeros_count=self.pool != "average")
        return nn.relu(_Bias(name=POOLED)(pooled))


def entry(block: Block, pool: str) -> dict[str, int]:
    """Return names and channels of the 1x1 convolutions that are computed as one."""
    heads = [branch[0] for branch in block.branches]
    widths = {head.name: head.features for head in heads if head.kernel == (1, 1)}
    return {**widths, POOLED: block.pooled} if block.pooled and pool != "max" else widths


class InceptionV3(nn.Module):
    """Inception-v3 up to the logits.

    Attributes:
      classes: number of logits.
      logit_bias: whether the last layer has a bias.
      pool: pooling of all blocks but the last, see `Mixed`.
      last_pool: pooling of the last block.
    """

    classes: int
    logit_bias: bool
    pool: str
    last_pool: str

    def pool_of(self, name: str) -> str:
        """Return the pooling of a block."""
        return self.last_pool if name == _LAST else self.pool

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map images to features and logits.

        Args:
          x: [B, H, W, 3], scaled to about [-1, 1]; H and W at least 75 (299 in training).

        Returns:
          features [B, 2048], the mean of the last feature map, and logits [B, classes].
        """
        for unit in STEM:
            x = ConvReLU(unit, name=unit.name)(x) if unit else _pool(x, jnp.maximum, stride=2)
        for name, block in BLOCKS.items():
            x = Mixed(block, self.pool_of(name), name=name)(x)
        features = x.mean((1, 2))
        return features, nn.Dense(self.classes, use_bias=self.logit_bias, name="fc")(features)
