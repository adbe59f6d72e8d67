"""Several steps per call: where calls end, and that they train like single steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from conftest import FAMILIES, smoke_config
from learning import sgd

import gan_jax
from gan_jax.core.images import to_float
from gan_jax.core.state import new_state
from gan_jax.core.task import Phase
from gan_jax.data import open_data
from gan_jax.data.dataset import as_floats
from gan_jax.data.pipeline import batches
from gan_jax.experiment.train import train
from gan_jax.methods.registry import make_task
from gan_jax.rundir.writer import read_metrics
from gan_jax.training.calls import plan_calls
from gan_jax.training.dispatch import choose_steps_per_call, fitting_steps
from gan_jax.training.step import make_step

A, B = Phase("a"), Phase("b", draws=2)


def ends(start: int, total: int, most: int, *intervals: int, change: int = 0) -> list[int]:
    calls = list(
        plan_calls(
            lambda step: B if step < change else A,
            start=start,
            total=total,
            steps_per_call=most,
            intervals=intervals,
        )
    )
    assert [c.start for c in calls] == [start, *(c.end for c in calls)][:-1], "a gap"
    for call in calls:
        assert call.phase == (B if call.start < change else A)
        assert call.draws == (call.end - call.start) * call.phase.draws
    return [c.end for c in calls]


def test_calls_end_where_something_happens() -> None:
    assert ends(0, 4, 1) == [1, 2, 3, 4]
    assert ends(0, 20, 8) == [8, 16, 20]
    assert ends(0, 20, 8, 0, 10) == [8, 10, 16, 20]
    assert ends(0, 12, 100, 5, 3) == [3, 5, 6, 9, 10, 12]
    assert ends(0, 12, 6, change=4) == [4, 6, 12]
    assert ends(5, 5, 3) == []


@pytest.mark.parametrize("start", range(1, 20))
def test_a_resumed_run_makes_the_calls_of_an_unbroken_one(start: int) -> None:
    whole = ends(0, 20, 4, 7, change=9)
    if start in whole:  # a step at which a run can be saved
        assert ends(start, 20, 4, 7, change=9) == [end for end in whole if end > start]


def test_images_go_to_the_step_as_stored() -> None:
    """The task gets floats in [-1, 1], whether the batch is uint8 or float32."""
    config = smoke_config("dcgan")
    dataset = open_data(config.data)
    task = dataclasses.replace(
        make_task(config, dataset.spec),
        train_step=lambda phase, state, batch, key: (
            state,
            {"pixel": batch["image"][0, 3, 2, 1, 0]},
        ),
    )
    step = jax.jit(make_step(task, 8), static_argnums=0)
    given = dict(seed=0, position=0, batch_size=8, draws=[1])
    (stored,) = batches(dataset.splits["train"], **given)
    assert stored["image"].dtype == np.uint8
    expected = to_float(stored["image"])[0, 3, 2, 1, 0]
    for batch in (stored, as_floats(stored)):
        _, metrics = step(A, new_state({}), batch, jax.random.key(0))
        assert metrics["pixel"] == pytest.approx(float(expected), abs=1e-7)


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES if n != "vae"]


@pytest.mark.parametrize("name", ["vae", *SLOW])
def test_same_training_in_fewer_calls(name: str, tmp_path: Path) -> None:
    runs = []
    for most in (1, 3):
        workdir = tmp_path / str(most)
        config = smoke_config(name, train__steps=6, train__steps_per_call=most, eval__every=0)
        config.train.update(dict(log_every=2, save_every=6, sample_every=0, devices=1))
        config.eval.best = ""
        config = sgd(config)
        assert train(config, workdir).step == 6
        metrics = [line for line in read_metrics(workdir) if line["step"] % 2 == 0]
        metrics = [{k: v for k, v in m.items() if not k.startswith("time/")} for m in metrics]
        runs.append((jax.device_get(gan_jax.load(workdir, checkpoint="latest").state), metrics))
    (one, logged), (other, others) = runs
    chex.assert_trees_all_close(one, other, rtol=1e-4, atol=1e-6)
    assert [line["step"] for line in logged] == [line["step"] for line in others]
    chex.assert_trees_all_close(logged, others, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "steps"), [(1.0, 1), (2e-3, 1), (1.9e-3, 2), (0.28e-3, 8), (1e-9, 32)]
)
def test_short_steps_share_a_dispatch(seconds: float, steps: int) -> None:
    assert fitting_steps(seconds) == steps


@dataclasses.dataclass(frozen=True)
class Device:
    """The attributes of a device that are used."""

    platform: str
    device_kind: str = ""


@pytest.mark.parametrize(
    ("device", "precision", "steps"),
    [
        (Device("cpu"), "float32", 1),
        (Device("gpu", "NVIDIA H100 80GB HBM3"), "float32", 8),
        (Device("gpu", "NVIDIA H100 80GB HBM3"), "bfloat16", 16),
        (Device("gpu", "NVIDIA GeForce RTX 5090"), "float32", 4),
        (Device("tpu", "TPU v5 lite"), "bfloat16", 4),
        (Device("tpu", "TPU v99"), "bfloat16", 1),
    ],
)
def test_steps_of_a_dispatch_follow_from_the_program(
    device: Device, precision: str, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A product of 4096 x 4096 matrices is 0.14 TFLOP: 0.28 ms of an H100 in TF32."""
    shape = jax.ShapeDtypeStruct((4096, 4096), "float32")
    caplog.set_level("INFO")
    got = choose_steps_per_call(
        jax.jit(lambda a, b: a @ b),
        (shape, shape),
        device=device,
        precision=precision,
    )
    assert got == steps
    assert (f"{steps} steps a dispatch" in caplog.text) == (steps > 1)
