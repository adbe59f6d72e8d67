"""Collectives are read from real HLO: programs of known sizes, compiled for simulated devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gan_jax.planning.hlo import Collective, Traffic, collectives, shape_bytes, traffic

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


# In the manner of XLA for CUDA; a loop of three passes, each with its reduction over two GPUs.
GPU = """
HloModule jit_step, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%turned (p: f32[3,5]) -> bf16[5,3] {
  %p = f32[3,5]{1,0} parameter(0)
  %t = f32[5,3]{1,0} transpose(%p), dimensions={1,0}
  ROOT %c = bf16[5,3]{1,0} convert(%t)
}

%part_of (p: f32[1000], q: f32[10], i: s32[]) -> (f32[10], f32[10]) {
  %p = f32[1000]{0} parameter(0)
  %q = f32[10]{0} parameter(1)
  %i = s32[] parameter(2)
  %w = f32[10,100]{1,0} bitcast(%p)
  %s = f32[1,10]{1,0} dynamic-slice(%w, %i, %i), dynamic_slice_sizes={1,10}
  %r = f32[10]{0} bitcast(%s)
  %m = f32[10]{0} multiply(%r, %q)
  ROOT %both = (f32[10]{0}, f32[10]{0}) tuple(%m, %q)
}

%kept (all: f32[1000], new: f32[10], i: s32[]) -> f32[1000] {
  %all = f32[1000]{0} parameter(0)
  %new = f32[10]{0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %u = f32[1000]{0} dynamic-update-slice(%all, %new, %i)
}

%body (state: (s32[], f32[1000])) -> (s32[], f32[1000]) {
  %state = (s32[], f32[1000]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %all = f32[1000]{0} get-tuple-element(%state), index=1
  %ten = f32[10]{0} slice(%all), slice={[0:10]}
  %all-reduce-start = ((f32[10]{0}), f32[10]{0}) all-reduce-start(%ten), replica_groups={{0,1}}, \
to_apply=%sum
  %all-reduce-done = f32[10]{0} all-reduce-done(%all-reduce-start)
  %update = f32[1000]{0} fusion(%all, %all-reduce-done, %i), kind=kLoop, calls=%kept
  ROOT %out = (s32[], f32[1000]{0}) tuple(%i, %update)
}

%condition (state: (s32[], f32[1000])) -> pred[] {
  %state = (s32[], f32[1000]{0}) parameter(0)
  ROOT %never = pred[] constant(false)
}

ENTRY %main (x: f32[3,5], y: f32[1000]) -> f32[1000] {
  %x = f32[3,5]{1,0} parameter(0)
  %y = f32[1000]{0} parameter(1)
  %zero = s32[] constant(0)
  %t = bf16[5,3]{1,0} fusion(%x), kind=kInput, calls=%turned
  %gemm = (bf16[5,5]{1,0}, s8[4194304]{0}) custom-call(%t, %t), \
custom_call_target="__cublas$gemm"
  %product = bf16[5,5]{1,0} get-tuple-element(%gemm), index=0
  %first = f32[10]{0} slice(%y), slice={[0:10]}
  %part = (f32[10]{0}, f32[10]{0}) fusion(%y, %first, %zero), kind=kLoop, calls=%part_of
  %start = (s32[], f32[1000]{0}) tuple(%zero, %y)
  %loop = (s32[], f32[1000]{0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"3"},"known_init_step":{"init":"0","step":"1"}}
  %looped = f32[1000]{0} get-tuple-element(%loop), index=1
  ROOT %copy = f32[1000]{0} copy(%looped)
}
"""


def test_what_a_gpu_launches_and_moves() -> None:
    """By hand: one kernel an instruction, the bytes of its operands and results."""
    turned = 4 * 15 + 2 * 15
    product = 2 * 2 * 15 + 2 * 25  # t is read twice; cuBLAS's workspace is not counted
    first = 2 * 4 * 10  # of a slice, what is taken
    part = 4 * (10 + 10 + 1) + 2 * 4 * 10
    one_pass = first + 2 * 4 * 10 + 4 * (10 + 1) + 4 * 10  # slice, reduction, update in place
    copy = 2 * 4 * 1000
    assert traffic(GPU) == Traffic(
        kernels=5 + 3 * 3,
        bytes=turned + product + first + part + 3 * one_pass + copy,
        copied=turned + first + 3 * (one_pass - 2 * 4 * 10) + copy,
    )
    assert collectives(GPU, 4) == [Collective("all-reduce", 40, 2)] * 3


def test_a_loop_that_says_by_its_condition_how_often_it_runs() -> None:
    """As libtpu writes it; where the limit is no constant the body counts once."""
    never = "  ROOT %never = pred[] constant(false)"
    below = """  %i = s32[] get-tuple-element(%state), index=0
  %limit = s32[]{:T(128)} constant(4)
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit), direction=LT"""
    text = GPU.replace("known_trip_count", "nothing")
    assert len(collectives(text.replace(never, below), 4)) == 4
    assert len(collectives(text, 4)) == 1


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
