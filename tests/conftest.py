"""What all tests share: eight simulated devices, a compilation cache, and the data sets at hand."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import functools
import gc
import io
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def xla_flags(devices: int) -> str:
    """Return XLA's flags for that many simulated devices, and for programs that compile fast."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
        # A third of the time that a step takes to compile. Newer versions have no such flag, and
        # end a process that sets one they do not know.
        flags += " --xla_cpu_use_fusion_emitters=false"
    return flags


# Before JAX is imported. Tests that need more than one device have them on any machine.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = xla_flags(8)
os.environ["NPROC"] = "16"  # eight devices meet on XLA's thread pool, see gan_jax/platform/host.py
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "jax")
# Tiny programs: compiling them is most of what the tests wait for.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import jax
import numpy as np
import pytest
from commands import CONDITIONAL, make_images
from flax import linen as nn
from ml_collections import ConfigDict

import main
from gan_jax.methods.configs import load_config
from gan_jax.platform import logs

logs.PATIENCE = 600.0  # what a command prints depends on no clock

# Every config.
NAMES = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*.py")
    if not path.stem.endswith(("common", "__init__"))
)
# A config of each family, on which whatever must hold for all is tested.
FAMILIES = ("dcgan", "vae", "classifier", "pix2pix")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that thorough.txt names; a line that names none is a mistake."""
    lines = (ROOT / "tests" / "thorough.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    collected = {item.nodeid.partition("::")[0] for item in items}
    for name in names:
        found = [item for item in items if item.nodeid.startswith(name)]
        for item in found:
            item.add_marker("thorough")
        if not found and name.partition("::")[0] in collected and len(items) > 1000:
            raise pytest.UsageError(f"tests/thorough.txt: there is no test {name}")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test where the README's commands are run."""
    monkeypatch.chdir(ROOT)


def _in_one_program(method: str) -> None:
    """Let a method of Flax modules run as one program where it is called with values.

    As in training. Called as it is, each operation is a program of its own, and compiling these
    took a sixth of the tests' time.
    """
    plain = getattr(nn.Module, method)

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        values = {k: v for k, v in kwargs.items() if isinstance(v, (jax.Array, np.ndarray, float))}
        leaves = jax.tree.leaves((args, values))
        if any(isinstance(x, jax.core.Tracer) or not isinstance(x, VALUE) for x in leaves):
            return plain(module, *args, **kwargs)
        rest = {k: v for k, v in kwargs.items() if k not in values}
        return jax.jit(lambda a, v: plain(module, *a, **v, **rest))(args, values)

    setattr(nn.Module, method, call)


VALUE = (jax.Array, np.ndarray, np.generic, float, int)
for _method in ("init", "init_with_output", "apply"):
    _in_one_program(_method)


@pytest.fixture(autouse=True, scope="module")
def _return_memory() -> Iterator[None]:
    """Forget the programs of modules of tests: all of them together take 5 GB a worker."""
    yield
    with contextlib.suppress(OSError):  # no Linux: after each module
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") < 1.2 * 2**30:
            return
    jax.clear_caches()
    gc.collect()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def smoke_config(name: str, **changes: object) -> ConfigDict:
    """Return the smoke form of a config, with fields such as `train__steps=4` changed."""
    overrides = {field.replace("__", "."): str(value) for field, value in changes.items()}
    return load_config(str(ROOT / "configs" / f"{name}.py") + ":smoke", overrides)


@pytest.fixture(scope="session")
def data_at_hand() -> Path:
    """Return the folder with the real data sets; skip where there is none."""
    folder = Path(os.environ.get("GAN_JAX_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tfds" / "mnist").is_dir():
        pytest.skip(
            "no prepared MNIST here: set GAN_JAX_TEST_DATA to a folder with tfds/ and emoji/"
        )
    return folder


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run of a smoke config and what `main.py` printed at training. Copy it to change it."""

    workdir: Path
    out: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Return a function that trains the smoke form of a config by name, once for all tests.

    And for all workers: the first one that asks trains, the others wait.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared

    @functools.cache
    def train(name: str, *arguments: str) -> Trained:
        folder = shared / f"{name}-{zlib.crc32(repr(arguments).encode()):08x}"
        folder.mkdir(exist_ok=True)
        workdir, said = folder / "run", folder / "out.txt"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not said.exists():
                config = f"--config={ROOT}/configs/{name}.py:smoke"
                one = "--config.train.devices=1"  # a program of eight takes twice the time
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    assert main.main([config, one, f"--workdir={workdir}", *arguments]) == 0
                said.write_text(out.getvalue())
        return Trained(workdir, said.read_text())

    return train


@pytest.fixture
def run_of(trained: Callable[..., Trained]) -> Callable[[str], Trained]:
    """Return a function from a family to its run, which no test may change; the GAN has labels."""
    return lambda name: trained(name, *(CONDITIONAL if name == "dcgan" else ()))


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep features of real images with the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def cnn(trained: Callable[..., Trained], own_cache: None) -> str:
    """Return a feature network: a classifier of two steps."""
    return f"cnn:{trained('classifier').workdir}"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Return a path where nothing is."""
    return tmp_path / "run"


@pytest.fixture
def gan(trained: Callable[..., Trained]) -> Path:
    """Return a conditional GAN of two steps, which no test may change."""
    return trained("dcgan", *CONDITIONAL).workdir


@pytest.fixture
def copied(gan: Path, workdir: Path) -> Path:
    """Return a copy of that run."""
    return Path(shutil.copytree(gan, workdir))


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 40 unlabelled images."""
    return make_images(tmp_path_factory.mktemp("flat"), [f"{i}.png" for i in range(40)])
