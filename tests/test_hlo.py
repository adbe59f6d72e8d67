"""Collectives are read from real HLO: programs of known sizes, compiled for simulated devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gan_jax.hlo import Collective, collectives, shape_bytes

X, W = (64, 3), (16, 5)  # X is split over all eight devices, W is whole on each


def compiled_text() -> str:
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

    def communicate(x: jax.Array, w: jax.Array) -> tuple:
        return (
            lax.psum((x, w), ("a", "b")),
            lax.psum_scatter(w, "a", tiled=True),
            lax.all_gather(x, "b", tiled=True),
            lax.ppermute(x, "a", [(0, 1), (1, 2), (2, 3), (3, 0)]),
            lax.all_to_all(w, "a", 0, 0, tiled=True),
        )

    whole, both = PartitionSpec(), PartitionSpec(("a", "b"))
    mapped = jax.shard_map(
        communicate,
        mesh=mesh,
        in_specs=(both, whole),
        out_specs=(whole, PartitionSpec("a"), PartitionSpec("a"), both, PartitionSpec("a")),
        check_vma=False,
    )
    x, w = jax.ShapeDtypeStruct(X, jnp.float32), jax.ShapeDtypeStruct(W, jnp.float32)
    return jax.jit(mapped).lower(x, w).compile().as_text()


def test_every_kind() -> None:
    x, w = 4 * 64 * 3 / 8, 4 * 16 * 5  # bytes of one device's part
    found = collectives(compiled_text(), 8)
    assert sorted(found, key=lambda c: c.kind) == [
        Collective("all-gather", x, 2),
        Collective("all-reduce", x + w, 8),  # one of a tuple
        Collective("all-to-all", w, 4),
        # The last belongs to no group: it is sent once.
        Collective("collective-permute", x, 8),
        Collective("reduce-scatter", w, 4),
    ]
    sent = {c.kind: c.sent_bytes for c in found}
    assert sent == {
        "all-reduce": 2 * 7 / 8 * (x + w),
        "reduce-scatter": 3 / 4 * w,
        "all-gather": x,
        "all-to-all": 3 / 4 * w,
        "collective-permute": x,
    }


def test_gradients_are_reduced_once() -> None:
    """The gradient of a data-parallel matrix product: one all-reduce of the matrix's size."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    x = jax.ShapeDtypeStruct((32, 20), jnp.float32, sharding=split)
    w = jax.ShapeDtypeStruct((20, 30), jnp.float32, sharding=whole)
    gradient = jax.jit(jax.grad(lambda w, x: ((x @ w) ** 2).sum()), out_shardings=whole)
    found = collectives(gradient.lower(w, x).compile().as_text(), 8)
    assert found == [Collective("all-reduce", 4 * 20 * 30, 8)]


# As libtpu 0.0.42 writes them: tiled layouts, comments, asynchronous pairs, groups by mesh axes.
TPU = """
%fused (param_0: bf16[8,128]) -> bf16[8,128] {
  %x = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.1 = bf16[32,128]{1,0:T(8,128)(2,1)} all-gather(%x), replica_groups=[2,4]<=[8], \
dimensions={0}
}

ENTRY %main (x: f32[4,4,64,3]) -> f32[] {
  %x = f32[4,4,64,3]{2,1,3,0:T(4,128)S(1)} parameter(0)
  %s = f32[]{:T(128)} constant(0)
  %all-reduce.2 = (f32[4,4,64,3]{2,1,3,0:T(4,128)S(1)}, /*index=1*/f32[]{:T(128)}) all-reduce(%x, \
/*index=1*/%s), replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1':(1)2}, to_apply=%add
  %all-reduce-start = f32[]{:T(128)} all-reduce-start(%s), replica_groups={}, to_apply=%add
  ROOT %all-reduce-done = f32[]{:T(128)} all-reduce-done(%all-reduce-start)
}
"""


def test_forms_of_the_text() -> None:
    assert collectives(TPU, 16) == [
        Collective("all-gather", 2 * 8 * 128, 4),
        Collective("all-reduce", 4 * (4 * 4 * 64 * 3 + 1), 8),
        Collective("all-reduce", 4, 16),
    ]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[]", 4),
        ("bf16[2,3]{1,0:T(8,128)(2,1)}", 12),
        ("(pred[7], s4[4]{0}, c64[2], f8e4m3fn[5], token[])", 7 + 2 + 16 + 5),
        ("f32[0,4]", 0),
    ],
)
def test_shape_bytes(shape: str, size: float) -> None:
    assert shape_bytes(shape) == size
