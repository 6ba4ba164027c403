"""A rolling restart of every service under load: no request may be refused, lost or left unanswered."""

import asyncio
import time
from collections import Counter
from typing import Any

from tests.chaos.cloud import COMPUTES, CONTROL, Cloud
from tests.chaos.load import Asked, Client
from tests.chaos.scenarios import BY_LEASE
from tests.chaos.verdict import Witness, judge, unfinished

DRAIN_BOUND = 25.0
"""Seconds a service may take to stop: its drain's 20, and the rest of its good-byes."""


async def roll(cloud: Cloud, rate: float) -> dict[str, Any]:
    """Restart each service in turn while ``rate`` creates a second come in, and as many deletes."""
    asked, client = Asked(), Client(cloud.url, 32)
    witness = Witness(cloud.database_url, cloud.state)
    await client.login()
    over = asyncio.Event()
    load = asyncio.get_running_loop().create_task(_load(client, asked, rate, over))
    await asyncio.sleep(3.0)
    stops: dict[str, float] = {}
    violations: list[str] = []
    for name in (*CONTROL, *COMPUTES):
        code, seconds = await cloud.terminate(name)
        stops[name] = round(seconds, 2)
        if code != 0 or seconds > DRAIN_BOUND:
            violations.append(f"{name} ended with {code} after {seconds:.1f} s")
        cloud.bring_back([name])
        cloud.spawn(name)
        await cloud.until_up([name])
        await asyncio.sleep(1.0)
    over.set()
    await load
    ended_at = time.monotonic()
    while unfinished(await witness.picture(), set()) and time.monotonic() - ended_at < BY_LEASE:
        await asyncio.sleep(0.25)
    settled = time.monotonic() - ended_at
    picture = await witness.picture()
    verdict = judge(picture, asked, set())
    violations += verdict.violations
    faults = Counter(row.fault for row in picture.living().values() if row.vm_state == "error")
    violations += [f"{count} servers are in ERROR: {fault}" for fault, count in faults.items()]
    violations += [f"{count} × {answer}" for answer, count in asked.answers.items() if answer not in ("202", "204")]
    await client.close()
    await witness.close()
    return {
        "rate": rate,
        "answers": dict(asked.answers),
        "as_asked": verdict.active + verdict.deleted,
        "stop_seconds": stops,
        "slowest_post": round(asked.slowest, 2),
        "settled_after": round(settled, 1),
        "violations": violations,
    }


async def _load(client: Client, asked: Asked, rate: float, over: asyncio.Event) -> None:
    """A steady stream; each server is deleted some seconds after its create, so that the cloud stays small, and
    so that its network has addresses for all."""
    running: set[asyncio.Task[None]] = set()

    async def live(number: int) -> None:
        server_id = await client.create(asked, f"rolling-{number}")
        await asyncio.sleep(4.0)
        if server_id is not None and number % 8:
            await client.delete(asked, server_id)

    number = 0
    while not over.is_set():
        task = asyncio.get_running_loop().create_task(live(number))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*running)
