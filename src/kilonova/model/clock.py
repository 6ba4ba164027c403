"""Time, randomness and identifiers as things that are handed in.

Nothing below ``cli/`` reads the wall clock, draws a random number or makes an identifier by itself: it
asks one of these, so that the simulator can own all three. A lint rule (``pyproject.toml``) enforces it.
"""

import asyncio
import random
import time
import uuid
from random import Random
from typing import Protocol

__all__ = ["Clock", "Ids", "Micros", "Random", "SystemClock", "system_random"]

Micros = int
"""A moment in microseconds since the Unix epoch, UTC. The unit of every stored time."""


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Micros:
        """The wall clock, in microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes backwards; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Give way for ``seconds``."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Micros:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Ids:
    """Makes identifiers from a random source: one seed, one sequence."""

    def __init__(self, source: Random) -> None:
        self._source = source

    def uuid(self) -> str:
        """A version 4 UUID (RFC 9562) in its dashed form."""
        return str(uuid.UUID(int=self._source.getrandbits(128), version=4))

    def hex(self) -> str:
        """32 hexadecimal digits, the form Keystone gives its ids."""
        return f"{self._source.getrandbits(128):032x}"

    def request_id(self) -> str:
        """``req-`` and a UUID: what OpenStack calls a request id."""
        return f"req-{self.uuid()}"

    def short(self, letters: int = 8) -> str:
        """A short lower-case word, as in ``r-x4k2m9ab``."""
        return "".join(self._source.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=letters))


def system_random() -> Random:
    """The operating system's source; every identifier of a real deployment comes from it."""
    return random.SystemRandom()
