"""Interpolation: end points equal plain samples, and latents in between are interpolated."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import refuse, snapshot, succeed
from conftest import smoke_config
from PIL import Image

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.latents import make_draw, make_interpolate
from gan_jax.methods.registry import make_task
from gan_jax.models.blocks.soft_labels import one_hot
from gan_jax.models.blocks.wide import entries

# Config, and its fields: every way in which a generator is given the class.
WAYS = {
    "concat": ("dcgan", {}),
    "batch_norm": ("sngan", {}),
    "self_modulation": ("dcgan", {"model__gen__conditional": "self_modulation"}),
    "virtual": ("dcgan", {"model__gen__reference_batch": 3}),
    "biggan": ("biggan", {}),
    "biggan_deep": ("biggan_deep", {}),
    "progan": ("progan", {}),
    "mlp": ("gan", {}),
}
DEFAULT = ("batch_norm", "self_modulation")


def test_a_class_by_its_weights() -> None:
    table = jax.random.normal(jax.random.key(0), (3, 5))
    labels = jnp.array([2, 0])
    weights = one_hot(labels, 3, jnp.float32)
    np.testing.assert_array_equal(entries(table, labels), entries(table, weights))
    np.testing.assert_array_equal(one_hot(weights, 3, jnp.float32), weights)
    half = jnp.array([[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(entries(table, half)[0], (table[0] + table[1]) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "way", [pytest.param(w, marks=() if w in DEFAULT else pytest.mark.slow) for w in WAYS]
)
def test_every_generator_takes_weights_of_classes(way: str) -> None:
    name, fields = WAYS[way]
    config = smoke_config(name, model__conditional="projection", **fields)
    task = make_task(config, open_data(config.data).spec)
    state = jax.jit(task.init)(jax.random.key(0))
    # Random parameters: a class makes no difference to new conditional BatchNorms.
    leaves, tree = jax.tree.flatten(state.nets["gen"].params)
    draw = np.random.default_rng(0)
    leaves = [jnp.asarray(draw.normal(0, 0.3, v.shape), jnp.float32) for v in leaves]
    gen = state.nets["gen"].replace(params=jax.tree.unflatten(tree, leaves), ema=None)
    state = state.replace(nets={**state.nets, "gen": gen})
    keys, labels = jax.random.split(jax.random.key(1), 4), jnp.array([1, 2, 3, 3])
    options = task.check_options({})

    @jax.jit
    def images(labels: jax.Array) -> list[jax.Array]:
        z, _ = task.latents(keys, labels, **options)
        ways = labels, one_hot(labels, 10, jnp.float32), 0.5 * one_hot(labels, 10, jnp.float32)
        return [task.generate(state, (z, given), **options) for given in ways]

    by_number, by_weights, by_half = images(labels)
    np.testing.assert_allclose(by_number, by_weights, atol=1e-5)
    assert np.abs(by_half - by_number).max() > 1e-3


def test_paths_end_at_images_of_plain_sampling(gan: Path) -> None:
    run = gan_jax.load(gan)
    for labels in (None, [3, 7, 1]):
        images = run.sample(6, seed=4, labels=labels)
        paths = run.interpolate(3, steps=4, seed=4, labels=labels)
        assert paths.shape == (3, 4, *images.shape[1:])
        np.testing.assert_allclose(paths[:, 0], images[0::2], atol=1e-5)
        np.testing.assert_allclose(paths[:, -1], images[1::2], atol=1e-5)
    assert np.abs(np.diff(paths, axis=1)).max((2, 3, 4)).min() > 1e-4
    np.testing.assert_allclose(
        run.interpolate(2, steps=4, seed=4, labels=[3, 7, 1], batch_size=8), paths[:2], atol=1e-5
    )
    # One alone: latents end at the second image with the first one's class, classes the other way.
    along = run.interpolate(1, steps=3, seed=4, labels=[3, 7], along="latents")[0, -1]
    np.testing.assert_allclose(along, run.sample(2, seed=4, labels=3)[1], atol=1e-5)
    along = run.interpolate(1, steps=3, seed=4, labels=[3, 7], along="classes")[0]
    np.testing.assert_allclose(along[-1], run.sample(1, seed=4, labels=7)[0], atol=1e-5)
    assert np.abs(along[1] - along[0]).max() > 1e-4


def test_latents_turn_codes_and_classes_go_straight() -> None:
    draw, _ = make_draw(40, Codes((3,), 1), 5)
    start, end = (draw(jax.random.split(jax.random.key(i), 2), jnp.array([i, 4])) for i in (0, 1))
    between = make_interpolate(40, 5)
    z, weights = between(start, end, jnp.array([0.5, 0.25]), "both")
    np.testing.assert_allclose(z[0, 40:], (start[0][0, 40:] + end[0][0, 40:]) / 2, rtol=1e-6)
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0, 0, 0], [0, 0, 0, 0, 1]], atol=1e-6)

    for i, share in ((0, 0.5), (1, 0.25)):
        a, b = start[0][i, :40], end[0][i, :40]
        angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        there = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
        np.testing.assert_allclose(z[i, :40], there, rtol=1e-4, atol=1e-5)


def test_what_a_vae_lies_between() -> None:
    config = smoke_config("vae")
    task = make_task(config, open_data(config.data).spec)
    start, end = jax.random.normal(jax.random.key(0), (2, 3, config.model.latent))
    place = jnp.array([0.0, 1.0, 0.5])
    z = task.interpolate(start, end, place, "both")
    np.testing.assert_allclose(z[:2], jnp.stack([start[0], end[1]]), atol=1e-5)
    zeros = jnp.zeros_like(start)  # option temperature=0
    np.testing.assert_array_equal(task.interpolate(zeros, zeros, place, "latents"), zeros)
    with pytest.raises(UserError, match="a VAE has none: use --interpolate=latents"):
        task.interpolate(start, end, place, "classes")


def test_command(capsys: pytest.CaptureFixture, gan: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    base = ["--mode=sample", f"--workdir={gan}", f"--output={output}"]
    new = [*base[:2], f"--output={tmp_path / 'new'}"]
    out = succeed(capsys, *base, "--interpolate=latents", "--num=2", "--steps=3", "--labels=5")
    assert "2 paths of 3 images" in out
    first = snapshot(output)
    assert list(first) == ["paths.png"]
    with Image.open(output / "paths.png") as picture:
        assert picture.width > picture.height and picture.info["interpolate"] == "latents"
    for arguments, says in (
        ([*new, "--interpolate=lines"], ["lines", "both, latents, classes"]),
        ([*new, "--interpolate=both", "--steps=1"], ["--steps", "1", "at least 2"]),
        ([*base, "--interpolate=both", "--num=0"], ["--num=0"]),
        ([*base, "--steps=3"], ["--steps=3", "--interpolate=both"]),
        (["--mode=eval", f"--workdir={gan}", "--interpolate=both"], ["takes no --interpolate"]),
    ):
        refuse(capsys, *arguments, says=says, keeps=output)
    assert snapshot(output) == first
    refuse(capsys, *base, "--interpolate=both", says=["holds 1 files", "paths.png"], keeps=output)
