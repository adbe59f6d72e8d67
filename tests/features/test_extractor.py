"""Extractors, and classifiers of this project as extractors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import Trained

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.evaluation.extractors import make_extractor


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(5, 16, 16, 1), (3, 20, 31, 3), (2, 9, 40, 4)])
def test_a_classifier_sees_what_it_saw_in_training(
    run_of: Callable[[str], Trained], shape: tuple[int, ...]
) -> None:
    workdir = run_of("classifier").workdir
    extractor = make_extractor(f"cnn:{workdir}")
    found = jax.jit(extractor.apply)(extractor.variables, pictures(*shape))
    expected = gan_jax.load(workdir).encode(pictures(*shape))
    assert extractor.name == f"cnn:{workdir.name}"
    assert found["features"].shape == (shape[0], extractor.dimensions)
    # The same pixels: to float32 rounding.
    for ours, theirs in (("features", "features"), ("logits", "outputs")):
        np.testing.assert_allclose(found[ours], expected[theirs], atol=1e-5, rtol=1e-4)
    assert np.abs(found["features"][0] - found["features"][1]).max() > 0.02


def test_the_fingerprint_tells_weights_apart(run_of: Callable[[str], Trained]) -> None:
    name = f"cnn:{run_of('classifier').workdir}"
    first, again = make_extractor(name), make_extractor(name)
    assert first.fingerprint == again.fingerprint
    leaves, structure = jax.tree.flatten(first.variables)
    leaves[-1] = leaves[-1] + np.float32(1e-3)
    other = dataclasses.replace(first, variables=jax.tree.unflatten(structure, leaves))
    assert other.fingerprint != first.fingerprint
    assert dataclasses.replace(first, name="cnn:other").fingerprint != first.fingerprint


def test_a_regressor_has_no_logits(trained: Callable[..., Trained]) -> None:
    workdir = trained(
        "classifier",
        "--config.task.target=angle",
        "--config.task.label_smoothing=0",
        "--config.eval.best=",
    ).workdir
    extractor = make_extractor(f"cnn:{workdir}")
    assert set(extractor.apply(extractor.variables, pictures(1, 16, 16, 1))) == {"features"}


def test_what_is_no_feature_network_is_refused(
    run_of: Callable[[str], Trained], tmp_path: Path
) -> None:
    workdir = run_of("classifier").workdir
    for name, arguments, says in (
        (f"cnn:{run_of('vae').workdir}", {}, "task 'vae', not a classifier; train one"),
        (f"cnn:{tmp_path}", {}, "is not a run"),
        (f"cnn:{workdir}", {"resize": "tf_legacy"}, "own weights and resizing"),
        (f"cnn:{workdir}", {"weights": tmp_path}, "own weights and resizing"),
        ("inception", {}, "'inception' is not known: one of"),
    ):
        with pytest.raises(UserError, match=says) as error:
            make_extractor(name, **arguments)
        assert "\n" not in str(error.value)
    extractor = make_extractor(f"cnn:{workdir}")
    for bad in (np.zeros((2, 16, 16, 1)), pictures(16, 16, 1), pictures(2, 16, 16, 2)):
        with pytest.raises(UserError, match=r"uint8 images \[B, H, W, 1 | 3 | 4\]"):
            extractor.apply(extractor.variables, bad)
