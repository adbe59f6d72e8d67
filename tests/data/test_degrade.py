"""Degradations: against Pillow and scipy, by example, over processes, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gan_jax.core.choices import build
from gan_jax.core.errors import UserError
from gan_jax.core.images import to_float, to_uint8
from gan_jax.core.keys import fold_in_each
from gan_jax.data.degrade import DEGRADATIONS, Degradation
from gan_jax.ops.jpeg import compress

STORED = np.random.default_rng(0).integers(0, 256, (4, 24, 36, 3)).astype(np.uint8)
STORED[..., :12, :] = 255 * (STORED[..., :12, :] > 127)
IMAGES = to_float(STORED)
KEYS = fold_in_each(jax.random.key(3), np.arange(4))


def degradation(name: str, **fields: object) -> Degradation:
    """Build a degradation as a config section does."""
    whole = {**DEGRADATIONS.fields("config.degradation", name), **fields}
    return build("degradation", {"name": name, **whole}, DEGRADATIONS)


@pytest.mark.parametrize(("scale", "filter"), [(2, "bicubic"), (3, "bicubic"), (4, "lanczos")])
def test_downscaled_images_are_pillows(scale: int, filter: str) -> None:
    made = degradation("downscale", scale=scale, filter=filter)
    found = jax.jit(made.apply)(IMAGES, KEYS)
    size, method = (36 // scale, 24 // scale), Image.Resampling[filter.upper()]
    expected = [np.asarray(Image.fromarray(image).resize(size, method)) for image in STORED]
    np.testing.assert_array_equal(to_uint8(np.asarray(found)), expected)
    np.testing.assert_allclose(found, to_float(np.stack(expected)), atol=1e-6)
    assert made.scale == scale and made.channels(3) == 3


def test_noise_has_its_sigma_and_is_neither_clipped_nor_rounded() -> None:
    grey = np.zeros((4, 128, 128, 3), np.float32)
    found = np.asarray(jax.jit(degradation("noise", sigma=50.0).apply)(grey, KEYS)) * 127.5
    np.testing.assert_allclose(found.std((1, 2, 3)), 50, rtol=0.02)
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1.0)
    assert found.max() > 160 and found.min() < -160  # beyond black and white
    assert np.abs(found - np.rint(found)).mean() > 0.2
    assert np.abs(np.corrcoef(found.reshape(4, -1)) - np.eye(4)).max() < 0.03


def test_blind_noise_has_a_sigma_for_each_image() -> None:
    made, keys = degradation("noise", sigma=5, sigma_max=55), jax.random.split(KEYS[0], 400)
    grey = np.zeros((400, 16, 16, 1), np.float32)
    found = np.asarray(jax.jit(made.apply)(grey, keys)) * 127.5
    sigmas = np.sort(found.std((1, 2, 3)))
    np.testing.assert_allclose(sigmas, np.linspace(5, 55, 400), atol=5)


def test_blind_jpeg_draws_every_quality_of_its_range() -> None:
    one = np.repeat(IMAGES[:1], 60, 0)
    by_quality = to_float(np.asarray(jax.jit(compress)(STORED[[0, 0]], np.array([30, 31]))))
    drawn = degradation("jpeg", quality=30, quality_max=31)
    found = np.asarray(jax.jit(drawn.apply)(one, jax.random.split(KEYS[0], 60)))
    are = [np.abs(found - image).max((1, 2, 3)) < 1e-6 for image in by_quality]
    assert (are[0] ^ are[1]).all() and min(are[0].sum(), are[1].sum()) > 15


@pytest.mark.parametrize("sigma", [0.7, 1.6, 9.0])
def test_blur_is_scipys(sigma: float) -> None:
    """The widest reaches beyond the image on both sides."""
    found = degradation("blur", sigma=sigma).apply(IMAGES, KEYS)
    exact = ndimage.gaussian_filter(STORED.astype(float), (0, sigma, sigma, 0), mode="reflect")
    levels = (np.asarray(found) + 1) * 127.5
    np.testing.assert_allclose(levels, exact, atol=0.501)
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    noisy = degradation("blur", sigma=sigma, noise=2.0).apply(IMAGES, KEYS)
    assert abs(np.std((np.asarray(noisy) + 1) * 127.5 - exact) - 2) < 0.05


def test_grey_is_pillows() -> None:
    made = degradation("grey")
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in STORED]
    found = to_uint8(np.asarray(made.apply(IMAGES, KEYS)))
    np.testing.assert_array_equal(found[..., 0], expected)
    assert made.channels(3) == 1


def test_both_kinds_of_masks_are_drawn() -> None:
    made, keys = degradation("mask", kind="both"), jax.random.split(KEYS[0], 400)
    found = jax.jit(made.apply)(np.zeros((400, 24, 24, 1), np.float32), keys)
    hole = np.asarray(found)[..., 1] == 1
    box = hole.any(2).sum(1) * hole.any(1).sum(1)
    assert 150 < (box == hole.sum((1, 2))).sum() < 250


EVERY = {
    "x2": ("downscale", {}),
    "x4-lanczos": ("downscale", {"scale": 4, "filter": "lanczos"}),
    "sigma25": ("noise", {}),
    "sigma5-50": ("noise", {"sigma": 5, "sigma_max": 50.0}),
    "jpeg10": ("jpeg", {}),
    "jpeg10-90": ("jpeg", {"quality_max": 90}),
    "blur1.6": ("blur", {}),
    "blur2-sigma2.5": ("blur", {"sigma": 2.0, "noise": 2.5}),
    "grey": ("grey", {}),
    "masks10-30": ("mask", {}),
    "rectangles25-25": ("mask", {"kind": "rectangles", "least": 0.25, "most": 0.25}),
    "free-form": ("mask", {"kind": "free-form"}),
}


@pytest.mark.parametrize("protocol", EVERY)
def test_an_example_is_degraded_alike_in_any_batch(protocol: str) -> None:
    name, fields = EVERY[protocol]
    made = degradation(name, **fields)
    assert made.protocol == protocol and made.help
    apply = jax.jit(made.apply)
    whole = np.asarray(apply(IMAGES, KEYS))
    channels, scale = made.channels(3), made.scale
    assert whole.shape == (4, 24 // scale, 36 // scale, channels) and whole.dtype == np.float32
    order = np.array([3, 1, 1, 0])
    np.testing.assert_array_equal(apply(IMAGES[order], KEYS[order]), whole[order])
    if name in ("noise", "jpeg"):
        np.testing.assert_array_equal(apply(IMAGES[3:], KEYS[3:])[0], whole[3])
    random = name in ("noise", "mask") or "sigma" in protocol or protocol == "jpeg10-90"
    same = np.array_equal(apply(IMAGES, fold_in_each(jax.random.key(4), np.arange(4))), whole)
    assert same is not random
    if name == "mask":
        hole = whole[..., 3] == 1
        assert ((whole[..., 3] == -1) | hole).all() and hole.any((1, 2)).all()
        assert not whole[..., :3][hole].any()
        np.testing.assert_array_equal(whole[..., :3][~hole], IMAGES[~hole])


_SUMS = """
import hashlib, jax, numpy as np
from gan_jax.core.keys import fold_in_each
from gan_jax.data.degrade import DEGRADATIONS
images = np.linspace(-1, 1, 2 * 24 * 24 * 3, dtype=np.float32).reshape(2, 24, 24, 3)
keys = fold_in_each(jax.random.key(0), np.arange(2))
fields = dict(jpeg=dict(quality_max=90), noise=dict(sigma_max=50.0), mask={})
sums = {}
for name, given in fields.items():
    found = jax.jit(DEGRADATIONS.factories[name](**given).apply)(images, keys)
    sums[name] = hashlib.sha256(np.asarray(found).tobytes()).hexdigest()
"""


def test_processes_agree() -> None:
    here: dict = {}
    exec(_SUMS, here)
    command = [sys.executable, "-c", _SUMS + "print(sums)"]
    other = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert other.stdout.strip() == str(here["sums"]), other.stderr


def test_what_is_not_possible_says_so() -> None:
    with pytest.raises(UserError, match=r"scale=5 does not divide images of 24x36 px.*20x35"):
        degradation("downscale", scale=5).apply(IMAGES, KEYS)
    with pytest.raises(UserError, match=r"scale=1: must be at least 2"):
        degradation("downscale", scale=1)
    with pytest.raises(UserError, match="did you mean 'bicubic'"):
        degradation("downscale", filter="bicubik")
    with pytest.raises(UserError, match=r"sigma_max=20: .*above sigma"):
        degradation("noise", sigma_max=20)
    with pytest.raises(UserError, match=r"quality=0, .*1 to 100"):
        degradation("jpeg", quality=0)
    with pytest.raises(UserError, match=r"sigma=0, noise=0: sigma must be positive"):
        degradation("blur", sigma=0)
    with pytest.raises(UserError, match=r"grey: images have 1 channels, must be 3: .*channels=3"):
        degradation("grey").apply(IMAGES[..., :1], KEYS)
    with pytest.raises(UserError, match=r"jpeg: images have 4 channels, must be 1 or 3"):
        degradation("jpeg").apply(np.concatenate([IMAGES, IMAGES[..., :1]], -1), KEYS)
    with pytest.raises(UserError, match="did you mean 'free-form'"):
        degradation("mask", kind="freeform")
    with pytest.raises(UserError, match=r"least=0.5, most=0.3"):
        degradation("mask", least=0.5)
