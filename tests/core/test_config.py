"""Configs: mistyped fields and values are reported at once and in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAMILIES, ROOT, smoke_config
from ml_collections import ConfigDict

from configs.common import PRESETS, base, optimizer, parse_arg, set_data
from gan_jax.core.config import (
    apply_overrides,
    best_metric,
    check_config,
    counts_images,
    deliberate,
    differences,
    flatten,
    from_dict,
    split_overrides,
)
from gan_jax.core.errors import UserError, check_choice, did_you_mean
from gan_jax.methods.configs import load_config


@pytest.fixture
def config() -> ConfigDict:
    return load_config("configs/quickstart.py")


CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if "common" not in p.stem)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_loads(name: str) -> None:
    for argument in ("", ":smoke"):
        config = load_config(f"configs/{name}.py{argument}")
        check_config(config)
        assert config.is_locked
        assert flatten(from_dict(json.loads(json.dumps(config.to_dict())))) == flatten(config)


def test_a_config_has_the_fields_that_it_uses() -> None:
    """Terms, networks and optimizers that are not selected leave no fields."""
    fields = flatten(load_config("configs/lsgan.py"))
    assert len(fields) < 90 and not any(name.startswith("terms.") for name in fields)
    assert fields["model.disc.name"] == "dcgan" and "model.disc.pool" not in fields
    fields = flatten(load_config("configs/lsgan.py", {"model.disc": "resnet"}))
    assert fields["model.disc.pool"] == "sum" and fields["model.gen.name"] == "dcgan"
    fields = flatten(load_config("configs/lsgan.py", {"terms.disc.r1": "10"}))
    assert (fields["terms.disc.r1.weight"], fields["terms.disc.r1.every"]) == (10.0, 1)
    fields = flatten(load_config("configs/wgan_gp.py", {"terms.disc.gradient_penalty": "0"}))
    assert not any(name.startswith("terms.") for name in fields)
    fields = flatten(load_config("configs/lsgan.py", {"optim.gen": "sgd"}))
    assert fields["optim.gen.momentum"] == 0 and "optim.gen.b1" not in fields
    assert fields["optim.gen.lr"] == 2e-4, "what was chosen for both stays"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"terms.disc.r2.every": "4"}, r"terms\.disc\.r2 is not there: add it by .*r2=WEIGHT"),
        ({"terms.disc.r3": "1"}, "'r3' is not known: one of gradient_penalty"),
        ({"terms.disc": "r1"}, r"holds terms: add one by --config\.terms\.disc\.NAME=WEIGHT"),
        ({"terms.disc.r1": "much"}, r"terms\.disc\.r1='much' is not of type float"),
        ({"terms.disc.r1": "1", "terms.disc.r1.evry": "2"}, r"has no field 'evry': it has weight"),
        ({"model.disc.norms": "layer"}, r"did you mean 'model\.disc\.norm'.*it has width, norm"),
        ({"model.disc": "resnett"}, r"model\.disc\.name='resnett'.*did you mean 'resnet'"),
        ({"optim.gen.momentum": "0.5"}, r"optim\.gen=adam has no 'momentum', it has lr, b1"),
        ({"task.name": "vae"}, r"task\.name='vae' is not known: one of gan"),
        ({"modl.disc": "x"}, r"no config field 'modl\.disc'"),
    ],
)
def test_mistakes_in_what_is_chosen(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config("configs/lsgan.py", overrides)


def test_of_two_names_for_a_section_the_last_counts() -> None:
    """The later override wins, whatever the iteration order of sets in this process; six pairs."""
    fields = ("model.gen", "model.disc", "optim.gen", "optim.disc", "augment", "model.conditional")
    names = (("resnet", "mlp"),) * 2 + (("sgd", "rmsprop"),) * 2
    names += (("ada", "distortion"), ("projection", "concat"))
    for turn in (1, -1):
        given: dict[str, str] = {}
        for field, pair in zip(fields, names, strict=True):
            for path, name in list(zip((field, f"{field}.name"), pair, strict=True))[::turn]:
                given[path] = name
        config = flatten(load_config("configs/dcgan.py:smoke", given))
        found = [config[f"{field}.name"] for field in fields]
        assert found == [pair[1 if turn == 1 else 0] for pair in names]


def test_load_config(config: ConfigDict) -> None:
    assert config.train.steps == 4000 and config.data.source == "digits"
    assert load_config("configs/quickstart.py:mnist,width=8").model.gen.width == 8
    assert load_config(str(ROOT / "configs" / "quickstart.py")).to_dict() == config.to_dict()
    with pytest.raises(AttributeError):
        config.train.step = 3


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("configs/quikstart.py", r"no config file .*mean 'configs/quickstart\.py'"),
        ("nowhere/x.py", r"there are: configs/.*classifier\.py, .*configs/vae\.py"),
        ("configs", "no config file 'configs'"),
        ("main.py", "defines no get_config"),
        ("pyproject.toml", r"is not a \.py file"),
        ("configs/quickstart.py:minst", "unknown preset 'minst'; did you mean 'mnist'"),
    ],
)
def test_bad_locations(location: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(location)


def test_a_config_without_argument(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text(
        "from configs.quickstart import get_config as quickstart\n"
        "def get_config():\n    return quickstart('smoke')\n"
    )
    assert load_config(str(path)).task.name == "gan"
    with pytest.raises(UserError, match="takes no argument, got 'mnist'"):
        load_config(f"{path}:mnist")


OVERRIDES = {
    "seed": ("7", 7),
    "train.steps": ("1e5", 100_000),
    "train.batch_size": ("1_000", 1000),
    "optim.gen.lr": ("1e-4", 1e-4),
    "optim.disc.lr": ("1", 1.0),
    "data.path": ("[1, 2]", "[1, 2]"),
    "data.name": ("", ""),
    "data.size": ("[28, 30]", (28, 30)),
    "data.holdout": ("-1e3", -1000.0),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides_are_typed(name: str, config: ConfigDict) -> None:
    text, expected = OVERRIDES[name]
    apply_overrides(config, {name: text})
    section, _, leaf = name.rpartition(".")
    holder = config
    for part in section.split(".") if section else ():
        holder = holder[part]
    assert holder[leaf] == expected and type(holder[leaf]) is type(expected)
    kept = {k: v for k, v in flatten(config).items() if k != name}
    assert kept.items() <= flatten(load_config("configs/quickstart.py")).items()


def test_overrides_of_booleans() -> None:
    config = ConfigDict({"model": {"norm": True, "widths": (1, 2), "none": ()}})
    for text, expected in (("false", False), ("False", False), ("true", True)):
        apply_overrides(config, {"model.norm": text})
        assert config.model.norm is expected
    for text in ("0", "1.0", "no", "falsch"):
        with pytest.raises(UserError, match="not of type bool"):
            apply_overrides(config, {"model.norm": text})
    apply_overrides(config, {"model.widths": "4,5,6", "model.none": "(1, 'x')"})
    assert config.model.widths == (4, 5, 6) and config.model.none == (1, "x")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.stesp", "3", r"no config field 'train\.stesp'; did you mean 'train\.steps'"),
        ("xyz", "3", "no config field 'xyz'$"),
        ("", "3", "no config field ''"),
        ("train", "3", r"config\.train is a section: set one of train\.batch_size"),
        ("train.steps", "many", r"train\.steps='many' is not of type int \(now 4000\)"),
        ("train.steps", "1.5", "not of type int"),
        ("train.steps", "true", "not of type int"),
        ("train.steps", "", "not of type int"),
        ("optim.gen.lr", "fast", "not of type float"),
        ("optim.gen.lr", "{[]: 1}", "not of type float"),
        ("optim.gen.lr", "[", "not of type float"),
        ("data.size", "32", "not of type tuple"),
        ("data.size", "('a', 3)", r"data\.size='a' is not of type int"),
        ("data.size", "(1.5, 3)", "not of type int"),
    ],
)
def test_bad_overrides(name: str, text: str, message: str, config: ConfigDict) -> None:
    with pytest.raises(UserError, match=message):
        apply_overrides(config, {name: text})


def test_round_trip(config: ConfigDict) -> None:
    again = from_dict(json.loads(json.dumps(config.to_dict())))
    assert again.to_dict() == config.to_dict() and again.is_locked
    assert isinstance(again.data.size, tuple)
    assert differences(again, config) == ([], [])


def test_differences(config: ConfigDict) -> None:
    other = load_config("configs/quickstart.py")
    apply_overrides(other, {"train.steps": "9", "data.dir": "/x", "train.parallel": "pmap"})
    refused, changed = differences(config, other)
    assert refused == [] and changed == [
        "data.dir: '' -> '/x'",
        "train.parallel: 'jit' -> 'pmap'",
        "train.steps: 4000 -> 9",
    ]
    apply_overrides(other, {"optim.gen.lr": "0.1", "seed": "1"})
    refused, _ = differences(config, other)
    assert refused == ["optim.gen.lr: 0.0005 -> 0.1", "seed: 0 -> 1"]
    with other.unlocked():
        other.model.extra = 3
        del other.model.latent
    assert "model.extra: 'absent' -> 3" in differences(config, other)[0]
    assert "model.latent: 32 -> 'absent'" in differences(config, other)[0]


def test_what_may_change_on_purpose() -> None:
    old, new = (load_config("configs/quickstart.py") for _ in range(2))
    fields = {"optim.gen.lr": "0.1", "optim.disc.schedule": "cosine", "optim.gen.clip_norm": "1.0"}
    fields |= {"optim.gen.weight_decay": "0.1", "optim.disc.warmup_steps": "3"}
    fields |= {"train.batch_size": "8", "train.steps": "9"}
    apply_overrides(new, {**fields, "data.path": "/x"})
    refused, changed = differences(old, new)
    assert {text.partition(":")[0] for text in refused} == fields.keys()
    assert changed == ["data.path: '' -> '/x'"]
    assert differences(old, new, change=True)[0] == [] and deliberate(old, new).keys() == {*fields}
    apply_overrides(new, {"seed": "1", "optim.gen.b1": "0.1"})
    assert differences(old, new, change=True)[0] == ["optim.gen.b1: 0.5 -> 0.1", "seed: 0 -> 1"]
    assert deliberate(old, old) == {}


@pytest.mark.parametrize(("field", "value"), [("task.top_k", "0.5"), ("task.growth", "stages")])
def test_batches_of_a_schedule_in_images_stay(field: str, value: str) -> None:
    old, new = (load_config("configs/dcgan.py:smoke", {field: value}) for _ in range(2))
    apply_overrides(new, {"train.batch_size": "16", "optim.gen.lr": "1e-3"})
    assert counts_images(new) == [field]
    assert deliberate(old, new).keys() == {"optim.gen.lr"}
    refused, _ = differences(old, new, change=True)
    assert refused == ["train.batch_size: 8 -> 16"]


def test_how_metrics_are_measured_is_fixed_once_they_choose_a_checkpoint() -> None:
    old, new = (load_config("configs/quickstart.py") for _ in range(2))
    apply_overrides(old, {"eval.every": "5", "eval.metrics": "fid", "eval.features": "cnn:a"})
    apply_overrides(new, {"eval.every": "5", "eval.metrics": "kid", "eval.features": "cnn:b"})
    features, metrics = "eval.features: 'cnn:a' -> 'cnn:b'", "eval.metrics: 'fid' -> 'kid'"
    assert differences(old, new) == ([], [features, metrics])
    for config in (old, new):
        apply_overrides(config, {"eval.best": "min:fid"})
    assert differences(old, new) == ([features], [metrics])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_length_is_fixed_where_a_schedule_depends_on_it(schedule: str, config: ConfigDict) -> None:
    other = load_config("configs/quickstart.py")
    for each in (config, other):
        each.optim.gen.schedule = schedule
    other.train.steps = 9
    assert differences(config, other) == (["train.steps: 4000 -> 9"], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.parallel": "pjit"}, r"train\.parallel='pjit'"),
        ({"data.resize": "cubic"}, r"data\.resize='cubic'.*did you mean 'bicubic'"),
        ({"data.fit": "squash"}, r"data\.fit='squash'.*stretch, crop, pad"),
        ({"data.on_error": "ignore"}, r"data\.on_error"),
        ({"data.channels": "2"}, r"data\.channels=2.*0, 1, 3, 4"),
        ({"train.steps": "0"}, r"train\.steps=0: at least 1"),
        ({"train.keep": "0"}, r"train\.keep=0"),
        ({"train.on_nan": "skip"}, r"train\.on_nan='skip'.*stop, rollback"),
        ({"eval.grid": "0"}, r"eval\.grid=0"),
        ({"train.sample_every": "-1"}, r"train\.sample_every=-1"),
        ({"train.ema_decay": "1.0"}, r"train\.ema_decay=1\.0"),
        ({"train.ema_half_life": "-1.0"}, r"train\.ema_half_life=-1\.0: images"),
        ({"train.ema_start": "-1"}, r"train\.ema_start=-1: at least 0"),
        ({"optim.gen.lr": "0"}, r"optim\.gen\.lr=0\.0"),
        ({"eval.best": "accuracy"}, r"eval\.best='accuracy'.*max:METRIC"),
        ({"eval.num": "-1"}, r"eval\.num=-1"),
        ({"eval.metrics": "fid,fid", "eval.every": "5"}, r"eval\.metrics=fid,fid.*each once"),
        ({"eval.metrics": "fid", "eval.every": "0"}, r"eval\.every=0.*--mode=eval"),
        ({"seed": "-1"}, "seed=-1"),
        ({"seed": str(2**32)}, "seed=4294967296"),
    ],
)
def test_check_config(changes: dict[str, str], message: str, config: ConfigDict) -> None:
    check_config(config)
    apply_overrides(config, changes)
    with pytest.raises(UserError, match=message):
        check_config(config)


def test_best_metric() -> None:
    assert [best_metric(x) for x in ("", "max:accuracy", "min:a:b")] == ["", "accuracy", "a:b"]
    for bad in ("max:", "top:accuracy", ":", "accuracy"):
        with pytest.raises(UserError, match=r"eval\.best"):
            best_metric(bad)


def test_split_overrides() -> None:
    given = ["--config.a.b=1=2", "--mode=train", "--config.c=", "x"]
    assert split_overrides(given, "--config.") == ({"a.b": "1=2", "c": ""}, ["--mode=train", "x"])
    with pytest.raises(UserError, match=r"--config\.a has no value: write --config\.a=VALUE"):
        split_overrides(["--config.a"], "--config.")


def test_parse_arg() -> None:
    preset, values = parse_arg("mnist", width=32, rate=0.5, norm=True)
    assert preset == "mnist" and values == dict(width=32, rate=0.5, norm=True)
    text = "folder,path=a=b/c,size=64,width=8,rate=1,norm=false,channels=3"
    preset, values = parse_arg(text, width=32, rate=0.5, norm=True)
    assert preset == "folder" and values == dict(
        path="a=b/c", size=64, width=8, rate=1.0, norm=False, channels=3
    )
    config = base("gan")
    set_data(config, preset, values)
    assert config.data.path == "a=b/c" and config.data.size == (64, 64)
    assert config.data.channels == 3 and config.data.source == "folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mnits", "unknown preset 'mnits'; did you mean 'mnist'"),
        ("", "unknown preset ''"),
        ("mnist,widht=3", "unknown config argument 'widht'; did you mean 'width'"),
        ("mnist,width", "'width' is not of the form key=value"),
        ("mnist,", "'' is not of the form"),
        ("mnist,width=big", "'width=big' is not of type int"),
        ("mnist,norm=maybe", "'norm=maybe' is not of type bool"),
    ],
)
def test_bad_arguments(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_arg(text, width=32, norm=True)


def test_presets_fit_the_data_section() -> None:
    for name in PRESETS:
        config = base("gan")
        set_data(config, name, {})
        check_config(config)


def test_optimizer_section() -> None:
    section = optimizer(1e-3, b1=0.5)
    assert section.lr == 1e-3 and section.b1 == 0.5 and section.name == "adam"


def test_hints() -> None:
    assert did_you_mean("adma", ["adam", "sgd"]) == "; did you mean 'adam'?"
    assert did_you_mean("xyz", ["adam", "sgd"]) == ""
    check_choice("x", 1, (1, 2))
    with pytest.raises(UserError, match=r"x=3 is not known: one of 1, 2$"):
        check_choice("x", 3, (1, 2))


def test_smoke_config_is_small() -> None:
    for name in FAMILIES:
        config = smoke_config(name, train__steps=4, data__size=(8, 8), seed=3)
        assert config.train.steps == 4 and config.data.size == (8, 8) and config.seed == 3
        assert config.data.source == "synthetic"


def test_mistakes_show_before_jax_is_imported() -> None:
    program = """
import sys
import gan_jax
from gan_jax.cli import flags
from gan_jax.core import config, errors, spec
from gan_jax.methods import configs
from gan_jax.rundir import workdir
for name in ("quickstart", "dcgan", "vae", "classifier", "pix2pix"):
    for field, text in (("train.stesp", "3"), ("train.steps", "many"), ("train", "3"), ("a", "")):
        try:
            configs.load_config(f"configs/{name}.py:smoke", {field: text})
        except errors.UserError:
            continue
        raise SystemExit("no error")
heavy = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow_datasets", "grain", "PIL",
         "tensorboardX", "sklearn", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
