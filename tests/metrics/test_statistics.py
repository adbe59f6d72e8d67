"""Statistics files: round trips, and one-line errors for invalid files."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_golden import features

from gan_jax.core.errors import UserError
from gan_jax.metrics.frechet import frechet_distance, moments_of
from gan_jax.metrics.statistics import read_statistics, write_statistics

PROTOCOL = "inception_v3_tf/clean"


@pytest.fixture
def moments():
    return moments_of(features(24, (400, 350))[0])


@pytest.fixture
def path(tmp_path, moments):
    path = tmp_path / "new" / "statistics.npz"
    write_statistics(path, moments, protocol=PROTOCOL, weights="ab" * 32)
    return path


def read(path, **changes):
    return read_statistics(path, **{"protocol": PROTOCOL, "dimensions": 24, **changes})


def rewritten(path, **changes):
    with np.load(path) as file:
        content = {**file, **changes}
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_what_is_written_is_read(path, moments):
    found = read(path, weights="ab" * 32)
    np.testing.assert_array_equal(found.mean, moments.mean)
    np.testing.assert_array_equal(found.covariance, moments.covariance)
    assert (found.count, found.note) == (400, "")


def test_pytorch_fid_reads_it(path, moments):
    """That is, by the names and shapes of its `with np.load(path) as f: f["mu"], f["sigma"]`."""
    with np.load(path) as file:
        assert (file["mu"].shape, file["sigma"].shape) == ((24,), (24, 24))
        assert file["mu"].dtype == file["sigma"].dtype == np.float64
        np.testing.assert_array_equal(file["sigma"], moments.covariance)


def test_a_file_of_others_is_read_with_a_note(tmp_path, moments):
    np.savez(tmp_path / "theirs.npz", mu=moments.mean, sigma=moments.covariance)
    found = read(tmp_path / "theirs.npz")
    result = frechet_distance(found, moments)
    assert result.value == pytest.approx(0, abs=1e-10)
    assert (
        result.note == f"theirs.npz names no protocol: it may be of other features than {PROTOCOL}"
    )


def test_another_size_protocol_or_network_is_refused(path):
    with pytest.raises(UserError, match=r"statistics of 24 features, .*clean has 2048: use"):
        read(path, dimensions=2048)
    with pytest.raises(
        UserError, match="protocol 'inception_v3_tf/clean', compared with 'cnn:RUN'"
    ):
        read(path, protocol="cnn:RUN")
    with pytest.raises(
        UserError, match="weights abababababab, compared with those of cdcdcdcdcdcd"
    ):
        read(path, weights="cd" * 32)


def test_unknown_weights_are_not_compared(tmp_path, moments):
    write_statistics(tmp_path / "s.npz", moments, protocol=PROTOCOL)
    assert read(tmp_path / "s.npz", weights="cd" * 32).count == 400


@pytest.mark.parametrize("name", ["mu", "sigma", "count", "protocol", "weights"])
def test_a_change_is_found(path, name):
    with np.load(path) as file:
        other = {moment: file[moment] * (1 + 1e-15) for moment in ("mu", "sigma")}
    other |= {"count": np.int64(399), "protocol": np.str_("x"), "weights": np.str_("ef")}
    rewritten(path, **{name: other[name]})
    with pytest.raises(UserError, match="SHA-256"):
        read(path, protocol="x" if name == "protocol" else PROTOCOL)


def test_what_is_no_such_file_is_refused(tmp_path, path):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "nothing.npz")
    with pytest.raises(UserError, match=r"not an \.npz file"):
        read(tmp_path)
    for content in (b"", b"text", path.read_bytes()[:3000]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"not an \.npz file"):
            read(tmp_path / "bad.npz")
    np.save(tmp_path / "array.npy", np.eye(3))
    with pytest.raises(UserError, match=r"not an \.npz file"):
        read(tmp_path / "array.npy")
    np.savez(tmp_path / "pickled.npz", mu=np.array([{}], object), sigma=np.eye(1))
    with pytest.raises(UserError, match=r"not an \.npz file"):
        read(tmp_path / "pickled.npz")


def test_contents_that_are_no_statistics_are_refused(path):
    with pytest.raises(UserError, match="mu and sigma is needed"):
        read(rewritten(path, mu=None))
    with pytest.raises(UserError, match=r"mu \(24,\) and sigma \(24,\)"):
        read(rewritten(path, mu=np.zeros(24), sigma=np.zeros(24)))
    with pytest.raises(UserError, match="not symmetric"):
        read(rewritten(path, sigma=np.triu(np.ones((24, 24)))))
    with pytest.raises(UserError, match="not finite"):
        read(rewritten(path, mu=np.full(24, np.nan), sigma=np.eye(24)))
