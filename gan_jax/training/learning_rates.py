"""Learning rates of a training, for logging."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.metric_names import log_name
from gan_jax.core.state import role
from gan_jax.training.schedules import make_schedule


class LearningRates:
    """Learning rates of each network at every logged step, computed in advance.

    Reading them from the device during training would wait for all dispatched calls.

    Args:
      config: the run's config.
      networks: names of the trained networks, such as "gen", or "gen0" and "gen_ab" where several
        share a role.
    """

    def __init__(self, config: ConfigDict, networks: Collection[str]) -> None:
        every, total = config.train.log_every, config.train.steps
        self._steps = np.unique([*range(every, total + 1, every), total])
        self._rates: dict[str, np.ndarray] = {}
        trained = {role(name) for name in networks}
        for name, section in config.optim.items():
            if name not in trained:
                continue
            # A GAN's discriminator may have several updates per step; log the rate of the last.
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
