"""UNet: published parameter count, depth by size, dropout by example and apart from `train`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models.unet import UNet, unet_depth
from gan_jax.parallel.axes import example_keys


def _abstract(model, shape):
    x = jnp.zeros(shape)
    return jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), x, train=False, dropout=False)
    )


def test_parameter_count_is_that_of_pytorch_unet_256():
    """Sum what networks.UnetGenerator(3, 3, num_downs=8, ngf=64, BatchNorm2d) builds."""
    kernel = 4 * 4
    # nn.Conv2d(4, stride 2, bias=False): outermost 3 -> 64, three that double, four of 512 -> 512.
    down = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512
    # nn.ConvTranspose2d: innermost 512 -> 512; the others read the skip beside it.
    up = 512 * 512 + 3 * (1024 * 512) + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3
    # BatchNorm (weight and bias) after every down but the outermost and innermost, every up but
    # the outermost, which alone has a bias (3).
    norms = 2 * (128 + 256 + 512 + 512 + 512 + 512) + 2 * (4 * 512 + 256 + 128 + 64)
    expected = kernel * (down + up) + norms + 3
    assert expected == 54_413_955  # printed as 54.414 M

    image, variables = _abstract(UNet(), (1, 256, 256, 3))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == expected
    assert image.shape == (1, 256, 256, 3)


@pytest.mark.parametrize(
    ("size", "depth"), [((64, 64), 6), ((8, 8), 3), ((96, 64), 5), ((40, 24), 3), ((64, 256), 6)]
)
def test_depth_follows_the_size(size, depth):
    assert unet_depth(*size) == depth
    image, variables = _abstract(UNet(features=2, outputs=1), (2, *size, 4))
    assert image.shape == (2, *size, 1)
    assert f"down{depth - 1}" in variables["params"]
    assert f"down{depth}" not in variables["params"]
    # None on the first and none on the bottleneck.
    norms = {name for name in variables["params"] if name.startswith("down_norm")}
    assert norms == {f"down_norm{i}" for i in range(1, depth - 1)}


def test_wrong_size_and_depth_say_what_to_do():
    with pytest.raises(UserError, match=r"100x64 px.*divide by 8.*96x64"):
        _abstract(UNet(features=2), (1, 100, 64, 3))
    with pytest.raises(UserError, match=r"depth=7.*3 to 6"):
        _abstract(UNet(features=2, depth=7), (1, 64, 64, 3))
    assert _abstract(UNet(features=2, depth=4), (1, 64, 64, 3))[0].shape == (1, 64, 64, 3)


@pytest.fixture(scope="module")
def small():
    model = UNet(features=4, outputs=2)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    # Not the initial weights of 0.02, which make outputs near 0: a mask is to be seen.
    variables = jax.tree.map(
        lambda p: rng.normal(0 if p.ndim == 4 else 1, 0.2, p.shape).astype(np.float32),
        _abstract(model, x.shape)[1],
    )
    return model, variables, x


def test_dropout_is_by_example_and_independent_of_train(small):
    model, variables, x = small
    keys = example_keys(jax.random.key(2), 4)

    @jax.jit
    def run(x, keys):
        return model.apply(variables, x, train=False, keys=keys, dropout=True)

    whole = run(x, keys)
    # In another place, among other examples.
    np.testing.assert_allclose(
        run(x[[3, 3, 0, 2]], keys[jnp.array([3, 3, 0, 2])])[3], whole[2], atol=1e-5
    )
    assert np.abs(run(x, example_keys(jax.random.key(3), 4)) - whole).max() > 1e-2
    with pytest.raises(ValueError, match="keys"):
        jax.eval_shape(lambda: model.apply(variables, x, train=False))


def test_a_single_image_is_not_zeroed_at_the_bottleneck(small):
    """BatchNorm over one image's one pixel would make the innermost layer constant."""
    model, variables, x = small

    @jax.jit
    def innermost(x):
        # Training without dropout draws nothing, and so needs no keys.
        _, seen = model.apply(
            variables,
            x,
            train=True,
            dropout=False,
            capture_intermediates=lambda module, _: module.name == "up0",
            mutable=["intermediates", "batch_stats"],
        )
        return seen["intermediates"]["up0"]["__call__"][0]

    assert np.abs(innermost(x[:1]) - innermost(x[1:2])).max() > 1e-2


def test_context_is_that_of_the_gradient() -> None:
    model = UNet(features=2, outputs=1, depth=3, dropout_rate=0.0)
    assert (model.context, model.multiple) == (21, 8)
    x, middle = np.full((1, 64, 64, 1), 0.1, np.float32), 32
    variables = model.init(jax.random.key(0), x, train=False)
    variables = jax.tree.map(lambda a: jnp.abs(a) + 0.01, variables)  # nothing cancels

    def pixel(x: jax.Array, row: jax.Array) -> jax.Array:
        return model.apply(variables, x, train=False)[0, row, middle, 0]

    gradient, reach = jax.jit(jax.grad(pixel)), []
    for row in range(middle, middle + 8):
        (rows,) = np.nonzero(np.asarray(gradient(x, row))[0, :, :, 0].any(1))
        reach += [row - rows.min(), rows.max() - row]
    assert max(reach) == model.context
