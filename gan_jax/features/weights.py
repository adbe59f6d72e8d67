"""Reading of pretrained weights without executing code in their files.

A PyTorch file is a pickle, and unpickling can execute arbitrary code. The unpickler here accepts
only the names from which tensors are rebuilt, and refuses files with any other.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import flax.traverse_util
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from gan_jax.core.errors import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the five pickles of a legacy file
_LEGACY_PROTOCOL = 1001
_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Exceptions from parsing damaged files, from the documentation of `pickle` and from tests.
_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays; the format is detected from the content, not from the file name.

    Args:
      path: a NumPy archive (.npz), a .safetensors file, or a state dict written by `torch.save`, in
        the zip format or the legacy format (before PyTorch 1.6).

    Returns:
      Arrays by name, with the dtypes of the file (bfloat16 as ml_dtypes.bfloat16).

    Raises:
      UserError: for a file that is missing, damaged, in another format, or contains anything but
        tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights (.npz, .safetensors, .pth, .pt)")
    with path.open("rb") as file:
        start = file.read(9)
        file.seek(0)
        try:
            if start[:4] == b"PK\x03\x04":
                return _read_zip(file)
            if start[8:] == b"{":
                return safetensors.numpy.load_file(path)
            if start[:1] == b"\x80":
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    return _read_legacy(content)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except _DAMAGED as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{path}: damaged, or no file of weights ({reason})") from error
    raise UserError(
        f"{path}: neither .npz, .safetensors nor a PyTorch file by its first bytes {start[:8]!r}"
    )


def verified(path: Path, digest: str) -> Path:
    """Return `path` if the SHA-256 of its content begins with `digest`.

    Args:
      path: the file.
      digest: hexadecimal, complete or the first digits, as in names of published files.

    Raises:
      UserError: for a missing file or another digest.
    """
    found = _digest(path)
    if not found.startswith(digest):
        raise UserError(
            f"{path}: SHA-256 {found[: max(len(digest), 8)]}, {digest} expected: not the published"
            " file, or not all of it; fetch it again"
        )
    return path


def mark(path: Path, published: str) -> str:
    """Return "" for the published file, else "@" and the first eight digits of the SHA-256.

    The result becomes part of metric names.

    Args:
      path: the file.
      published: SHA-256 of the published file, or its first digits.
    """
    found = _digest(path)
    return "" if found.startswith(published) else f"@{found[:8]}"


def _digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(template: Any, weights: Mapping[str, np.ndarray], source: object) -> Any:
    """Fill the variables of a Flax network from weights with PyTorch's names.

    The network's modules must have PyTorch's names, with dots ("features.0") or nested. Kernels
    are transposed: [O, I, kh, kw] to [kh, kw, I, O], and [O, I] to [I, O].

    Args:
      template: dict of collections of arrays or jax.ShapeDtypeStruct, such as the result of
        `jax.eval_shape` on a network's `init`.
      weights: arrays by name; names that the network does not have are ignored.
      source: the file, for error messages.

    Returns:
      The tree of `template`, with NumPy arrays of its dtypes.

    Raises:
      UserError: for a missing name or a different shape.
    """
    leaves = {
        "kernel": "weight",
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    filled = {}
    for path, wanted in flax.traverse_util.flatten_dict(template).items():
        name = ".".join((*path[1:-1], leaves[path[-1]]))
        if name not in weights:
            raise UserError(f"{source}: holds no {name!r}: these are weights of another network")
        array = np.asarray(weights[name])
        if path[-1] == "kernel":
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if array.shape != wanted.shape:
            raise UserError(
                f"{source}: {name!r} is {array.shape} (inputs and outputs last), {wanted.shape}"
                " expected: these are weights of another network"
            )
        filled[path] = np.ascontiguousarray(array.astype(wanted.dtype))
    return flax.traverse_util.unflatten_dict(filled)


# --- PyTorch's files ---


class _Storage(NamedTuple):
    """The flat memory that tensors are views of."""

    key: str
    dtype: str
    count: int

    @property
    def bytes(self) -> int:
        return self.count * np.dtype(_DTYPES[self.dtype]).itemsize


class _Tensor(NamedTuple):
    """A view into a storage; offset and strides are in elements, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, data: bytes) -> np.ndarray:
        """Return the view, read-only. NumPy raises ValueError if it exceeds `data`."""
        dtype = np.dtype(_DTYPES[self.storage.dtype])
        offset, *strides = (n * dtype.itemsize for n in (self.offset, *self.strides))
        return np.ndarray(self.shape, dtype, data, offset, strides)


class _Parameter:
    """A parameter of the oldest files: created empty, then set from the state (data, ...)."""

    __slots__ = ("data",)

    def __new__(cls, data: Any = None, *_: Any) -> _Parameter:
        self = super().__new__(cls)
        self.data = data
        return self

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) == 5:
            self.data = state[0]


class _Unpickler(pickle._Unpickler):
    """Unpickles containers, strings and numbers, and tensors as the records above.

    Based on the Python implementation: the C one allocates as much memory as a memo index in the
    file asks for.
    """

    def __init__(self, file: BinaryIO | mmap.mmap):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        # Return immutable or new objects only, since a pickle can set attributes on them.
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch.nn.parameter", "Parameter":
                return _Parameter
            case "torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2":
                return lambda *args: _Tensor(*args[:4])
            case "torch._utils", "_rebuild_parameter":
                return lambda *args: args[0]
            case "torch", _ if name in _DTYPES:
                return name
        raise UserError(
            f"refused: it names {module}.{name}, and weights are made of tensors only; write it"
            " with torch.save(model.state_dict(), path)"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in _DTYPES or type(count) is not int or count < 0:
            raise UserError(f"a storage of kind {kind!r}, type {dtype!r} and {count!r} numbers")
        if view not in ([], [None]):
            raise UserError("holds views of storages: load and save it with a PyTorch of today")
        storage = _Storage(str(key), dtype, count)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise UserError(f"the storage {key!r} is described in two ways")
        return storage


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if not roots:
            return _read_npz(file)

        def read(name: str, size: int | None = None) -> bytes:
            entry = archive.getinfo(roots[0] + name)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"{name} is compressed, which PyTorch never does")
            if size not in (None, entry.file_size):
                raise UserError(f"{name} has {entry.file_size} bytes, {size} expected")
            return archive.read(entry)

        if roots[0] + "byteorder" in names and read("byteorder") != b"little":
            raise UserError("big-endian: write it on a little-endian machine")
        unpickler = _Unpickler(io.BytesIO(read("data.pkl")))
        state = unpickler.load()
        data = {s.key: read(f"data/{s.key}", s.bytes) for s in unpickler.storages.values()}
    return _arrays(state, data)


def _read_legacy(file: mmap.mmap) -> dict[str, np.ndarray]:
    """Read five pickles (magic, protocol, system, state, keys), then one storage per key."""
    if _Unpickler(file).load() != _LEGACY_MAGIC or _Unpickler(file).load() != _LEGACY_PROTOCOL:
        raise UserError("a pickle, but not one of PyTorch's")
    if not _Unpickler(file).load()["little_endian"]:
        raise UserError("big-endian: write it on a little-endian machine")
    unpickler = _Unpickler(file)
    state = unpickler.load()
    data = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise UserError(f"the storage {key!r} has {count} numbers, {storage.count} expected")
        data[key] = file.read(storage.bytes)
        if len(data[key]) != storage.bytes:
            raise UserError("truncated: fetch it again")
    return _arrays(state, data)


def _arrays(state: Any, data: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    if not isinstance(state, dict):
        raise UserError(f"holds a {type(state).__name__}, not a dict of tensors by name")
    arrays = {}
    for name, value in state.items():
        tensor = value.data if isinstance(value, _Parameter) else value
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise UserError(
                f"{name!r} is a {type(tensor).__name__}, not a tensor; write it with"
                " torch.save(model.state_dict(), path)"
            )
        arrays[name] = tensor.array(data[tensor.storage.key])
    return arrays


def _read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise UserError(f"{name!r} is no array of numbers")
    return arrays
