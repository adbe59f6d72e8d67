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
    return {f"terms__{player}__{name}": value for name, value in named.items()}


def classes(conditional: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"model__conditional": conditional}
    if conditional in ("classifier", "contrastive", "d2d_ce"):
        fields |= {**term("disc", **{conditional: 1.0}), **term("gen", **{conditional: 1.0})}
    if conditional in ("contrastive", "d2d_ce"):
        fields["model__conditional__embedding"] = 4
    return fields


def nets(gen: str, disc: str = "", **fields: Any) -> dict[str, Any]:
    return {"model__gen": gen, "model__disc": disc or gen, **fields}


# A choice of each axis: the fields that it sets.
AXES: dict[str, dict[str, dict[str, Any]]] = {
    "net": {
        **{net: nets(net) for net in ("dcgan", "resnet", "conv2014")},
        "dcgan_resnet": nets("dcgan", "resnet"),
        "resnet_dcgan": nets("resnet", "dcgan"),
        "mlp": nets("mlp", model__disc__dropout=0.5),
        "dense": nets("resnet", model__gen__block="dense"),
        "sagan": nets(
            "resnet",
            model__gen__norm="spectral",
            model__gen__attention=8,
            model__disc__wide=True,
            model__disc__attention=8,
        ),
        **{
            net: nets(
                net,
                model__latent=6,
                model__gen__attention=8,
                model__gen__class_embedding=4,
                model__disc__attention=8,
            )
            for net in ("biggan", "biggan_deep")
        },
        "progan": nets(
            "progan",
            task__growth="stages",
            task__growth__stage_images=16,
            task__growth__fade_images=16,
        ),
        "lapgan": nets(
            "lapgan",
            model__gen__coarsest=8,
            model__gen__coarse_width=16,
            model__disc__dropout=0.5,
        ),
    },
    "norm": {norm: {"model__disc__norm": norm} for norm in ("batch", "layer", "spectral", "none")},
    "loss": {loss: {"task__loss": loss} for loss in GAMES},
    "classes": {
        name: classes(name)
        for name in ("none", "concat", "classifier", "projection", "contrastive", "d2d_ce")
    },
    "generator": {
        "default": {},
        **{
            name: {"model__gen__conditional": name}
            for name in ("concat", "batch_norm", "self_modulation")
        },
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
        "minibatch": {"model__disc__minibatch_kernels": 3},
    },
    "unlabelled": {
        "none": {},
        "rotation": {**term("disc", rotation=1.0), **term("gen", rotation=0.2)},
        "codes": {
            "model__codes": "infogan",
            "model__codes__categorical": (2,),
            "model__codes__continuous": 1,
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
    ({"net": (*RESIDUAL, "dcgan_resnet", "lapgan", *MLPS), "norm": ("batch",)}, "disc.norm"),
    ({"net": MLPS, "norm": ("layer",)}, "disc.norm"),
    ({"net": BIGGANS, "norm": ("batch", "layer", "none")}, "no 'norm'"),
    ({"net": ("progan",), "norm": ("batch", "layer", "spectral")}, "no 'norm'"),
    (
        {"classes": ("none",), "generator": ("concat", "batch_norm")},
        "conditions the generator on classes",
    ),
    (
        {
            "net": ("progan", "lapgan", *MLPS, *BIGGANS),
            "generator": ("concat", "batch_norm", "self_modulation"),
        },
        "has no 'conditional'",
    ),
    ({"net": ("lapgan",), "term": ("balanced",)}, "would perturb both"),
    ({"net": ("lapgan",), "unlabelled": ("codes",)}, "codes=none"),
    ({"term": ("balanced",), "images": ("diffaugment", "ada", "distortion")}, "neighbour"),
    ({"loss": PAIRED, "schedule": ("top_k",)}, "pairs"),
    ({"loss": (*PAIRED, "wasserstein", "hinge"), "schedule": ("smoothed",)}, "no target"),
    ({"loss": (*PAIRED, "wasserstein"), "images": ("ada",)}, "no boundary"),
)


def config_of(point: Point) -> ConfigDict:
    fields: dict[str, Any] = {"model__gen__width": 4, "model__disc__width": 4}
    for axis, choice in point.items():
        fields |= AXES[axis][choice]
    # Those of these networks are what they are, and no field.
    own = {**dict.fromkeys(BIGGANS, "spectral"), "progan": "none"}
    if own.get(point.get("net", "")) == point.get("norm"):
        fields.pop("model__disc__norm", None)
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
SAMPLE = (10,)  # of the points, by default: dense layers compile fast


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
    with pytest.raises(UserError, match=says):
        config = config_of(point)
        make_task(config, open_data(config.data).spec)
