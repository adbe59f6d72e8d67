"""The page on adding a method: its code is a method, and the one that is in the package."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import jax
import pytest
from conftest import smoke_config

import gan_jax.methods
from gan_jax.core.task import Task
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.methods.translation import cyclegan

PAGE = Path(gan_jax.methods.__file__).with_name("README.md")


def code_of_the_page() -> str:
    section = PAGE.read_text(encoding="utf-8").partition("\n## ")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 8
    return "from __future__ import annotations\n\n" + "\n\n".join(blocks)


def test_the_page_has_the_whole_method() -> None:
    module = ast.parse(Path(cyclegan.__file__).read_text(encoding="utf-8"))
    module.body = module.body[1:]  # without the docstring of the module
    assert ast.dump(ast.parse(code_of_the_page())) == ast.dump(module)


def test_its_code_builds_the_task() -> None:
    page = ModuleType("page")
    exec(compile(code_of_the_page(), PAGE.name, "exec"), page.__dict__)
    config = smoke_config("cyclegan")
    spec = open_data(config.data).spec
    ours, theirs = make_task(config, spec), page.make_task(config, spec)
    assert isinstance(theirs, Task) and set(page.sections(config)) == set(cyclegan.sections(config))
    states = [jax.eval_shape(task.init, jax.random.key(0)) for task in (ours, theirs)]
    assert states[0] == states[1] and list(ours.transforms) == list(theirs.transforms)
    batch = {k: jax.ShapeDtypeStruct((1, 8, *s.shape), s.dtype) for k, s in spec.streams.items()}
    steps = [
        jax.make_jaxpr(lambda s, b, k, task=task: task.train_step(task.phase(0), s, b, k))(
            states[0], batch, jax.random.key(0)
        )
        for task in (ours, theirs)
    ]
    assert str(steps[0]) == str(steps[1]), "another training step"


@pytest.mark.parametrize("name", ["vae/iwae", "fusion/vae_gan", "translation/cyclegan"])
def test_a_method_is_fewer_than_60_lines(name: str) -> None:
    """Without imports, docstrings, comments and blank lines."""
    source = (PAGE.parent / f"{name}.py").read_text(encoding="utf-8")
    others: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            others.update(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(
            node
        ):
            others.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(source.splitlines(), start=1)
    code = [x for i, x in lines if i not in others and x.strip() and not x.lstrip().startswith("#")]
    assert len(code) < 60
