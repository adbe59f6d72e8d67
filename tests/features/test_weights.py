"""Weights files are read as by PyTorch, and anything but tensors is refused."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from gan_jax.core.errors import UserError
from gan_jax.features.weights import fill, mark, read_weights, verified

DATA = Path(__file__).parent / "data"
FORMS = ("zip", "legacy")


def expected() -> dict[str, np.ndarray]:
    """Return what data/zip.pth and data/legacy.pth hold; both were written by PyTorch 2.13."""
    numbers = np.arange(24, dtype=np.float32) / 8
    return {
        "conv.weight": numbers.reshape(2, 3, 2, 2),
        "transposed": numbers.reshape(4, 6).T,
        "half": numbers[:4].astype(np.float16),
        "brain": numbers[4:8].astype(ml_dtypes.bfloat16),
        "num_batches_tracked": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float64),
    }


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def make_legacy(state: bytes, keys: list[str] = [], storages: bytes = b"") -> bytes:  # noqa: B006
    """Return a legacy file around a pickled state."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    parts = [pickle.dumps(part, 2) for part in parts]
    return b"".join([*parts, state, pickle.dumps(keys, 2), storages])


def make_zip(state: bytes) -> bytes:
    """Return a zip file around a pickled state."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("archive/data.pkl", state)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_files_written_by_pytorch(form: str) -> None:
    assert_same(read_weights(DATA / f"{form}.pth"), expected())


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("form", FORMS)
def test_whatever_pytorch_writes(form: str, protocol: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    numbers = torch.randn(3, 4, 5)
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    state["view"], state["all"], state["expanded"] = numbers[1:, ::2], numbers, torch.ones(2, 1)
    state["expanded"] = state["expanded"].expand(2, 3)
    state["parameter"] = torch.nn.Parameter(numbers.permute(2, 0, 1))
    for dtype in ["double", "float", "half", "long", "int", "short", "int8", "uint8", "bool"]:
        state[dtype] = (10 * numbers).to(getattr(torch, dtype))
    modern = form == "zip"
    torch.save(
        state,
        tmp_path / "x",
        _use_new_zipfile_serialization=modern,
        pickle_protocol=protocol,
    )
    assert_same(read_weights(tmp_path / "x"), {k: v.detach().numpy() for k, v in state.items()})


def test_the_oldest_form_of_parameters(tmp_path: Path) -> None:
    # NEWOBJ Parameter(), BUILD (tensor by _rebuild_tensor, grad, hooks, requires_grad, volatile).
    state = (
        b"\x80\x02}X\x01\0\0\0wctorch.nn.parameter\nParameter\n)\x81"
        b"(ctorch._utils\n_rebuild_tensor\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        b"X\x01\0\0\x000X\x03\0\0\0cpuK\x06Nt"
        b"QK\x00K\x02K\x03\x86K\x03K\x01\x86tRNN\x88\x89tbs."
    )
    wanted = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "old.pth"
    path.write_bytes(make_legacy(state, ["0"], struct.pack("<q", 6) + wanted.tobytes()))
    assert_same(read_weights(path), {"w": wanted})
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(torch.load(path)["w"].detach().numpy(), wanted)


def test_npz_and_safetensors(tmp_path: Path) -> None:
    np.savez(tmp_path / "a", **(arrays := {"b.weight": np.ones((2, 3)), "a": np.arange(3)}))
    assert_same(read_weights(tmp_path / "a.npz"), arrays)
    arrays = {"a": np.arange(3), "b": np.linspace(0, 1, 4).astype(ml_dtypes.bfloat16)}
    # With any length of header, for no first byte may be taken for another format.
    for length in range(130):
        safetensors.numpy.save_file(arrays, tmp_path / "b", {"note": "x" * length})
        assert_same(read_weights(tmp_path / "b"), arrays)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *args: Any):
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("where", ["zip", "legacy", "magic"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_never_run(where: str, protocol: int, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    evil = pickle.dumps(OrderedDict(a=Call(os.mkdir, str(ran))), protocol)
    if where == "magic":
        evil = b"\x80\x02" + evil if protocol == 0 else evil
    content = {"zip": make_zip, "legacy": make_legacy, "magic": bytes}[where](evil)
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pth: refused: it names (posix|nt)\.mkdir, and"):
        read_weights(tmp_path / "x.pth")
    assert not ran.exists()
    pickle.loads(evil)  # which would have run it
    assert ran.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "torch load", "torch.hub load", "torch._utils __builtins__", "a.b c"]
)
def test_every_other_name_is_refused(name: str, tmp_path: Path) -> None:
    module, name = name.split()
    path = tmp_path / "x.pth"
    path.write_bytes(make_zip(f"c{module}\n{name}\n.".encode()))
    with pytest.raises(UserError, match=re.escape(f"{module}.{name}")):
        read_weights(path)


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 3), tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "name",
    [
        "torch._utils\n_rebuild_tensor_v2",
        "torch.nn.parameter\nParameter",
        "torch\nFloatStorage",
        "collections\nOrderedDict",
    ],
)
def test_a_file_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    # BUILD with (None, {"__doc__": "x"}) calls setattr on what the name stands for.
    state = f"\x80\x02c{name}\nN}}X\7\0\0\0__doc__X\1\0\0\0xs\x86b.".encode("latin1")
    (tmp_path / "x.pth").write_bytes(make_zip(state))
    with pytest.raises(UserError):
        read_weights(tmp_path / "x.pth")
    assert OrderedDict.__doc__ != "x"
    for form in FORMS:
        assert_same(read_weights(DATA / f"{form}.pth"), expected())


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_refused(form: str, tmp_path: Path) -> None:
    content = (DATA / f"{form}.pth").read_bytes()
    path = tmp_path / "x.pth"
    rng = np.random.default_rng(0)
    for end in rng.integers(0, len(content), 40):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match=r"x\.pth"):
            read_weights(path)
    for place in rng.integers(0, len(content), 200):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            found = read_weights(path)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        if form == "zip":  # whose check sums cover all that is read; a legacy file has none
            assert_same(found, expected())


def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "zip.pth") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in entries if name.endswith("data.pkl"))
    # The shape (2, 3, 2, 2) becomes (9, 3, 2, 2).
    assert entries[pickled].count(b"K\x02K\x03K\x02K\x02") == 1
    wrong = entries[pickled].replace(b"K\x02K\x03K\x02K\x02", b"K\x09K\x03K\x02K\x02")
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for name, content in (entries | {pickled: wrong}).items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"damaged.*strides"):
        read_weights(tmp_path / "x.pth")


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(UserError, match=r"x\.pth: no such file of weights"):
        read_weights(path)
    for content, match in {
        b"": "neither .npz",
        b"<html>not found</html>": "neither .npz, .safetensors nor a PyTorch file",
        pickle.dumps({"a": 1}, 2): "a pickle, but not one of PyTorch's",
        make_zip(pickle.dumps({"epoch": 3}, 2)): "'epoch' is a int, not a tensor",
        make_legacy(pickle.dumps([1], 2)): "holds a list, not a dict",
        struct.pack("<q", 40) + b'{"a": 1': "damaged, or no file of weights",
    }.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=match):
            read_weights(path)
    np.savez(tmp_path / "x", a=np.array([{}], object))
    with pytest.raises(UserError, match=r"x\.npz: damaged"):
        read_weights(tmp_path / "x.npz")


def test_a_digest_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert verified(path, digest) == verified(path, digest[:8]) == path
    assert (mark(path, digest), mark(path, "00")) == ("", "@ba7816bf")
    with pytest.raises(UserError, match="x: SHA-256 ba7816bf, deadbeef expected"):
        verified(path, "deadbeef")
    with pytest.raises(UserError, match="no such file"):
        verified(tmp_path / "y", digest)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(2, (3, 1), name="features.0")(x)
        x = nn.BatchNorm(use_running_average=True, name="features.1")(x)
        return nn.Dense(5, name="fc")(x.mean((1, 2)))


def test_a_network_is_filled() -> None:
    template = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 4, 4, 3)))
    rng = np.random.default_rng(0)
    shapes = {"features.0.weight": (2, 3, 3, 1), "fc.weight": (5, 2), "fc.bias": (5,)}
    names = ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    shapes |= {f"features.{name}": (2,) for name in names}
    weights = {name: rng.random(shape) for name, shape in shapes.items()}
    variables = fill(template, weights | {"another": np.ones(1)}, "FILE")
    assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(
        lambda x: (x.shape, x.dtype), template
    )
    conv, norm = (variables["params"][f"features.{i}"] for i in (0, 1))
    assert conv["kernel"][2, 0, 1, 0] == weights["features.0.weight"][0, 1, 2, 0].astype("f")
    assert variables["params"]["fc"]["kernel"][1, 4] == weights["fc.weight"][4, 1].astype("f")
    np.testing.assert_allclose(norm["scale"], weights["features.1.weight"])
    statistics = variables["batch_stats"]["features.1"]
    np.testing.assert_allclose(statistics["var"], weights["features.1.running_var"])

    with pytest.raises(UserError, match=r"FILE: 'fc.bias' is \(4,\).*\(5,\) expected"):
        fill(template, weights | {"fc.bias": np.ones(4)}, "FILE")
    del weights["fc.bias"]
    with pytest.raises(UserError, match=r"FILE: holds no 'fc.bias'"):
        fill(template, weights, "FILE")
