"""`run.transform`: photos of any size, in tiles, with masks; and what training does to an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import Trained
from convolutions import SIZE, TRANSFORMS, convolutions_of
from PIL import Image

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.core.images import preprocess, save_png, to_float
from gan_jax.data import open_data
from gan_jax.library import transforms
from gan_jax.library.run import Run


@pytest.fixture(scope="module")
def run(trained: Callable[..., Trained]) -> Run:
    return convolutions_of(gan_jax.load(trained("vae").workdir))


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def whole(run: Run, name: str, images: np.ndarray) -> np.ndarray:
    """Return what the function itself does to floats [N, H, W, C]."""
    keys = jax.random.split(jax.random.key(0), len(images))
    return np.asarray(run.task.transforms[name].function(run.state, images, keys))


def test_own_size_and_aspect(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transforms, "STEP", 8)
    image = photo(21, 13)
    made = run.transform(image, "sharpen")
    assert made.shape == (21, 13, 3) and made.dtype == np.float32
    expected = whole(run, "sharpen", to_float(image)[None])[0]
    np.testing.assert_allclose(made[:-4, :-4], expected[:-4, :-4], atol=1e-5)  # away from the pad
    assert np.abs(made[-1] - expected[-1]).max() > 1e-3
    double = run.transform(image, "double")
    assert double.shape == (42, 26, 3)
    # Grey, alpha, Pillow images, paths, lists of all of them, floats.
    assert run.transform(image[..., 0], "sharpen").shape == (21, 13, 3)
    others = [image, Image.fromarray(image), Image.fromarray(photo(9, 30, 4))]
    save_png(tmp_path / "x.png", image)
    others += [tmp_path / "x.png", str(tmp_path / "x.png")]
    results = run.transform(others, "sharpen")
    assert isinstance(results, list)
    assert [x.shape for x in results] == [(21, 13, 3)] * 2 + [(9, 30, 3)] + [(21, 13, 3)] * 2
    for i in (0, 1, 3, 4):
        np.testing.assert_allclose(results[i], made, atol=1e-5)
    np.testing.assert_allclose(run.transform(to_float(image), "sharpen"), made, atol=1e-5)
    many = run.transform(np.stack([image, image[::-1], image]), "sharpen", batch_size=2)
    assert many.shape == (3, 21, 13, 3)
    np.testing.assert_allclose(many[0], made, atol=1e-5)
    palette = Image.fromarray(image).quantize(8)
    expected = run.transform(palette.convert("RGB"), "sharpen")
    np.testing.assert_array_equal(run.transform(palette, "sharpen"), expected)


def test_tiles(run: Run) -> None:
    image = photo(70, 100)
    expected = run.transform(image, "normalise")  # in one piece
    np.testing.assert_allclose(
        expected, whole(run, "normalise", to_float(image)[None])[0], atol=1e-5
    )
    for name, tile in (("sharpen", 32), ("sharpen", 17), ("double", 24)):
        expected = whole(
            run, name, to_float(np.pad(image, ((0, 2), (0, 0), (0, 0)), "reflect"))[None]
        )
        scale = int(run.task.transforms[name].scale)
        made = run.transform(image, name, tile=tile)
        assert made.shape == (70 * scale, 100 * scale, 3)
        near = 70 * scale - 4 * scale  # sharpen gets no padding at the bottom
        np.testing.assert_allclose(made[:near], expected[0, :near, : 100 * scale], atol=1e-5)
    blended = run.transform(image, "normalise", tile="approximate")
    assert blended.shape == (70, 100, 3)  # smaller than a tile: in one piece
    np.testing.assert_allclose(blended, run.transform(image, "normalise"), atol=1e-6)


def test_approximate_tiles_of_a_norm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "APPROXIMATE_TILE", 48)
    ramp = np.broadcast_to(np.linspace(-1, 1, 120, dtype=np.float32)[:, None], (120, 100))
    image = np.repeat(ramp[..., None], 3, -1)
    made = run.transform(image, "normalise", tile="approximate")
    exact = run.transform(image, "normalise")
    assert np.abs(made - exact).max() > 0.1, "each tile has a mean of its own"
    assert np.abs(np.diff(made, axis=0)).max() < 0.1 and np.abs(np.diff(made, axis=1)).max() < 0.01


@pytest.mark.parametrize("name", ["pix2pix", "vae"])
def test_training_and_use_are_equal(trained: Callable[..., Trained], name: str) -> None:
    """An image of the training size passes as it is, and any other is resized as in training."""
    run = gan_jax.load(trained(name).workdir)
    batch = open_data(run.config.data).splits["eval"].get(np.arange(3))
    transform = run.task.transform()
    images, options = batch[transform.source], run.task.check_options({"weights": "ema"})
    keys = jax.random.split(jax.random.key(0), 3)
    function = jax.jit(lambda state, x, k: transform.function(state, x, k, **options))
    expected = function(run.state, images, keys)
    if not options.get("dropout"):
        np.testing.assert_allclose(run.transform(images), expected, atol=1e-5)
        np.testing.assert_allclose(run.transform(images[0]), expected[0], atol=1e-5)
    stored = photo(40, 23, 4)
    how = run.spec.preprocess
    ready = preprocess(stored, how)
    given = {} if transform.multiple is None else {"size": tuple(how["size"])}
    made = run.transform(stored, **given)
    np.testing.assert_allclose(made, run.transform(ready), atol=1e-5)
    assert made.shape == run.spec.streams[transform.target].shape
    if transform.multiple is not None:
        assert run.transform(stored).shape[:2] == (40, 23)
        assert run.transform(stored, size=(20, 17)).shape[:2] == (20, 17)


def test_masks(run: Run) -> None:
    image, mask = photo(21, 13), np.zeros((21, 13), bool)
    mask[3:9, 4:] = True
    made = run.transform(image, "fill", mask=mask)
    np.testing.assert_allclose(made[mask], 0.5)  # the colours there are 0
    np.testing.assert_allclose(made[~mask], to_float(image)[~mask], atol=1e-6)
    np.testing.assert_array_equal(run.transform(image, "fill", mask=np.uint8(255) * mask), made)
    np.testing.assert_allclose(run.transform(to_float(image), "fill", mask=mask), made, atol=1e-6)
    np.testing.assert_allclose(run.transform(image, "fill", mask=mask, tile=8), made, atol=1e-6)
    two = run.transform([image, photo(8, 8)], "fill", mask=[mask, np.ones((8, 8), bool)])
    np.testing.assert_array_equal(two[0], made)
    np.testing.assert_allclose(two[1], 0.5)
    for given, says in (
        (dict(name="fill"), "'fill' needs a mask"),
        (dict(name="sharpen", mask=mask), "'sharpen' takes no mask"),
        (dict(name="fill", mask=mask[1:]), "a mask of 20x13 px for an image of 21x13"),
        (dict(name="fill", mask=mask * 1.0), "mask 0 is float64"),
        (dict(name="fill", mask=np.uint8(mask)), "mask 0 is uint8 .*, up to 1:"),
    ):
        with pytest.raises(UserError, match=says):
            run.transform(image, **given)
    with pytest.raises(UserError, match="1 masks of 2 images"):
        run.transform([image, image], "fill", mask=[mask])


def test_draws_depend_on_the_number_of_the_image(run: Run) -> None:
    images = [photo(20, 20), photo(20, 20), photo(9, 30)]
    made = run.transform(images, "noise", seed=3)
    assert np.abs(made[0] - made[1]).max() > 1e-3
    np.testing.assert_allclose(run.transform(images[0], "noise", seed=3), made[0], atol=1e-6)
    same = run.transform(np.stack(images[:2]), "noise", seed=3)
    np.testing.assert_allclose(same, np.stack(made[:2]), atol=1e-6)
    tiled = run.transform(images[0], "noise", seed=3, tile=8)  # one draw for all tiles
    np.testing.assert_allclose(tiled, made[0], atol=1e-6)


def test_few_compilations(run: Run) -> None:
    run = dataclasses.replace(run, _compiled_functions={})
    run.transform([photo(h, w) for h, w in ((20, 30), (31, 9), (32, 32), (5, 5))], "sharpen")
    run.transform(photo(300, 40), "sharpen", tile=32)
    (compiled,) = run._compiled_functions.values()
    # 32x32 one at a time, and four at a time; devices share a batch.
    assert compiled._cache_size() <= 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(name="back"), "'back' is not known: one of sharpen, wide, double"),
        (dict(name="normalise", tile=64), "'normalise' depends on the whole image.*=approximate"),
        (dict(name="fixed", tile=64), "'fixed' works at the training size only"),
        (dict(name="fixed", size=(8, 8)), "'fixed' works at the training size only, 16x16 px"),
        (dict(name="sharpen", tile=6), "--tile=6: tiles overlap by 2 x 3 px.*at least 7"),
        (dict(name="sharpen", tile=0), "--tile=0: at least 1"),
        (dict(name="sharpen", tile="some"), "--tile=some: a number of pixels, or approximate"),
    ],
)
def test_what_a_transform_does_not_take(run: Run, given: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        run.transform(photo(20, 20), **given)


def test_floats_keep_their_channels_and_fixed_sizes(run: Run) -> None:
    with pytest.raises(UserError, match="float images with 1 channels: transform 'sharpen' takes"):
        run.transform(np.zeros((8, 8, 1), np.float32), "sharpen")
    with pytest.raises(UserError, match=r"float images of shape \(8, 8, 3\).*give uint8"):
        run.transform(np.zeros((8, 8, 3), np.float32), "fixed")
    assert run.transform(photo(8, 9), "fixed").shape == (SIZE, SIZE, 3)


def test_alone_a_large_image_needs_few_pixels_at_a_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "PIXELS", 2 * 32 * 32)
    shapes = set()

    def watched(state: object, images: jax.Array, keys: object, **_: object) -> jax.Array:
        shapes.add(images.shape)
        return images

    watching = dataclasses.replace(TRANSFORMS["sharpen"], function=watched)
    task = dataclasses.replace(run.task, transforms={"watch": watching})
    small = dataclasses.replace(run, task=task, _compiled_functions={})
    image = photo(150, 90)
    np.testing.assert_allclose(small.transform(image, tile=32), to_float(image), atol=1e-6)
    assert shapes == {(8, 32, 32, 3)}  # a window per device
