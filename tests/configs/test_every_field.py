"""A field that nothing reads does not exist: to change it changes what is computed, or is refused.

Of one config a family, each field of its method is changed, one at a time. What may change is the
lowered training step, an evaluation, the initial state, the kinds of steps, the options of its use,
or the learning rates. Fields that all methods share are looked for in the code.
"""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, smoke_config
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice
from gan_jax.core.config import flatten
from gan_jax.core.errors import UserError
from gan_jax.core.keys import named_keys
from gan_jax.data import open_data
from gan_jax.methods.configs import SHARED
from gan_jax.methods.registry import make_task, sections
from gan_jax.training.learning_rates import LearningRates
from gan_jax.training.step import training_step

# A config a family, with what lets its fields matter.
CASES: dict[str, dict[str, Any]] = {
    "dcgan": dict(
        model__conditional="projection",
        augment="diffaugment",
        terms__disc__lecam=0.1,
        terms__gen__path_length=1.0,
    ),
    "vae": dict(terms__encoder__orthogonal=1e-3, terms__decoder__orthogonal=1e-3),
    "iwae": dict(task__bound="piwae", task__bound__groups=2),
    "vae_gan": {},
    "classifier": {},
    "pix2pix": dict(terms__disc__consistency=1.0, model__disc__layers=1),
}
# Another value of a name.
OTHER = {
    "schedule": "linear",
    "norm": "layer",
    "conditional": "self_modulation",
    "loss": "hinge",
    "fake_labels": "uniform",
    "parts": "color",
    "target": "angle",
    "binarize": "none",
}


def signature(config: ConfigDict) -> str:
    """Return a digest of whatever a config can change of a training and its use."""
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    phases = [task.phase(step) for step in range(4)]
    state = jax.eval_shape(task.init, named_keys(0)["init"])
    streams = dataset.splits["train"].get(np.arange(2))
    batch = {name: jnp.asarray(x) for name, x in streams.items()}
    one = {**batch, "mask": jnp.ones(2), "index": jnp.arange(2)}
    step = training_step(task, config, 2)
    draws = {k: jnp.stack([x] * phases[-1].draws) for k, x in batch.items()}
    key = jax.random.key(0)
    found = [
        str(phases),
        str(jax.tree.map(lambda x: (x.shape, x.dtype), state)),
        str(jax.make_jaxpr(task.init)(key)),
        str(task.options),
        str(LearningRates(config, task.modules)._rates),
        jax.jit(step, static_argnums=0).lower(phases[-1], state, draws, key).as_text(),
        str(jax.make_jaxpr(task.eval_step)(state, one, key)),
    ]
    return hashlib.sha256("".join(found).encode()).hexdigest()


def other(name: str, value: Any, choice: Choice | None) -> str:
    """Return another value of a field, as text."""
    leaf = name.rpartition(".")[2]
    if choice is not None:
        return next((x for x in reversed(choice.factories) if x != value), "nobody")
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, str):
        return OTHER[leaf]
    if isinstance(value, (list, tuple)):
        return str((*value, 3))
    return str(value + 1) if isinstance(value, int) else str(value * 0.5 + 0.01)


@pytest.mark.all_configs
@pytest.mark.parametrize("case", CASES)
def test_every_field_of_a_method_matters(case: str) -> None:
    config = smoke_config(case, train__batch_size=2, **CASES[case])
    before, chosen = signature(config), sections(config)
    without_effect = []
    for name, value in flatten(config).items():
        if name.partition(".")[0] in SHARED or name == "task.name":
            continue
        choice = chosen.get(name.removesuffix(".name")) if name.endswith(".name") else None
        changes = {name.replace(".", "__"): other(name, value, choice)}
        try:
            changed = smoke_config(case, train__batch_size=2, **{**CASES[case], **changes})
            same = signature(changed) == before
        except UserError:
            continue
        if same:
            without_effect.append(name)
    assert without_effect == []


def test_every_shared_field_is_read() -> None:
    code = "".join(path.read_text() for path in (ROOT / "gan_jax").rglob("*.py"))
    fields = flatten(smoke_config("vae"))
    shared = [name for name in fields if name.partition(".")[0] in SHARED and "." in name]
    leaves = {name: name.rpartition(".")[2] for name in shared}
    unread = [
        name
        for name, leaf in leaves.items()
        if not any(f"{how}{leaf}" in code for how in (".", f'"{name.partition(".")[0]}.', '["'))
    ]
    assert len(shared) > 40 and unread == []
