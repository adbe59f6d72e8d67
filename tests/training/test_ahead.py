"""How far the host runs ahead, counted with results that note who waits for them."""

from __future__ import annotations

from gan_jax.training.ahead import BURST, Ahead


class Result:
    """Stands for what a call returned."""

    def __init__(self, call: int, waited: list[int]) -> None:
        self.call, self.waited = call, waited

    def block_until_ready(self) -> Result:
        self.waited.append(self.call)
        return self


def test_two_handfuls_of_calls_are_under_way_at_most_and_one_at_least() -> None:
    ahead, waited = Ahead(), []
    for call in range(1, 4 * BURST + 1):
        ahead.wait({"loss": Result(call, waited)})
        done = max(waited, default=0)
        assert call - done <= 2 * BURST
        if call >= BURST:
            assert call - done >= BURST, "the devices would run dry"
    assert waited == [BURST, 2 * BURST, 3 * BURST]
