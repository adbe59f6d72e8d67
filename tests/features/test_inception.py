"""Inception-v3 against recorded outputs of the originals, and its weights files."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import drawn_inception as cases
from gan_jax.core.errors import UserError
from gan_jax.evaluation.extractors import make_extractor
from gan_jax.features import inception, resize
from gan_jax.features.inception_weights import VARIANTS, read_inception
from gan_jax.features.published import Published

GOLDEN = Path(__file__).with_name("golden.npz")


def save(path: Path, **changes: np.ndarray | None) -> Path:
    """Write weights; a change of None leaves the array out."""
    found = cases.weights(1008) | {name.replace("__", "."): x for name, x in changes.items()}
    np.savez(path, **{name: array for name, array in found.items() if array is not None})
    return path


def test_the_extractor_is_torch_fidelitys(tmp_path: Path) -> None:
    weights = save(tmp_path / "weights.npz")
    extractor = make_extractor("inception_v3_tf", weights=weights, resize="tf_legacy")
    found = jax.jit(extractor.apply)(extractor.variables, cases.images(1, 64, 70))
    with np.load(GOLDEN) as golden:
        for name, array in found.items():
            # Features are about 3.6 here; between images they deviate by 0.08.
            np.testing.assert_allclose(array, golden[f"inception_v3_tf/{name}"], atol=1e-4)
    assert found["features"].shape == (1, extractor.dimensions)
    # What other weights measure has another name.
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert extractor.name == f"inception_v3_tf@{digest[:8]}/tf_legacy"


def test_torchvisions_network(tmp_path: Path) -> None:
    network = VARIANTS["inception_v3_torchvision"].network
    np.savez(tmp_path / "weights.npz", **cases.weights(1000))
    variables = read_inception(network, tmp_path / "weights.npz")
    features, logits = jax.jit(network.apply)(variables, cases.scaled(1, 75))
    with np.load(GOLDEN) as golden:
        for name, array in (("features", features), ("logits", logits)):
            np.testing.assert_allclose(array, golden[f"inception_v3_torchvision/{name}"], atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 8)])
def test_pools_at_the_edge(size: tuple[int, int]) -> None:
    """Against means and maxima over the windows, each written out."""
    x = np.random.default_rng(0).normal(size=(1, *size, 2)).astype(np.float32)
    edge = ((0, 0), (1, 1), (1, 1), (0, 0))
    for found, outside, reduce in (
        (inception._average_pool(x, zeros_count=True), 0.0, np.mean),
        (inception._average_pool(x, zeros_count=False), np.nan, np.nanmean),
        (inception._pool(inception._surrounded(x, -np.inf), np.maximum), np.nan, np.nanmax),
    ):
        around = np.pad(x, edge, constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (1, 2))
        np.testing.assert_allclose(found, reduce(windows, (-2, -1)), rtol=1e-5, atol=1e-6)


def test_resizing_is_the_originals() -> None:
    with np.load(GOLDEN) as golden:
        names = [name for name in golden if name.split("/")[0] in resize.RESIZES]
        assert len(names) == 6
        for name in names:
            how, *sizes = name.split("/")
            there, size = (tuple(map(int, text.split("x"))) for text in sizes)
            found = resize.resize(cases.images(1, *there), size, how)
            np.testing.assert_allclose(found, golden[name], atol=2e-4)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    ones = np.ones
    for changes, says in (
        ({"Mixed_6b__branch7x7_2__bn__running_var": None}, "no 'Mixed_6b.branch7x7_2.bn.running_"),
        ({"Mixed_7a__branch3x3_1__conv__weight": None}, "no 'Mixed_7a.branch3x3_1.conv.weight'"),
        ({"fc__weight": ones((1000, 2048))}, r"'fc.weight' is \(2048, 1000\)"),
        ({"Mixed_5b__branch1x1__conv__weight": ones((64, 192, 3, 3))}, "shapes do not fit"),
    ):
        path = save(tmp_path / "weights.npz", **changes)
        with pytest.raises(UserError, match=says) as error:
            make_extractor("inception_v3_tf", weights=path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_that_are_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    published = VARIANTS[name].published
    with pytest.raises(UserError) as error:
        make_extractor(name)
    for part in (
        "--weights=download",
        published.folder + published.name,
        published.sha256,
        str(published.path),
        name,
    ):
        assert part in str(error.value)
    assert published.name.endswith(f"-{published.sha256[:8]}.pth")
    here = dataclasses.replace(published, folder=f"{tmp_path.as_uri()}/")
    monkeypatch.setitem(VARIANTS, name, dataclasses.replace(VARIANTS[name], published=here))
    with pytest.raises(UserError, match=f"cannot get .*{here.name}"):
        make_extractor(name, weights="download")
    published.path.parent.mkdir()
    published.path.write_bytes(b"another file")
    with pytest.raises(UserError, match=f"SHA-256 .* {published.sha256} expected"):
        make_extractor(name)


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "weights.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    here = Published(f"{tmp_path.as_uri()}/", "weights.pth", digest)
    with pytest.raises(UserError, match="or --weights=download"):
        here.find("features=x")
    with pytest.raises(UserError, match="is another file now"):
        Published(here.folder, here.name, "0" * 64).find("features=x", download=True)
    assert not list(here.path.parent.iterdir())
    assert here.find("features=x", download=True).read_bytes() == b"weights"
    (tmp_path / "weights.pth").unlink()
    assert here.find("features=x") == tmp_path / "cache" / "gan_jax" / "weights.pth"
    here.path.unlink()
    with pytest.raises(UserError, match=r"features=x: cannot get http://127.0.0.1:1/.* put it"):
        Published("http://127.0.0.1:1/", here.name, digest).find("features=x", download=True)
