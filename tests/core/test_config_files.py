"""User configs: where they may be located, and how mistakes in them are reported."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import refuse
from conftest import ROOT

from gan_jax.core.config import flatten
from gan_jax.core.config_files import shipped_configs
from gan_jax.core.errors import UserError
from gan_jax.methods.configs import load_config

OWN = """
from configs.common import base, make_smoke, optimizer

def get_config():
    config = base("vae")
    config.task.beta = 1.0
    config.model = dict(encoder=dict(name="conv", width=4), likelihood="bernoulli", latent=4)
    config.optim = dict(encoder=optimizer(1e-3), decoder=optimizer(1e-3))
    make_smoke(config)
    return config
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "1e-3)",
            "1e-3, shedule='cosine')",
            "'optim.encoder.shedule'; did you mean 'optim.encoder.sch",
        ),
        ("width=4", "wdth=8", "field 'model.encoder.wdth'; did you mean 'model.encoder.width'?"),
        ("latent=4", "latnt=8", "field 'model.latnt'; did you mean 'model.latent'?"),
        ("config.task.beta", "config.task.bta", "'task.bta'; did you mean 'task.beta'"),
        (
            "config.task",
            "config.other = {'a': 1}; config.task",
            "'other.a'.* its sections are task",
        ),
        ("make_smoke(config)", "config.train.setps = 9", "'train.setps'; did you mean 'train.step"),
        ("optimizer(1e-3)", "{'name': 'adam'}", "the field 'optim.encoder.lr' is not there"),
        ("make_smoke(config)", "config.train.steps = 'x'", "line 9: TypeError: .*steps"),
        ("base(", "bse(", "line 5: NameError: name 'bse' is not defined.* mean:? 'base'?"),
        ("get_config():", "get_config()", "line 4: SyntaxError: expected ':'"),
        ("configs.common", "configs.comon", "line 2: ModuleNotFoundError: .*configs.comon"),
        ("return config", "return 7", "returned no ConfigDict: 7"),
        ("return config", "raise KeyError('a\\nb')", "line 10: KeyError: "),
    ],
)
def test_a_mistake_is_one_line(
    old: str, new: str, message: str, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    path = tmp_path / "own.py"
    assert old in OWN
    path.write_text(OWN.replace(old, new, 1))
    line = refuse(
        capsys, "--mode=inspect", f"--config={path}", says=[str(path)], keeps=tmp_path / "run"
    )
    assert re.search(message, line), line


def test_lies_anywhere_and_imports_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the checkout, and with another project's package `configs` already imported."""
    other = tmp_path / "other" / "configs"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("WHOSE = 'theirs'\n")
    (other / "more.py").write_text("")
    experiments = tmp_path / "project" / "configs"
    experiments.mkdir(parents=True)
    (experiments / "own_steps.py").write_text("STEPS = 7\n")
    (tmp_path / "project" / "own_beside.py").write_text("BATCH = 3\n")
    text = OWN.replace("make_smoke(config)", "make_smoke(config)\n    config.train.steps = STEPS")
    imports = "from configs.own_steps import STEPS\nimport own_steps, own_beside\n"
    (experiments / "own.py").write_text(imports + text)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(
        sys, "path", [str(other.parent), *(p for p in sys.path if p not in ("", str(ROOT)))]
    )
    mine = [name for name in sys.modules if name == "configs" or name.startswith("configs.")]
    for name in mine:
        monkeypatch.delitem(sys.modules, name)
    theirs = importlib.import_module("configs")
    before = [*sys.path]
    for location in ("configs/own.py", str(experiments / "own.py")):
        assert load_config(location).train.steps == 7
    # A shipped config, by its documented name.
    found = load_config("configs/quickstart.py:smoke")
    assert flatten(found) == flatten(load_config(str(ROOT / "configs" / "quickstart.py:smoke")))
    with pytest.raises(UserError, match=r"mean 'configs/quickstart.py'.*configs/own\.py"):
        load_config("configs/quikstart.py")
    assert sys.modules["configs"] is theirs and theirs.WHOSE == "theirs"
    assert sys.path == before and importlib.import_module("configs.more")
    for name in ("own_steps", "own_beside", "configs", "configs.more"):
        sys.modules.pop(name, None)


def test_a_wheel_holds_the_package_and_its_configs(tmp_path: Path) -> None:
    """A copy of the wheel's files trains in another directory, as `gan_jax` and with -m."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "gan_jax").rglob("*.py")}
    names = {".".join(folder.parts) for folder in folders}
    assert {*packages} == names | {"gan_jax.configs"}, "pyproject.toml lists what a wheel holds"
    assert project["tool"]["setuptools"]["package-dir"] == {"gan_jax.configs": "configs"}
    assert project["project"]["scripts"]["gan_jax"] == "gan_jax.cli.flags:start"
    site = tmp_path / "site"
    for package in packages:
        source = ROOT / ("configs" if package == "gan_jax.configs" else package.replace(".", "/"))
        target = site / package.replace(".", "/")
        target.mkdir(parents=True)
        for path in source.glob("*.py"):
            (target / path.name).write_text(path.read_text())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", *me, *command], cwd=tmp_path, check=True)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv[0] = '/bin/gan_jax'\n"
        "import gan_jax.cli.flags, gan_jax.core.config_files as files\n"
        f"assert str(files.shipped_configs()) == {str(site / 'gan_jax' / 'configs')!r}\n"
        "sys.exit(gan_jax.cli.flags.main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--config=configs/vae.py:smoke", "--workdir=run"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "  gan_jax --mode=sample --workdir=run" in done.stdout
    (start,) = json.loads((elsewhere / "run" / "environment.json").read_text())["starts"]
    assert start["commit"] == "", "of somebody's own repository"
    helped = subprocess.run(
        [sys.executable, "-m", "gan_jax", "--help"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert helped.returncode == 0 and helped.stdout.startswith("usage: python -m gan_jax")


def test_the_checkout_has_them_beside_the_package() -> None:
    assert shipped_configs() == ROOT / "configs"
