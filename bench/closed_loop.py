"""A number of clients, each of which asks for its next piece of work when the last one is done."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Used:
    """Processor time so far, seconds: of the services, and of the database, broker and cache they use."""

    services: float
    backing: float


@dataclass(frozen=True)
class Cost:
    """What ``count`` pieces of work came to, each. ``cpu_ms`` is that of the services alone."""

    count: int
    at_once: int
    cpu_ms: float
    cpu_ms_with_backing: float
    per_second: float
    median_ms: float


def cost(waits: list[float], at_once: int, wall: float, before: Used, after: Used) -> Cost:
    """``waits`` and ``wall`` in seconds."""
    count = len(waits)
    services = after.services - before.services
    backing = after.backing - before.backing
    return Cost(
        count=count,
        at_once=at_once,
        cpu_ms=round(services / count * 1000, 2),
        cpu_ms_with_backing=round((services + backing) / count * 1000, 2),
        per_second=round(count / wall, 2),
        median_ms=round(statistics.median(waits) * 1000, 1),
    )


async def run(work: Callable[[int], Awaitable[None]], count: int, at_once: int, meter: Callable[[], Used]) -> Cost:
    """``work(number)`` for each number below ``count``, ``at_once`` of them at any time. Its errors are raised."""
    numbers, waits = iter(range(count)), []

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await work(number)
            waits.append(time.perf_counter() - began)

    before, began = meter(), time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(at_once):
            clients.create_task(client())
    wall = time.perf_counter() - began
    return cost(waits, at_once, wall, before, meter())
