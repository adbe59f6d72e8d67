"""The bound on asynchronous dispatch, with results that record when they are awaited."""

from __future__ import annotations

from gan_jax.training.bounded_dispatch import BURST, BoundedDispatch


class Result:
    """A stand-in for the result of a call."""

    def __init__(self, call: int, waited: list[int]) -> None:
        self.call, self.waited = call, waited

    def block_until_ready(self) -> Result:
        self.waited.append(self.call)
        return self


def test_between_16_and_32_calls_are_in_flight() -> None:
    dispatch, waited = BoundedDispatch(), []
    for call in range(1, 4 * BURST + 1):
        dispatch.wait({"loss": Result(call, waited)})
        done = max(waited, default=0)
        assert call - done <= 2 * BURST
        if call >= BURST:
            assert call - done >= BURST, "the devices would run dry"
    assert waited == [BURST, 2 * BURST, 3 * BURST]
