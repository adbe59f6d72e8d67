"""Logged learning rates equal those that the optimizers use."""

from __future__ import annotations

import pytest
from conftest import smoke_config

from gan_jax.training.learning_rates import LearningRates
from gan_jax.training.schedules import make_schedule


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_at_logged_steps(schedule: str, warmup: int) -> None:
    config = smoke_config("dcgan", train__steps=11, train__log_every=4, task__disc_updates=2)
    for name, lr in (("gen", 0.5), ("disc", 0.25)):
        config.optim[name].update(dict(lr=lr, schedule=schedule, warmup_steps=warmup))
    rates = LearningRates(config, ("gen", "disc"))
    for step in (4, 8, 11):
        found = rates.at(step)
        # Step 4 contains the generator's 4th update (count 3) and the discriminator's 8th.
        for name, lr, updates in (("gen", 0.5, 1), ("disc", 0.25, 2)):
            expected = make_schedule(
                lr=lr, schedule=schedule, warmup_steps=warmup, steps=11 * updates, batch=8
            )(updates * step - 1)
            assert found[f"learning_rate/{name}"] == pytest.approx(float(expected), rel=1e-5)
    assert LearningRates(config, ("gen0", "gen1")).at(4).keys() == {"learning_rate/gen"}
