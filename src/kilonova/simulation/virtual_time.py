"""A clock that only moves when nobody has anything left to do, and the event loop that moves it.

The shipped services run unchanged on it: an hour of heartbeats takes a moment, a run is the same every time, and no test
sleeps. Real descriptors still work; time stands still while the loop waits for one with no timer pending.
"""

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, lets the time jump to the next timer."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready if ready or timeout is not None else super().select(None)
        self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time()`` is virtual, beginning at 0 seconds."""

    def __init__(self) -> None:
        self._virtual = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual += seconds


class VirtualClock:
    """The ``Clock`` of a virtual loop. ``epoch`` is the wall clock at virtual zero, in microseconds."""

    def __init__(self, epoch: int = 1_800_000_000_000_000) -> None:
        self._epoch = epoch

    def now(self) -> int:
        return self._epoch + int(self.monotonic() * 1_000_000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 -- on a virtual loop this takes no time
