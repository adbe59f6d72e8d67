"""Images a second and the share of waiting, by a clock of our own."""

from __future__ import annotations

import pytest

from gan_jax import speed


def test_counts_images_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def feed():
        for i in range(4):
            now[0] += 0.25  # a batch takes a quarter of a second to come
            yield i

    meter, batches = speed.Speedometer(), feed()
    for expected in range(3):
        assert meter.take(batches, 8) == expected
        now[0] += 0.75  # and as much again, thrice, to train on
    assert meter.read() == {"time/images_per_second": 8.0, "time/input_wait": 0.25}
    now[0] += 50
    meter.restart()
    meter.take(batches, 8)
    assert meter.read() == {"time/images_per_second": 32.0, "time/input_wait": 1.0}
