from __future__ import annotations

from pathlib import Path

import pytest
from conftest import smoke_config

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import METHODS, check_method, make_task

# Configs of methods that are named otherwise.
CONFIGS = {
    "gan": "dcgan",
    "paired": "unet",
    "restorer": "edsr",
    "inpainting": "inpaint",
    "colorization": "colorize",
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_from_a_config(name: str) -> None:
    config = smoke_config(CONFIGS.get(name, name))
    check_method(config)
    assert config.task.name == name
    assert make_task(config, open_data(config.data).spec).name == name


def test_an_unknown_method_is_refused() -> None:
    config = smoke_config("vae")
    config.task.name = "gna"
    for refuses in (check_method, lambda config: make_task(config, open_data(config.data).spec)):
        with pytest.raises(UserError, match=r"task\.name='gna'.*did you mean 'gan'"):
            refuses(config)


def test_a_method_is_one_line_of_the_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that makes the task, a line, and a config: nothing else knows the names."""
    (tmp_path / "own_method.py").write_text(
        "import copy, dataclasses\n"
        "from gan_jax.core.choices import Choice\n"
        "from gan_jax.methods.vae import vae\n"
        "def make_task(config, spec):\n"
        "    config = copy.deepcopy(config)\n"
        "    config.task.name = 'vae'\n"
        "    return dataclasses.replace(vae.make_task(config, spec), name='own')\n"
        "def sections(config):\n"
        "    return {**vae.SECTIONS, 'task': Choice({'own': vae.rules})}\n"
    )
    (tmp_path / "own.py").write_text(
        "from configs import vae\n"
        "def get_config(arg=''):\n"
        "    config = vae.get_config(arg)\n"
        "    config.task.name = 'own'\n"
        "    return config\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "own", "own_method")
    config = load_config(f"{tmp_path}/own.py:smoke")
    check_method(config)
    assert make_task(config, open_data(config.data).spec).name == "own"
