"""Schedules against closed-form values and PyTorch's schedules."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.training.schedules import make_schedule


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, {0: 1, 50: 1, 500: 1}),
        ("constant", 10, {0: 0, 5: 0.5, 10: 1, 100: 1}),
        ("constant", 200, {0: 0, 100: 0.5, 200: 1}),
        ("linear", 0, {0: 1, 25: 0.75, 99: 0.01, 100: 0, 150: 0}),
        ("linear", 20, {0: 0, 10: 0.5, 20: 1, 60: 0.5, 100: 0}),
        ("linear,start=50", 0, {0: 1, 50: 1, 75: 0.5, 99: 0.02, 100: 0}),
        ("linear,start=40", 20, {20: 1, 60: 1, 80: 0.5, 100: 0}),
        ("cosine", 0, {0: 1, 50: 0.5, 100: 0, 150: 0}),
        ("cosine", 20, {0: 0, 10: 0.5, 20: 1, 60: 0.5, 100: 0}),
        ("cosine,first=20", 0, {0: 1, 10: 0.5, 20: 1, 30: 0.5, 40: 1, 90: 0.5}),
        ("cosine,first=20,factor=2", 0, {0: 1, 10: 0.5, 20: 1, 40: 0.5, 60: 1, 100: 0.5}),
        ("step,at=30+60", 0, {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 100: 0.01}),
        ("step,at=30,factor=0.5", 10, {5: 0.5, 39: 1, 40: 0.5}),
    ],
)
def test_schedules(schedule: str, warmup: int, expected: dict[int, float]) -> None:
    rate = make_schedule(lr=0.2, schedule=schedule, warmup_steps=warmup, steps=100, batch=8)
    steps = np.array(list(expected))
    shares = 0.2 * np.array([expected[step] for step in expected])
    np.testing.assert_allclose([float(rate(step)) for step in steps], shares, atol=1e-7)
    np.testing.assert_allclose(rate(steps), shares, atol=1e-7)  # as they are logged
    np.testing.assert_allclose(jax.jit(rate)(steps[1]), shares[1], atol=1e-7)


def test_warm_up_by_images_lasts_as_long_with_any_batch() -> None:
    given = dict(lr=1.0, schedule="constant,warmup_images=800", warmup_steps=0, steps=1000)
    for batch in (8, 80, 160):
        rate = make_schedule(**given, batch=batch)
        found = [float(rate(images // batch)) for images in (0, 400, 800, 1600)]
        np.testing.assert_allclose(found, [0, 0.5 if batch < 100 else 0.4, 1, 1], atol=1e-6)
    linear = {**given, "schedule": "linear,warmup_images=800"}
    rate = make_schedule(**{**linear, "steps": 300}, batch=8)
    np.testing.assert_allclose([rate(100), rate(200), rate(300)], [1, 0.5, 0], atol=1e-6)
    with pytest.raises(UserError, match="warmup_images=800 leaves none of 100"):
        make_schedule(**{**linear, "steps": 100}, batch=8)
    with pytest.raises(UserError, match=r"warmup_steps=5 and schedule=.*=800: give one"):
        make_schedule(**{**given, "warmup_steps": 5}, batch=8)


def test_restarts_and_steps_as_pytorch() -> None:
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    cases = {
        "cosine,first=7,factor=2": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7, 2),
        "step,at=5+9,factor=0.3": lambda o: schedulers.MultiStepLR(o, [5, 9], 0.3),
        "linear,start=6": lambda o: schedulers.LambdaLR(o, lambda n: min(1, (30 - n) / 24)),
    }
    for schedule, make in cases.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        theirs, rates = make(optimizer), []
        for _ in range(30):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            theirs.step()
        ours = make_schedule(lr=0.1, schedule=schedule, warmup_steps=0, steps=30, batch=8)
        np.testing.assert_allclose(ours(np.arange(30)), rates, atol=1e-7, err_msg=schedule)


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("cosin", "did you mean 'cosine'"),
        ("linear,begin=3", "it takes start, as linear,KEY=VALUE"),
        ("constant,start=3", "it takes no fields"),
        ("linear,start=half", "start is of type int"),
        ("linear,start=100", "from 0 to below the 100 updates"),
        ("step", "step needs at"),
        ("step,at=5+3", "rising, above 0"),
        ("step,at=5,factor=0", "factor=0.0: above 0"),
        ("cosine,first=200", "from 1 to the 100 updates"),
        ("cosine,first=20,factor=0.5", "at least 1"),
        ("linear,warmup_images=some", "takes a whole number"),
    ],
)
def test_mistakes(schedule: str, says: str) -> None:
    with pytest.raises(UserError, match=says.replace("+", r"\+")):
        make_schedule(lr=0.1, schedule=schedule, warmup_steps=0, steps=100, batch=8)
