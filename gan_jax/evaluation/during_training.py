"""Evaluation during training: the task's own metrics and those of `eval.metrics`."""

from __future__ import annotations

import logging

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.config import split_names
from gan_jax.core.keys import named_keys
from gan_jax.core.metric_names import MetricName
from gan_jax.core.state import TrainState
from gan_jax.core.task import Evaluation, Task
from gan_jax.data import Dataset
from gan_jax.evaluation.evaluator import make_evaluator, metric_names
from gan_jax.evaluation.measurement import Measurement
from gan_jax.evaluation.measures import MEASURES, VALUE_NAMES
from gan_jax.evaluation.protocol import Request, check_metrics
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel
from gan_jax.training.loop import Evaluated

logger = logging.getLogger(__name__)


class TrainingEvaluator:
    """Computes the task's own metrics and those of `eval.metrics`, every `eval.every` steps.

    Args:
      config: the run's config.
      task: the method.
      dataset: its data; evaluation uses split "eval".
      parallel: the devices.

    Raises:
      UserError: for metrics that the task does not have, too few images, or no feature network.
    """

    def __init__(
        self, config: ConfigDict, task: Task, dataset: Dataset, parallel: Parallel
    ) -> None:
        self._config, self._task, self._spec = config, task, dataset.spec
        self._split = dataset.splits["eval"]
        names = split_names("eval.metrics", config.eval.metrics)
        check_metrics(names, task, training=True)
        self._passes: list[Task | Evaluation] = [task]
        self._passes += [task.evaluation(name) for name in names if name not in MEASURES]
        size, seed = config.eval.batch_size, config.seed
        self._evaluators = [make_evaluator(one, parallel, size, seed) for one in self._passes]
        self._image_metrics = tuple(name for name in names if name in MEASURES)
        self._measurement, self._warned = None, False
        if self._image_metrics:
            self._measurement = Measurement(
                Request(self._image_metrics, features=config.eval.features, num=config.eval.num),
                task,
                dataset.spec,
                parallel,
                batch_size=size,
                train_batch_size=config.train.batch_size,
            )
            self._measurement.numbers(*self._measurement.select(self._split))
            self._key = parallel.replicate(lambda: named_keys(seed)["measure"])

    def names(self, state: TrainState) -> list[str]:
        """Return the metric names that `eval.best` accepts; `state` may be abstract."""
        found = [n for one in self._passes for n in metric_names(one, self._spec, state)]
        return found + [
            given for name in self._image_metrics for given in MEASURES[name].value_names
        ]

    def __call__(self, state: TrainState) -> Evaluated:
        """Return the metrics by name; names of image metrics include their protocol."""
        found: dict[str, float] = {}
        for evaluator in self._evaluators:
            for part in self._split.parts.values():
                values = evaluator(state, part).items()
                found.update({name: value for name, value in values if not np.ndim(value)})
        if self._measurement is not None:
            seed = self._config.seed
            measured = self._measurement(state, self._key, seed, "eval", self._split)
            found.update(measured.values)
            if hosts.first() and not self._warned:
                for note in measured.notes:
                    logger.warning("eval.metrics: %s", note)
            self._warned = True
        return Evaluated(found, {without_protocol(name): value for name, value in found.items()})


def without_protocol(name: str) -> str:
    """Return the name that `eval.best` uses for a metric: "fid/cnn:RUN/eval/1000" -> "fid"."""
    metric = MetricName.parse(name).metric
    return metric if metric in VALUE_NAMES else name
