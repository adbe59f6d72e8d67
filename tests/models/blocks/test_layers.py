"""Convolutions against plain XLA and Flax, to second order, on every platform and over devices."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gan_jax.models.blocks.layers import Conv, ConvTranspose, avg_pool, max_pool
from gan_jax.ops import windows, winograd
from gan_jax.ops.convolution import conv2d, conv2d_transpose

ASYMMETRIC = ((0, 2), (3, 1))
# kernel, strides, padding, channels, features, size: every kernel size with strides that divide it
# and strides that do not, every padding, one channel on either side, odd and even sizes.
CASES = [
    (1, 1, "SAME", 3, 2, (5, 4)),
    (1, 2, "VALID", 2, 1, (5, 4)),
    (1, (2, 3), ASYMMETRIC, 2, 3, (8, 9)),
    (2, (2, 1), 1, 1, 3, (7, 6)),
    (2, 3, "SAME", 2, 3, (7, 8)),
    (3, 1, "SAME", 2, 3, (7, 6)),
    (3, 1, ASYMMETRIC, 1, 3, (6, 5)),
    (3, 2, 1, 3, 1, (8, 7)),
    (3, (1, 3), "VALID", 3, 2, (6, 9)),
    (4, 1, "VALID", 2, 1, (4, 4)),
    (4, 2, "SAME", 1, 3, (9, 8)),
    (4, 2, 1, 3, 2, (8, 10)),
    (4, 2, 1, 3, 2, (2, 2)),
    (4, 2, ASYMMETRIC, 2, 3, (7, 8)),
    (4, (2, 1), "VALID", 2, 2, (9, 6)),
    (5, 1, 1, 2, 1, (6, 7)),
    (5, 2, "SAME", 1, 2, (8, 9)),
    (7, 1, "SAME", 3, 1, (8, 9)),
    (7, 3, ASYMMETRIC, 2, 2, (9, 10)),
    ((4, 3), (2, 3), "SAME", 2, 3, (9, 7)),
    (3, 1, ASYMMETRIC, 9, 1, (6, 5)),
    (4, 1, 1, 6, 2, (5, 7)),
]


def pair(value):
    return (value, value) if isinstance(value, int) else value


def plain(x, kernel, *, strides, padding):
    padding = (pair(padding),) * 2 if isinstance(padding, int) else padding
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, pair(strides), padding, dimension_numbers=layout)


def plain_transpose(size, x, kernel, **kwargs):
    """Apply the adjoint of the convolution from `size`, by JAX's own transposition."""
    image = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[3]), x.dtype)
    forward = functools.partial(plain, kernel=kernel.swapaxes(2, 3), **kwargs)
    return jax.linear_transpose(forward, image)(x)[0]


def first_order(function, x, kernel):
    """Return the output and, of a sum over it, both gradients."""
    y, vjp = jax.vjp(function, x, kernel)
    return y, *vjp(jnp.cos(y))


def second_order(function, x, kernel):
    """Return the kernel's gradient of a WGAN-GP penalty."""

    def penalty(kernel):
        return jnp.square(jax.grad(lambda x: jnp.sin(function(x, kernel)).sum())(x)).sum()

    return jax.grad(penalty)(kernel)


def normal(*shape, dtype=np.float32):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    return jnp.asarray(values.astype(np.float32), dtype)


def assert_close(ours, expected, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max()))


def quick_jit(function):
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


MINIMAL = [case for case in CASES if case[0] not in (1, 5, 7)]  # 2 or 3 taps a stride, or not


@pytest.mark.parametrize("case", MINIMAL, ids=str)
def test_every_product_with_fewer_multiplications_is_that_of_plain_xla(case, monkeypatch):
    monkeypatch.setattr(winograd, "is_faster", lambda taps, *_, **__: set(taps) <= {2, 3})
    test_every_product_is_that_of_plain_xla(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_product_is_that_of_plain_xla(case):
    size_of_kernel, strides, padding, channels, features, size = case
    kwargs = {"strides": strides, "padding": padding}
    kernel = normal(*pair(size_of_kernel), channels, features) / 4
    x = normal(2, *size, channels)
    out = jax.eval_shape(functools.partial(plain, **kwargs), x, kernel).shape[1:3]
    z = normal(2, *out, channels)
    up = functools.partial(conv2d_transpose, **kwargs)
    plain_up = functools.partial(
        plain_transpose, jax.eval_shape(up, z, kernel).shape[1:3], **kwargs
    )

    @quick_jit
    def run(x, z, kernel):
        down = [functools.partial(function, **kwargs) for function in (conv2d, plain)]
        return [
            (first_order(d, x, kernel), second_order(d, x, kernel), first_order(u, z, kernel))
            for d, u in zip(down, (up, plain_up), strict=True)
        ]

    assert_close(*run(x, z, kernel))


# These cases have windows of few entries; those of most layers have more, and go another way.
@pytest.mark.parametrize("case", [case for case in CASES if case[0] != 1], ids=str)
def test_every_product_of_many_channels_is_that_of_plain_xla(case, monkeypatch):
    monkeypatch.setattr(windows, "MOST", 0)
    test_every_product_is_that_of_plain_xla(case)


def test_second_order_of_the_transposed_convolution():
    x, kernel = normal(2, 4, 5, 3), normal(4, 4, 3, 2) / 4
    up = functools.partial(conv2d_transpose, strides=2, padding="SAME")
    plain_up = functools.partial(plain_transpose, (8, 10), strides=2, padding="SAME")
    ours, expected = quick_jit(lambda x, k: [second_order(f, x, k) for f in (up, plain_up)])(
        x, kernel
    )
    assert_close(ours, expected)


def products(convolve, x, kernel, g):
    y, vjp = jax.vjp(convolve, x, kernel)
    return y, *vjp(g)


def count(lowered):
    text = lowered.as_text("hlo")
    return text.count(" dot("), text.count(" convolution(")


@pytest.mark.parametrize(
    ("kernel", "strides", "channels", "features"),
    [(4, 2, 3, 16), (3, 1, 3, 16), (3, 1, 16, 3), (7, 1, 1, 16)],
)
def test_few_channels_are_one_product_of_windows(kernel, strides, channels, features):
    x, kernel = normal(2, 8, 8, channels), normal(kernel, kernel, channels, features)
    g = normal(2, 8 // strides, 8 // strides, features)
    ours = functools.partial(conv2d, strides=strides, padding="SAME")
    assert count(jax.jit(functools.partial(products, ours)).lower(x, kernel, g)) == (3, 0)


@pytest.mark.parametrize("strides", [1, 2])
def test_one_tap_is_one_product_of_pixels(strides):
    x, kernel, g = normal(2, 8, 8, 3), normal(1, 1, 3, 5), normal(2, 8 // strides, 8 // strides, 5)
    ours = functools.partial(conv2d, strides=strides, padding="VALID")
    assert count(jax.jit(functools.partial(products, ours)).lower(x, kernel, g)) == (3, 0)


@pytest.mark.parametrize(("kernel", "strides"), [(3, 1), (4, 2)])
def test_many_channels_need_fewer_multiplications_in_float32(kernel, strides):
    x, kernel = normal(8, 16, 16, 128), normal(kernel, kernel, 128, 128)
    g = normal(8, 16 // strides, 16 // strides, 128)

    ours = functools.partial(conv2d, strides=strides, padding="SAME")
    direct = functools.partial(plain, strides=strides, padding="SAME")
    ours, direct = (jax.jit(functools.partial(products, f)) for f in (ours, direct))
    # A tile has 16 products, of 36, or 9, of 16; the input gradient of stride 2 16, of 36.
    assert count(ours.lower(x, kernel, g)) == ({1: 16 + 16 + 16, 2: 9 + 16 + 9}[strides], 0)
    with jax.enable_x64():
        exact = direct(*(jnp.asarray(a, jnp.float64) for a in (x, kernel, g)))
    for function in (ours, direct):  # 2e-7 to 6e-7, and 2e-7 to 3e-7
        for value, truth in zip(function(x, kernel, g), exact, strict=True):
            assert jnp.square(value - truth).mean() < jnp.square(1e-6 * truth).mean()


def test_activations_are_not_computed_again_for_the_weight_gradient():
    x, kernel = normal(8, 16, 16, 32), normal(3, 3, 32, 32)

    def run(x, kernel):
        conv = functools.partial(conv2d, nn.relu(x * x), padding="SAME")
        y, vjp = jax.vjp(conv, kernel)
        return vjp(y)[0]

    assert jax.jit(run).lower(x, kernel).compile().as_text().count(" maximum(") == 1


def test_modules_match_flax():
    x = normal(2, 6, 5, 3)
    pairs = [
        (Conv(4, strides=2), nn.Conv(4, (3, 3), strides=2)),
        (Conv(4, (3, 2), padding=1, use_bias=False), nn.Conv(4, (3, 2), padding=1, use_bias=False)),
        (
            ConvTranspose(4, 4, 2),
            nn.ConvTranspose(4, (4, 4), (2, 2), transpose_kernel=True),
        ),
        (
            ConvTranspose(4, 5, 3, padding="VALID"),
            nn.ConvTranspose(4, (5, 5), (3, 3), padding="VALID", transpose_kernel=True),
        ),
    ]

    def run(x):
        outputs = []
        for ours, flax in pairs:
            variables = ours.init(jax.random.key(0), x)
            if ours.use_bias:
                variables["params"]["bias"] = jnp.arange(4.0)
            theirs = dict(variables["params"])
            if isinstance(flax, nn.ConvTranspose):
                theirs["kernel"] = theirs["kernel"].swapaxes(2, 3)
            outputs.append((ours.apply(variables, x), flax.apply({"params": theirs}, x)))
        return outputs

    for ours, expected in quick_jit(run)(x):
        assert_close(ours, expected)


def test_bfloat16():
    """The computation is in bfloat16, the parameters and their gradients stay float32."""
    x, module = normal(2, 8, 8, 2), Conv(3, 4, 2, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), x)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}

    def run(variables, x, dtype):
        apply = module.clone(dtype=dtype).apply
        return apply(variables, x), jax.grad(lambda *a: apply(*a).sum(), (0, 1))(variables, x)

    run = quick_jit(lambda *a, run=run: [run(*a, dtype) for dtype in (jnp.bfloat16, None)])
    (y, gradients), (exact, exact_gradients) = run(variables, x)
    assert y.dtype == jnp.bfloat16
    assert_close(y.astype(jnp.float32), exact, 0.02)
    assert_close(gradients, exact_gradients, 0.02)


def test_vmap_over_kernels():
    x, kernels = normal(2, 6, 6, 2), normal(3, 4, 4, 2, 3)
    run = functools.partial(first_order, functools.partial(conv2d, strides=2, padding="SAME"))
    together = quick_jit(jax.vmap(run, (None, 0)))(x, kernels)
    one = quick_jit(run)
    each = [one(x, kernel) for kernel in kernels]
    assert_close(together, jax.tree.map(lambda *a: jnp.stack(a), *each))


def test_a_batch_of_any_size_can_be_exported():
    (batch,) = jax.export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((batch, 8, 8, 2), jnp.float32)
    kernel = jax.ShapeDtypeStruct((4, 4, 2, 3), jnp.float32)
    run = functools.partial(first_order, functools.partial(conv2d, strides=2, padding="SAME"))
    exported = jax.export.export(jax.jit(run), platforms=["cpu", "cuda", "tpu"])(x, kernel)
    assert exported.out_avals[2].shape == (4, 4, 2, 3)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_one_convolution_a_product(platform):
    x, kernel = normal(2, 8, 8, 3), normal(4, 4, 3, 5)
    for function in (conv2d, conv2d_transpose):
        run = functools.partial(first_order, functools.partial(function, strides=2, padding="SAME"))
        text = jax.jit(run).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == 3
        assert "dot_general" not in text
        assert "concatenate" not in text


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize("function", [conv2d, conv2d_transpose], ids=["down", "up"])
def test_devices_exchange_the_weight_gradient_only(function):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    run = functools.partial(first_order, functools.partial(function, strides=2, padding="SAME"))
    x, kernel = normal(16, 8, 8, 2), normal(4, 4, 2, 3)
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    compiled = jax.jit(run).lower(
        spread, jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
    )
    compiled = compiled.compile()
    text = compiled.as_text()
    assert text.count(" all-reduce(") + text.count(" all-reduce-start(") == 1
    for other in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert f" {other}" not in text


def test_pooling_matches_flax():
    x = normal(2, 7, 5, 3)

    def run(x):
        outputs = []
        for ours, flax in ((max_pool, nn.max_pool), (avg_pool, nn.avg_pool)):
            for window in (2, 3):
                pools = (
                    (lambda x, w=window, f=ours: f(x, w)),
                    (lambda x, w=(window, window), f=flax: f(x, w, w)),
                )
                outputs.append([(pool(x), jax.vjp(pool, x)[1](jnp.cos(pool(x)))) for pool in pools])
        return outputs

    for ours, expected in quick_jit(run)(x):
        assert_close(ours, expected)
    tied = jax.grad(lambda x: max_pool(x).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(tied.reshape(-1), [1, 0, 0, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, k: conv2d(x[0], k, padding="SAME"), "expected x"),
        (lambda x, k: conv2d(x[..., :1], k, padding="SAME"), "expected x"),
        (lambda x, k: conv2d(x, k, padding="same"), "padding"),
        (lambda x, k: conv2d(x, k, padding=(1, 1)), "padding"),
        (lambda x, k: conv2d(x, k, strides=0, padding="SAME"), "strides"),
        (lambda x, k: conv2d(x, k, strides=(1, 2, 1), padding="SAME"), "strides"),
        (lambda x, k: conv2d(x[:, :2], k, padding="VALID"), "does not fit"),
        (lambda x, k: conv2d_transpose(x[:, :1], k, strides=1, padding=2), "leaves"),
        (lambda x, k: max_pool(x, 7), "does not fit"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 4)))
