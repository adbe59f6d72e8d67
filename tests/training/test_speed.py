"""Images per second and the fraction of waiting, with a fake clock."""

from __future__ import annotations

import threading
import time

import pytest

from gan_jax.training import speed


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock that the test advances."""
    now = [100.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    return now


def test_counts_images_and_waiting(now: list[float]) -> None:
    def feed():
        for i in range(4):
            now[0] += 0.25  # wait 0.25 s for a batch
            yield i

    meter, batches = speed.Speedometer(), feed()
    for expected in range(3):
        assert meter.take(batches, 8) == expected
        now[0] += 0.75  # train on it for 0.75 s
    assert meter.read(None).values() == {
        "time/images_per_second": 8.0,
        "time/input_wait": 0.25,
    }
    now[0] += 50
    meter.restart()
    meter.take(batches, 8)
    assert meter.read(None).values() == {
        "time/images_per_second": 32.0,
        "time/input_wait": 1.0,
    }


def test_time_passes_until_the_result_is_there(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls of 100 images are dispatched at once; the device takes 2 s and 3 s for them."""
    finished = [threading.Event(), threading.Event()]
    monkeypatch.setattr(speed.jax, "block_until_ready", lambda result: finished[result].wait(60))
    meter = speed.Speedometer()
    readings = []
    for i in range(2):
        meter.take(iter([None]), 100)
        readings.append(meter.read(i))
    for event, seconds, reading, rate in zip(
        finished, (2.0, 3.0), readings, (50.0, 100 / 3), strict=True
    ):
        now[0] += seconds
        event.set()
        assert reading.values()["time/images_per_second"] == pytest.approx(rate)
    assert time.perf_counter() == 105.0
