"""External code named in a config; a stranger's run must not execute it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import refuse, succeed
from conftest import ROOT

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.core.outside import import_outside, is_outside, trusting

OWN = """
import jax, jax.numpy as jnp, numpy as np
from flax import linen as nn
from gan_jax.data.dataset import Dataset
from gan_jax.data.sources import open_synthetic
from gan_jax.methods.terms import Kind
from gan_jax.objectives.adversarial import Game


class Generator(nn.Module):
    image_shape: tuple
    width: int = 8

    @nn.compact
    def __call__(self, latents, *, train):
        x = nn.relu(nn.Dense(self.width)(latents))
        return jnp.tanh(nn.Dense(int(np.prod(self.image_shape)))(x)).reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1)))
        return nn.Dense(1)(x)


class Vectors(nn.Module):
    @nn.compact
    def __call__(self, latents, *, train):
        return nn.Dense(3)(latents)


class Net(nn.Module):
    @nn.compact
    def __call__(self, images, *, train, keys, dropout=False):
        return nn.Dense(3)(images)


class Argumentative(nn.Module):
    def __call__(self, a, b, c, *, train):
        return a


def not_a_network(*, size: int = 3):
    return size


def quadratic():
    square = lambda *, real_logits, fake_logits: (real_logits - 1) ** 2 + (fake_logits + 1) ** 2
    return Game(square, lambda *, fake_logits: fake_logits**2, 0.0)


def small(*, scale: float = 2.0):
    def value(nets, seen, keys, buffer):
        return scale * jnp.square(seen["real_out"].logits), {}

    return Kind(value, ("real_out",))


def unfinished(nowhere, *, scale: float = 2.0):
    raise AssertionError("it lacks an argument")


def positional(width: int = 3, /):  # what is named can't be given
    raise AssertionError("it can't be called")


class Translator(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, images, *, train, keys=None, dropout=True):
        return jnp.tanh(nn.Conv(self.outputs, (3, 3))(images))


class Judge(nn.Module):
    @nn.compact
    def __call__(self, source, made, *, train):
        return nn.Dense(1)(jnp.concatenate([source, made], -1).reshape(len(made), -1))


def source(section):
    return open_synthetic(section)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory on the path with a module `own_nets`, unloaded after the test."""
    import sys

    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("own_nets", None)


SMOKE = f"--config={ROOT}/configs/dcgan.py:smoke"
NETS = (
    "--config.model.gen=own_nets:Generator",
    "--config.model.gen.width=5",
    "--config.model.disc=own_nets:Discriminator",
    "--config.task.loss=own_nets:quadratic",
    "--config.data.source=own_nets:source",
)


def test_a_run_of_own_networks(
    capsys: pytest.CaptureFixture, mine: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains, resumes and samples with the module's fields; loading a run imports nothing."""
    succeed(capsys, SMOKE, *NETS, f"--workdir={workdir}")
    recorded = json.loads((workdir / "config.json").read_text())
    assert recorded["model"]["gen"] == {"name": "own_nets:Generator", "width": 5}
    assert recorded["model"]["disc"] == {"name": "own_nets:Discriminator", "width": 4}  # kept
    run = f"--workdir={workdir}"
    out = f"--output={workdir / 'out'}"
    says = ["model.gen.name=own_nets:Generator", "--trust-code"]
    refuse(capsys, "--mode=sample", run, "--num=2", out, says=says, keeps=workdir)
    refuse(capsys, run, "--config.train.steps=4", says=says, keeps=workdir)
    with pytest.raises(UserError, match="trust_code=True"):
        gan_jax.load(workdir)
    succeed(capsys, "--mode=sample", run, "--num=2", out, "--trust-code")
    succeed(capsys, run, "--config.train.steps=4", "--trust-code")
    images = gan_jax.load(workdir, trust_code=True).sample(3)
    assert images.shape == (3, 16, 16, 1)
    shutil.rmtree(mine)
    import sys

    sys.modules.pop("own_nets")
    says = ["model.gen.name=own_nets:Generator", "No module named 'own_nets'", "PYTHONPATH=DIR"]
    again = ("--mode=sample", run, "--num=2", out, "--overwrite", "--trust-code")
    refuse(capsys, *again, says=says, keeps=workdir)


def config_with(folder: Path, **entry: object) -> Path:
    """Write a user config: DCGAN with a discriminator term "mine"."""
    own = folder / "own_config.py"
    own.write_text(
        "from configs import dcgan\n"
        "def get_config(arg=''):\n"
        "    config = dcgan.get_config('smoke')\n"
        "    with config.unlocked():\n"
        f"        config.terms.disc.mine = {entry!r}\n"
        "    return config\n"
    )
    return own


def test_a_term_of_ones_own(capsys: pytest.CaptureFixture, mine: Path, workdir: Path) -> None:
    own = config_with(mine, name="own_nets:small", weight=0.5, scale=3.0)
    succeed(capsys, f"--config={own}", f"--workdir={workdir}")
    recorded = json.loads((workdir / "config.json").read_text())["terms"]["disc"]["mine"]
    assert recorded == {"name": "own_nets:small", "weight": 0.5, "every": 1, "scale": 3.0}
    assert "disc/mine" in (workdir / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["model.gen=own_nets:Nobody"], ["own_nets has no 'Nobody'", "Generator"]),
        (["model.gen=nowhere_at_all:Net"], ["No module named 'nowhere_at_all'"]),
        (["model.gen=own_nets:Vectors"], ["returns [1, 3] of [1, 8]", "images [B, H, W, C]"]),
        (
            ["model.disc=own_nets:Argumentative"],
            ["can't be called as network([1, 16, 16, 1], train="],
        ),
        (["model.gen=own_nets:not_a_network"], ["returned 3", "flax.linen.module.Module"]),
        (["model.gen=own_nets:Generator", "model.gen.wdth=3"], ["wdth", "it has width"]),
        (["task.loss=own_nets:not_a_network"], ["returned 3", "adversarial.Game"]),
        (["task.loss=own_nets:Argumentative.wrong"], ["has no 'Argumentative.wrong' to call"]),
        (["data.source=own_nets:not_a_network"], ["not_a_network"]),
        (["augment=own_nets:not_a_network"], ["returned 3", "augment.Augment"]),
        (["optim.gen=own_nets:not_a_network"], ["returned 3", "GradientTransformation"]),
        (["model.gen=own_nets:unfinished"], ["needs model.gen.nowhere, which has no default"]),
        (["model.disc=own_nets:positional"], ["model.disc.name=own_nets:positional can't be"]),
        (["optim.gen=own_nets:positional"], ["name=own_nets:positional can't be called"]),
        (["augment=own_nets:positional"], ["augment.name=own_nets:positional can't be called"]),
        (
            ["model.disc=own_nets:Discriminator", "terms.gen.feature_matching=1"],
            ["feature_matching with model.disc.name=own_nets:Discriminator", "features"],
        ),
        (
            ["model.gen=own_nets:Generator", "model.conditional=projection"],
            ["model.gen.name=own_nets:Generator is unconditional"],
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    fields: list[str], says: list[str], capsys: pytest.CaptureFixture, mine: Path, workdir: Path
) -> None:
    fields = [f"--config.{field}" for field in fields]
    refuse(capsys, SMOKE, *fields, f"--workdir={workdir}", says=says, keeps=workdir)


@pytest.mark.parametrize(
    ("config", "field", "says"),
    [
        ("vae", "model.encoder=own_nets:Discriminator", "mean and log variance [1, 4]"),
        ("vae", "model.encoder=own_nets:Net", "called as network([1, 16, 16, 1], train=False)"),
        ("classifier", "model.net=own_nets:Net", "returns [1, 16, 16, 3] of [1, 16, 16, 1]"),
        ("classifier", "model.net=own_nets:Vectors", "train=False, keys=keys [1]): TypeError"),
        ("unet", "model.gen=own_nets:Net", "returns [1, 16, 16, 3] of [1, 16, 16, 1]: images"),
        ("unet", "model.gen=own_nets:Vectors", "keys=keys [1], dropout=False): TypeError"),
        ("pix2pix", "model.disc=own_nets:Argumentative", "can't be called as network("),
    ],
)
def test_roles_of_other_methods(
    config: str, field: str, says: str, capsys: pytest.CaptureFixture, mine: Path, workdir: Path
) -> None:
    command = (f"--config={ROOT}/configs/{config}.py:smoke", f"--config.{field}")
    refuse(capsys, *command, f"--workdir={workdir}", says=[says], keeps=workdir)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "own_nets:not_a_network"}, ["returned 3", "terms.Kind"]),
        ({"name": "own_nets:positional", "width": 2}, ["terms.disc.mine.name=own_nets:positional"]),
    ],
)
def test_a_term_that_does_not_fit(
    entry: dict, says: list[str], capsys: pytest.CaptureFixture, mine: Path, workdir: Path
) -> None:
    own = config_with(mine, **entry, weight=1.0)
    refuse(capsys, f"--config={own}", f"--workdir={workdir}", says=says, keeps=workdir)


def test_a_translation_by_own_networks(
    capsys: pytest.CaptureFixture, mine: Path, workdir: Path
) -> None:
    """A generator without dropout, and a discriminator of whole pairs."""
    nets = ("--config.model.gen=own_nets:Translator", "--config.model.disc=own_nets:Judge")
    command = f"--config={ROOT}/configs/pix2pix.py:smoke"
    succeed(capsys, command, *nets, f"--workdir={workdir}")
    assert gan_jax.load(workdir, trust_code=True).transform(
        np.zeros((2, 16, 16, 1), np.uint8)
    ).shape == (2, 16, 16, 1)


def test_only_what_can_be_ones_own_is_imported(
    capsys: pytest.CaptureFixture, mine: Path, workdir: Path
) -> None:
    """The other sections allow only names from this package."""
    for field in ("model.conditional", "model.codes", "task.growth"):
        says = ["own_nets:small", "none"]
        command = (SMOKE, f"--config.{field}=own_nets:small", f"--workdir={workdir}")
        refuse(capsys, *command, says=says, keeps=workdir)


def test_a_run_of_a_stranger_executes_nothing(
    capsys: pytest.CaptureFixture, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    monkeypatch.setattr("os.system", lambda *given, **fields: ran.append(given))
    path = copied / "config.json"
    original = json.loads(path.read_text())
    for section in ("model.gen", "model.disc", "optim.gen", "augment", "task.loss", "data.source"):
        config = json.loads(json.dumps(original))
        *outer, leaf = section.split(".")
        holder = config
        for part in outer:
            holder = holder[part]
        holder[leaf] = "os:system" if isinstance(holder[leaf], str) else {"name": "os:system"}
        path.write_text(json.dumps(config))
        run = f"--workdir={copied}"
        given = dict(says=["os:system", "--trust-code"], keeps=copied)
        if section != "data.source":
            refuse(capsys, "--mode=sample", run, "--num=2", **given)
        refuse(capsys, "--mode=eval", run, **given)
        refuse(capsys, run, "--config.train.steps=9", **given)
        with pytest.raises(UserError, match="trust_code=True"):
            gan_jax.load(copied).held_out()
    assert not ran


def test_trust_is_asked_for_and_ends() -> None:
    assert is_outside("a.b:C") and not is_outside("dcgan") and not is_outside(3)
    with pytest.raises(UserError, match="would execute"):
        import_outside("x", "json:dumps")
    with trusting():
        assert import_outside("x", "json:dumps") is json.dumps
        with trusting(False):  # nested: it inherits the outer setting
            assert import_outside("x", "json:dumps") is json.dumps
        with pytest.raises(UserError, match=r"x=json:dmps: json has no 'dmps'.*mean 'dumps'"):
            import_outside("x", "json:dmps")
    with pytest.raises(UserError, match="would execute"):
        import_outside("x", "json:dumps")
