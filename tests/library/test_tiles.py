"""Windows of an image: where they lie, and that their results are those of the whole image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.images import to_uint8
from gan_jax.library.tiles import apply_in_windows, make_plan, pad_image


@pytest.mark.parametrize("size", [(40, 40), (41, 57), (100, 33), (33, 200), (64, 65)])
@pytest.mark.parametrize(("tile", "context", "multiple"), [(32, 4, 1), (40, 5, 4), (48, 8, 16)])
def test_every_pixel_is_taken_once_and_sees_its_context(
    size: tuple[int, int], tile: int, context: int, multiple: int
) -> None:
    plan = make_plan(size, tile=tile, context=context, multiple=multiple)
    for side, spans, padded, window in zip(
        size, (plan.rows, plan.columns), plan.padded, plan.window, strict=True
    ):
        assert padded % multiple == window % multiple == 0 and side <= padded < side + multiple
        assert window == padded if side <= tile else window <= tile
        taken = [pixel for span in spans for pixel in range(span.low, span.high)]
        assert taken == list(range(padded))
        for i, span in enumerate(spans):
            end = span.start + window
            assert span.start % multiple == 0 and span.start >= 0 and end <= padded
            assert span.low - span.start >= (context if i else 0)
            assert end - span.high >= (context if end < padded else 0)
            assert span.shared == (spans[i - 1].start + window - span.start if i else 0)
    assert len(plan.windows) == len(plan.rows) * len(plan.columns)


def test_small_images_share_few_shapes() -> None:
    sizes = [(20, 30), (31, 32), (1, 17), (33, 60), (64, 50)]
    plans = [make_plan(size, tile=64, context=3, least=32) for size in sizes]
    assert {plan.padded for plan in plans} == {(32, 32), (64, 64)}
    assert all(plan.window == plan.padded and len(plan.windows) == 1 for plan in plans)
    assert make_plan((20, 30), multiple=12, least=8).padded == (24, 48)
    assert make_plan((20, 30)).padded == (20, 30)


@pytest.mark.parametrize(("tile", "context", "multiple"), [(16, 8, 1), (20, 8, 8), (3, 0, 4)])
def test_a_tile_that_is_too_small(tile: int, context: int, multiple: int) -> None:
    with pytest.raises(UserError, match=rf"--tile={tile}: tiles overlap by 2 x {context} px.*at l"):
        make_plan((100, 100), tile=tile, context=context, multiple=multiple)
    least = -(-(2 * context + multiple) // multiple) * multiple  # what the error says
    make_plan((100, 100), tile=least, context=context, multiple=multiple)


def test_padding() -> None:
    image = np.arange(12).reshape(3, 4, 1)
    padded = pad_image(image, (5, 6))[..., 0]
    np.testing.assert_array_equal(padded[:3, 4:], [[2, 1], [6, 5], [10, 9]])
    np.testing.assert_array_equal(padded[3:, :4], [[4, 5, 6, 7], [0, 1, 2, 3]])
    edge = pad_image(image, (6, 4))[..., 0]  # thinner than the pad
    assert (edge[3:] == edge[2]).all()
    assert pad_image(image, (3, 4)) is image


class Net(nn.Module):
    """Convolutions that see 1 + 2 + 1 + 2 pixels to each side, with a doubling or a halving."""

    scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        if self.scale == 0.5:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(8, (5, 5))(x))
        if self.scale == 2:
            x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
        return nn.tanh(nn.Conv(3, (3, 3))(x))


CONTEXT = {1.0: 4, 2.0: 4, 0.5: 8}


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_tiled_equals_whole(scale: float) -> None:
    """At the edges of the image too: the image's edges are edges of windows."""
    net = Net(scale)
    image = np.random.default_rng(0).uniform(-1, 1, (86, 70, 3)).astype(np.float32)
    params = net.init(jax.random.key(0), image[None])
    shapes = set()

    @jax.jit
    def function(windows: jax.Array) -> jax.Array:
        shapes.add(windows.shape)  # at each compilation
        return net.apply(params, windows)

    whole = np.asarray(net.apply(params, image[None])[0])
    plan = make_plan((86, 70), tile=32, context=CONTEXT[scale], multiple=2)
    told: list[float] = []
    tiled = apply_in_windows(function, image, plan, scale=scale, batch=4, advance=told.append)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert shapes == {(4, 32, 32, 3)}
    assert told == sorted(told) and told[-1] == 1
    levels = apply_in_windows(function, image, plan, scale=scale, batch=4, finish=to_uint8)
    assert levels.dtype == np.uint8
    assert np.abs(levels.astype(int) - to_uint8(whole)).max() <= 1
    # With less context than the network sees, results at seams differ.
    cut = make_plan((86, 70), tile=32, context=1, multiple=2)
    wrong = apply_in_windows(function, image, cut, scale=scale, batch=4)
    assert np.abs(wrong - whole).max() > 1e-3


def test_blending() -> None:
    """A function that shifts each window by a constant of its own: no steps, weights sum to 1."""
    image = np.zeros((60, 100, 1), np.float32)
    plan = make_plan((60, 100), tile=40, context=10, blend=True)
    counter = iter(range(100))

    def function(windows: np.ndarray) -> np.ndarray:
        return windows + np.float32([next(counter) % 2 for _ in windows])[:, None, None, None]

    result = apply_in_windows(function, image, plan, batch=3)[..., 0]
    assert result.min() == 0 and result.max() == 1
    assert np.abs(np.diff(result, axis=0)).max() < 0.06  # the overlap is 20 px
    assert np.abs(np.diff(result, axis=1)).max() < 0.06
    equal = apply_in_windows(lambda x: x + 0.25, image, plan, batch=3)
    np.testing.assert_allclose(equal, 0.25)
