"""Config fields that came after the first runs, and the value of each that means what was before.

The config.json of a run has the fields of its day; reading it fills in those that came since, so
that an old run can be sampled, evaluated and resumed. Whoever adds a field to `configs/common.py`
or to a config of a family adds a row to `ADDED` (`tests/runs/test_added_fields.py` fails without),
also where today's default is another one: `before` is what runs without the field did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Added:
    """A field.

    Attributes:
      name: "section.field"; "optim.*.field" is the field of every network's optimizer.
      before: its value in runs without it, or a function of their config.
      tasks: the families whose configs have the field; () for all.
    """

    name: str
    before: Any
    tasks: tuple[str, ...] = ()


# Terms of a GAN's losses that came with the section `terms`, by player.
_TERMS = {
    "disc": "zero_centred_penalty one_sided_penalty dragan r1 r2 consistency fake_consistency"
    " latent_consistency lecam drift orthogonal historical classes rotation codes labelled"
    " views",
    "gen": "latent_diversity path_length orthogonal historical feature_matching classes rotation"
    " codes",
}

ADDED = (
    Added("data.labelled", 0),
    Added("data.unlabelled", True),
    Added("data.device_gib", 0.25),
    Added("data.flip", False),
    Added("data.dequantize", False),
    Added("data.white", 0),
    Added("train.init_from", ""),
    Added("train.fsdp", 1),
    Added("train.microbatches", 1),
    Added("train.precision", "float32"),
    Added("train.remat", False),
    Added("train.steps_per_call", 0),  # 1 on CPU, where all of them were trained
    Added("train.on_nan", "stop"),
    Added("train.ema_start", 0),
    Added("train.ema_half_life", 0.0),
    Added("train.deterministic", False),
    Added("optim.*.eps", 1e-8),
    Added("task.loss", "non_saturating", ("gan",)),
    Added("task.label_smoothing", 0.0, ("gan",)),
    Added("model.disc_norm", "batch", ("gan",)),
    Added("model.disc_width", lambda config: config.model.width, ("gan",)),
    Added("model.pool", "sum", ("gan",)),
    Added("model.disc_dropout", 0.0, ("gan",)),
    Added("task.gen_weight", 1.0, ("gan",)),
    Added("task.fake_labels", "real", ("gan",)),
    Added("task.freeze_disc", 0, ("gan",)),
    Added("task.weight_clipping", 0.0, ("gan",)),
    Added("task.top_k", 1.0, ("gan",)),
    Added("task.top_k_decay", 0.99, ("gan",)),
    Added("model.gen_conditional", "default", ("gan",)),
    Added("task.stage_images", 0, ("gan",)),
    Added("task.fade_images", 0, ("gan",)),
    Added("model.attention", 0, ("gan",)),
    Added("model.gen_norm", "none", ("gan",)),
    Added("model.wide", False, ("gan",)),
    Added("model.class_embedding", 128, ("gan",)),
    Added("model.weight_init", "orthogonal", ("gan",)),
    Added("model.reference_batch", 0, ("gan",)),
    Added("model.embedding", 512, ("gan",)),
    Added("model.minibatch_kernels", 0, ("gan",)),
    Added("model.gen_block", "residual", ("gan",)),
    Added("model.coarsest", 0, ("gan",)),
    Added("model.coarse_width", 0, ("gan",)),
    Added("model.categorical_codes", (), ("gan",)),
    Added("model.continuous_codes", 0, ("gan",)),
    Added(
        "terms.disc.gradient_penalty.weight",
        lambda config: config.task.get("gradient_penalty", 0.0),
        ("gan",),
    ),
    Added("terms.disc.gradient_penalty.every", 1, ("gan",)),
    *(
        Added(f"terms.{player}.{name}.{field}", value, ("gan",))
        for player, names in _TERMS.items()
        for name in names.split()
        for field, value in (("weight", 0.0), ("every", 1))
    ),
    Added("terms.flip", True, ("gan",)),
    Added("terms.latent_step", 0.05, ("gan",)),
    Added("terms.temperature", 1.0, ("gan",)),
    Added("terms.positive_margin", 0.98, ("gan",)),
    Added("terms.negative_margin", 0.02, ("gan",)),
    Added("terms.shift_negatives", False, ("gan",)),
    Added("augment.name", "none", ("gan",)),
    Added("augment.parts", "", ("gan",)),
    Added("augment.ramp_images", 500_000.0, ("gan",)),
    Added("task.standardise", False, ("classifier",)),
    Added("eval.metrics", ""),
    Added("eval.features", ""),
    Added("eval.num", 0),
)
# Fields of runs in between, which a row above has read; dropped once it has.
MOVED = {"gan": ("gradient_penalty",)}  # of the section `task`, by family


def complete(config: ConfigDict) -> ConfigDict:
    """Add what a run's config lacks of `ADDED`, in place; sections that it lacks are made."""
    with config.unlocked():
        for row in ADDED:
            if row.tasks and config.task.name not in row.tasks:
                continue
            section, _, leaf = row.name.rpartition(".")
            for holder in _sections(config, section.split(".")):
                if leaf not in holder:
                    holder[leaf] = row.before(config) if callable(row.before) else row.before
        for field in MOVED.get(config.task.name, ()):
            if field in config.task:
                del config.task[field]
    return config


def _sections(config: ConfigDict, path: list[str]) -> Iterator[ConfigDict]:
    """Yield the sections at a path; "*" is each that is there."""
    if not path:
        yield config
        return
    if path[0] != "*" and path[0] not in config:
        config[path[0]] = ConfigDict()
    for name in list(config) if path[0] == "*" else path[:1]:
        yield from _sections(config[name], path[1:])
