"""The evaluations that a run stores in `eval/`, each number with its protocol."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from gan_jax.core.metric_names import MetricName, Protocol
from gan_jax.core.spec import DataSpec
from gan_jax.metrics.confusion import Confusion, read_older


@dataclasses.dataclass(frozen=True)
class StoredEvaluation:
    """The results of evaluating one checkpoint.

    Attributes:
      step: step of the checkpoint.
      numbers: (protocol, value) by name.
      matrices: (protocol, confusion matrix) by name.
    """

    step: int
    numbers: dict[MetricName, tuple[Protocol, float]]
    matrices: dict[MetricName, tuple[Protocol, Confusion]]


def evaluated_steps(workdir: Path) -> list[int]:
    """Return the steps of a run's evaluated checkpoints, in order."""
    files = (workdir / "eval").glob("*.json")
    return sorted(int(path.stem) for path in files if path.stem.isdigit())


def read_evaluation(workdir: Path, step: int, spec: DataSpec) -> StoredEvaluation:
    """Read the evaluation of a checkpoint.

    Args:
      workdir: the run's directory.
      step: one of `evaluated_steps`.
      spec: spec of the run's data.
    """
    path = workdir / "eval" / f"{step}.json"
    about = _json(path.with_suffix(".about.json"))
    texts, older = read_older(_json(path), spec.class_names)
    # Fingerprints of the evaluation data, stored only if the data changed after the training.
    data = {MetricName.parse(text).protocol: one.get("data") for text, one in about.items()}

    def protocol_of(name: MetricName, weights: str = "") -> Protocol:
        return Protocol(name.protocol, weights, data.get(name.protocol) or spec.fingerprint)

    numbers = {}
    for text, value in texts.items():
        name = MetricName.parse(text)
        numbers[name] = protocol_of(name, about.get(text, {}).get("weights", "")), value
    whole = _json(path.with_suffix(".matrices.json"))
    kept = {text: Confusion.from_dict(record) for text, record in whole.items()}
    found = {MetricName.parse(text): matrix for text, matrix in {**older, **kept}.items()}
    matrices = {name: (protocol_of(name), matrix) for name, matrix in found.items()}
    return StoredEvaluation(step, numbers, matrices)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
