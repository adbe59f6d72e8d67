"""The smoke form of every config trains two steps, and its full form builds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import NAMES, ROOT, Trained, smoke_config
from recorded import differing, values_of

import gan_jax
from gan_jax.core.config import check_config
from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.experiment.inspection import inspect
from gan_jax.experiment.train import train
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task

# One a family; the others behind a marker.
DEFAULT = ("dcgan", "vae", "classifier", "pix2pix")
SHARED = ("vae", "classifier", "pix2pix")  # whose runs other tests use


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in DEFAULT else pytest.mark.all_configs) for n in NAMES]
)
def test_smoke(name: str, tmp_path: Path, trained: Callable[..., Trained]) -> None:
    if name in SHARED:
        run = trained(name).workdir
    else:
        run = tmp_path / "run"
        outcome = train(smoke_config(name, train__devices=1), run)
        assert (outcome.status, outcome.step) == ("trained", 2)
    leaves = jax.tree.leaves(gan_jax.load(run).state)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
    assert differing(values_of(run), name) == []


@pytest.mark.parametrize("name", NAMES)
def test_full_form_is_legal_and_documented(name: str) -> None:
    path = ROOT / "configs" / f"{name}.py"
    check_config(load_config(str(path)))
    text = path.read_text()
    assert "python main.py" in text and "\n\nResults: configs/README.md.\n" in text


@pytest.mark.parametrize(
    "argument", ["mnist", "fashion_mnist", "cifar10", "celeb_a", "digits", "folder", "tfds", "npz"]
)
@pytest.mark.parametrize("name", ["dcgan", "sngan", "wgan_gp"])
def test_presets_build(argument: str, name: str) -> None:
    config = load_config(f"configs/{name}.py:{argument},width=8")
    check_config(config)
    assert config.model.gen.width == 8


@pytest.mark.parametrize(
    ("argument", "widths"),
    [
        ("sngan.py:cifar10", (256, 128)),
        ("sngan.py:cifar10,width=32", (32, 16)),
        ("sngan.py:celeb_a", (64, 64)),
        ("wgan_gp.py:cifar10", (128, 128)),
        ("wgan_gp.py:folder,size=128", (64, 64)),
    ],
)
def test_widths_are_those_of_the_papers(argument: str, widths: tuple[int, int]) -> None:
    model = load_config(f"configs/{argument}").model
    assert (model.gen.width, model.disc.width) == widths


# Of each config, a preset with the size of its paper's images; all others behind a marker.
GANS = [name for name in NAMES if load_config(f"{ROOT}/configs/{name}.py").task.name == "gan"]
LARGE = ("lsun", "celeb_a", "celeb_a_hq", "imagenet", "imagenet64", "imagenet32")
PAPERS = {
    ("dcgan", "lsun"): 64,
    ("lsgan", "lsun"): 112,
    ("wgan_gp", "lsun"): 128,
    ("progan", "celeb_a_hq"): 1024,
    ("sngan", "imagenet"): 128,
    ("biggan", "imagenet"): 128,
    ("reacgan", "imagenet"): 128,
}


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        pytest.param(n, p, marks=() if (n, p) in PAPERS else pytest.mark.all_configs)
        for n in GANS
        for p in LARGE
    ],
)
def test_every_gan_builds_for_large_images(name: str, preset: str) -> None:
    """Shapes only: the networks, optimizers and moving averages of a whole training state."""
    config = load_config(f"configs/{name}.py:{preset}")
    check_config(config)
    side = config.data.size[0]
    assert side == PAPERS.get((name, preset), side)
    classes = 1000 if preset.startswith("imagenet") else 0
    streams = {"image": Stream((side, side, 3), "float32", "image")}
    if classes:
        streams["label"] = Stream((), "int32", "label")
    if config.data.labelled:
        streams |= {f"labelled_{stream}": what for stream, what in streams.items()}
    spec = DataSpec(preset, streams, classes, counts={"train": 1_000_000})
    if config.model.conditional.name != "none" and not classes:
        with pytest.raises(UserError, match=f"{preset} has none"):
            make_task(config, spec)
        return
    state = jax.eval_shape(make_task(config, spec).init, jax.random.key(0))
    # LAPGAN has several of both, numbered.
    assert {name.rstrip("0123456789") for name in state.nets} == {"gen", "disc"}


def test_inspecting_a_config_needs_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    inspect(smoke_config("tutorial_gan"))
    assert "parameters" in capsys.readouterr().out
