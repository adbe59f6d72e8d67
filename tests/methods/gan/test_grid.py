"""The grid of GANs: every pair of choices that is legal occurs in a GAN that takes two steps."""

from __future__ import annotations

import itertools
import random
from typing import Any

import jax
import numpy as np
import pytest
from conftest import smoke_config
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.methods.registry import make_task
from gan_jax.objectives.adversarial import GAMES
from gan_jax.training.step import make_step


def term(player: str, **named: float) -> dict[str, float]:
    return {f"terms__{player}__{name}__weight": value for name, value in named.items()}


def classes(conditional: str) -> dict[str, Any]:
    headed = {**term("disc", classes=1.0), **term("gen", classes=1.0)}
    return {
        "model__conditional": conditional,
        **(headed if conditional in ("classifier", "contrastive", "d2d_ce") else {}),
    }


# A choice of each axis: the fields that it sets.
AXES: dict[str, dict[str, dict[str, Any]]] = {
    "net": {
        **{net: {"model__net": net} for net in ("dcgan", "resnet", "conv2014")},
        "mlp": {"model__net": "mlp", "model__disc_dropout": 0.5},
        "dense": {"model__net": "resnet", "model__gen_block": "dense"},
        "sagan": {
            "model__net": "resnet",
            "model__gen_norm": "spectral",
            "model__wide": True,
            "model__attention": 8,
        },
        **{
            net: {"model__net": net, "model__latent": 6, "model__attention": 8}
            for net in ("biggan", "biggan_deep")
        },
        "progan": {"model__net": "progan", "task__stage_images": 16, "task__fade_images": 16},
        "lapgan": {
            "model__net": "lapgan",
            "model__coarsest": 8,
            "model__coarse_width": 16,
            "model__disc_dropout": 0.5,
        },
    },
    "norm": {norm: {"model__disc_norm": norm} for norm in ("batch", "layer", "spectral", "none")},
    "loss": {loss: {"task__loss": loss} for loss in GAMES},
    "classes": {
        name: classes(name)
        for name in ("none", "concat", "classifier", "projection", "contrastive", "d2d_ce")
    },
    "generator": {
        name: {"model__gen_conditional": name}
        for name in ("default", "concat", "batch_norm", "self_modulation")
    },
    "penalty": {
        "none": {},
        **{
            name: term("disc", **{name: 1.0})
            for name in ("gradient_penalty", "one_sided_penalty", "dragan", "r1", "r2")
        },
        "zero_centred": {
            **term("disc", zero_centred_penalty=1.0),
            "terms__disc__zero_centred_penalty__every": 2,
        },
        "clipping": {"task__weight_clipping": 0.1},
    },
    "term": {
        "none": {},
        "balanced": {
            **term("disc", consistency=1.0, fake_consistency=1.0, latent_consistency=1.0),
            **term("gen", latent_diversity=0.1),
        },
        "lecam": term("disc", lecam=0.1, drift=1e-3),
        "orthogonal": {**term("disc", orthogonal=1e-4), **term("gen", orthogonal=1e-4)},
        "improved": {
            **term("disc", historical=0.1),
            **term("gen", historical=0.1, feature_matching=1.0),
        },
        "minibatch": {"model__minibatch_kernels": 3},
    },
    "unlabelled": {
        "none": {},
        "rotation": {**term("disc", rotation=1.0), **term("gen", rotation=0.2)},
        "codes": {
            "model__categorical_codes": (2,),
            "model__continuous_codes": 1,
            **term("disc", codes=1.0),
            **term("gen", codes=1.0),
        },
        "views": term("disc", views=0.1),
    },
    "images": {
        name: {"augment__name": name} for name in ("none", "diffaugment", "ada", "distortion")
    },
    "schedule": {
        "one": {},
        "two": {"task__disc_updates": 2},
        "top_k": {"task__top_k": 0.5},
        "smoothed": {"task__label_smoothing": 0.1},
    },
}
Point = dict[str, str]
PENALTIES = tuple(name for name in AXES["penalty"] if name not in ("none", "clipping"))
MLPS, BIGGANS = ("mlp", "conv2014"), ("biggan", "biggan_deep")
RESIDUAL = ("resnet", "dense", "sagan")
PAIRED = ("relativistic", "relativistic_least_squares", "relativistic_hinge")
# What is refused, and words of the reason: choices that do not go together.
REFUSED: tuple[tuple[dict[str, tuple[str, ...]], str], ...] = (
    ({"norm": ("batch",), "penalty": PENALTIES}, "BatchNorm"),
    ({"term": ("minibatch",), "penalty": PENALTIES}, "minibatch"),
    ({"net": (*RESIDUAL, "lapgan", *MLPS), "norm": ("batch",)}, "disc_norm"),
    ({"net": MLPS, "norm": ("layer",)}, "disc_norm"),
    ({"net": BIGGANS, "norm": ("batch", "layer", "none")}, "disc_norm"),
    ({"net": ("progan",), "norm": ("batch", "layer", "spectral")}, "disc_norm"),
    ({"classes": ("none",), "generator": ("concat", "batch_norm")}, "gives the generator classes"),
    (
        {"net": ("progan", "lapgan", *MLPS), "generator": ("batch_norm", "self_modulation")},
        "has no BatchNorm",
    ),
    ({"net": BIGGANS, "generator": ("concat", "batch_norm", "self_modulation")}, "has its own"),
    ({"net": ("lapgan",), "term": ("balanced",)}, "a step in both"),
    ({"net": ("lapgan",), "unlabelled": ("codes",)}, "no codes"),
    ({"term": ("balanced",), "images": ("diffaugment", "ada", "distortion")}, "neighbour"),
    ({"loss": PAIRED, "schedule": ("top_k",)}, "pairs"),
    ({"loss": (*PAIRED, "wasserstein", "hinge"), "schedule": ("smoothed",)}, "no target"),
    ({"loss": (*PAIRED, "wasserstein"), "images": ("ada",)}, "no boundary"),
)


def config_of(point: Point) -> ConfigDict:
    fields: dict[str, Any] = {"model__width": 4, "model__disc_width": 4, "model__embedding": 4}
    for axis, choice in point.items():
        fields |= AXES[axis][choice]
    return smoke_config("dcgan", train__batch_size=16, **fields)


def breaks(point: Point, rule: dict[str, tuple[str, ...]]) -> bool:
    """Say whether a point, which may lack axes, has what a rule refuses."""
    return all(point.get(axis) in which for axis, which in rule.items())


def refused(point: Point) -> bool:
    return any(breaks(point, rule) for rule, _ in REFUSED)


def pairs(point: Point) -> set[tuple]:
    return set(itertools.combinations(point.items(), 2))


def completed(point: Point, draw: random.Random) -> Point:
    """Return a legal point that has those choices; the others are drawn."""
    found: Point = {}
    while set(found) != set(AXES):
        found = dict(point)
        for axis in (axis for axis in AXES if axis not in point):
            fit = [x for x in AXES[axis] if not refused(found | {axis: x})]
            if fit:
                found[axis] = draw.choice(fit)
    return {axis: found[axis] for axis in AXES}


def covering() -> list[Point]:
    """Return legal points, chosen greedily, that together hold every pair that is legal."""
    draw = random.Random(0)
    missing = {
        pair
        for a, b in itertools.combinations(AXES, 2)
        for pair in itertools.product([(a, x) for x in AXES[a]], [(b, y) for y in AXES[b]])
        if not any(
            set(rule) == {a, b} and all(dict(pair)[axis] in rule[axis] for axis in rule)
            for rule, _ in REFUSED
        )
    }
    found: list[Point] = []
    while missing:
        pair = dict(min(missing))
        legal = [completed(pair, draw) for _ in range(10)]
        found.append(max(legal, key=lambda point: len(pairs(point) & missing)))
        missing -= pairs(found[-1])
    return found


POINTS = covering()
SAMPLE = (46,)  # of the points, by default: one that compiles fast


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(i, marks=() if i in SAMPLE else pytest.mark.all_configs)
        for i in range(len(POINTS))
    ],
)
def test_two_steps(number: int) -> None:
    config = config_of(POINTS[number])
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    state = jax.jit(task.init)(jax.random.key(0))
    step = jax.jit(make_step(task, 16), static_argnums=0)
    draws = [task.phase(i).draws for i in range(2)]
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=16, draws=draws)
    for i, batch in enumerate(source):
        state, metrics = step(task.phase(i), state, batch, jax.random.key(1))
        assert all(np.isfinite(float(x)) for x in metrics.values()), (POINTS[number], metrics)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state)), POINTS[number]


def test_what_is_legal_here_is_legal_there() -> None:
    spec = open_data(config_of(POINTS[0]).data).spec
    for point in POINTS:
        make_task(config_of(point), spec)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_does_not_go_together_is_refused(number: int) -> None:
    """In a point that nothing else speaks against."""
    rule, says = REFUSED[number]
    draw, broken = random.Random(number), []
    while broken != [number]:
        point = {axis: draw.choice(list(choices)) for axis, choices in AXES.items()}
        point |= {axis: which[0] for axis, which in rule.items()}
        broken = [i for i, (other, _) in enumerate(REFUSED) if breaks(point, other)]
    config = config_of(point)
    with pytest.raises(UserError, match=says):
        make_task(config, open_data(config.data).spec)
