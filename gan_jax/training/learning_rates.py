"""The learning rates of a training, for its log."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.metric_names import log_name
from gan_jax.core.state import role
from gan_jax.training.schedules import make_schedule


class LearningRates:
    """Each network's learning rate at every step that is logged, computed once.

    Asked of the device at each step they would wait for all that is under way there.

    Args:
      config: of the run.
      networks: names of those that are trained; of several of one role, "gen0" or "gen_ab".
    """

    def __init__(self, config: ConfigDict, networks: Collection[str]) -> None:
        every, total = config.train.log_every, config.train.steps
        self._steps = np.unique([*range(every, total + 1, every), total])
        self._rates: dict[str, np.ndarray] = {}
        trained = {role(name) for name in networks}
        for name, section in config.optim.items():
            if name not in trained:
                continue
            # Updates a step: of a GAN's discriminator there may be several, the last is logged.
            updates = config.task.get("disc_updates", 1) if name == "disc" else 1
            rate = make_schedule(
                lr=section.lr,
                schedule=section.schedule,
                warmup_steps=section.warmup_steps,
                batch=config.train.batch_size,
                steps=total * updates,
            )
            rates = rate(self._steps * updates - 1)
            self._rates[name] = np.broadcast_to(np.asarray(rates, np.float64), self._steps.shape)

    def at(self, step: int) -> Mapping[str, float]:
        """Return {"learning_rate/NETWORK": rate} of the last update of a logged step."""
        place = int(np.searchsorted(self._steps, step))
        return {
            log_name("learning_rate", name): float(rates[place])
            for name, rates in self._rates.items()
        }
