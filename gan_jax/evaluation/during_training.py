"""What is measured while a run trains: the task's own metrics, and eval.metrics beside them."""

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
from gan_jax.evaluation.measures import GIVEN, MEASURES
from gan_jax.evaluation.protocol import Request, check_metrics
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel
from gan_jax.training.loop import Evaluated

logger = logging.getLogger(__name__)


class TrainingEvaluator:
    """What is measured at `eval.every`: the task's own metrics, and `eval.metrics` beside them.

    Args:
      config: of the run.
      task: the method.
      dataset: its data; split "eval" is measured.
      parallel: the devices.

    Raises:
      UserError: metrics that the task lacks, too few images, or no feature network.
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
        self._looking = tuple(name for name in names if name in MEASURES)
        self._measurement, self._said = None, False
        if self._looking:
            self._measurement = Measurement(
                Request(self._looking, features=config.eval.features, num=config.eval.num),
                task,
                dataset.spec,
                parallel,
                batch_size=size,
                train_batch_size=config.train.batch_size,
            )
            self._measurement.numbers(*self._measurement.sides(self._split))
            self._key = parallel.replicate(lambda: named_keys(seed)["measure"])

    def names(self, state: TrainState) -> list[str]:
        """Return what `eval.best` may name; `state` may be abstract."""
        found = [n for one in self._passes for n in metric_names(one, self._spec, state)]
        return found + [given for name in self._looking for given in MEASURES[name].gives]

    def __call__(self, state: TrainState) -> Evaluated:
        """Return metrics by name; those that look at images have their protocol in it."""
        found: dict[str, float] = {}
        for evaluator in self._evaluators:
            for part in self._split.parts.values():
                values = evaluator(state, part).items()
                found.update({name: value for name, value in values if not np.ndim(value)})
        if self._measurement is not None:
            seed = self._config.seed
            measured = self._measurement(state, self._key, seed, "eval", self._split)
            found.update(measured.values)
            if hosts.first() and not self._said:
                for note in measured.notes:
                    logger.warning("eval.metrics: %s", note)
            self._said = True
        return Evaluated(found, {without_protocol(name): value for name, value in found.items()})


def without_protocol(name: str) -> str:
    """Return the name that `eval.best` has for a metric: "fid/cnn:RUN/eval/1000" -> "fid"."""
    metric = MetricName.parse(name).metric
    return metric if metric in GIVEN else name
