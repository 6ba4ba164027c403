"""What a message costs: processor time of both sides in one process, per cast and per call.

A cast is publish, confirmation, delivery, handling and acknowledgement; a call is question, handling and answer.
Run ``python bench/bus.py [--json] [--messages N] [--bus local] [--bus rabbitmq]``.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.messaging.bus import Bus, Delivery
from kilonova.messaging.contract import BeginStep, Message, StepGranted, TimelineEvent
from kilonova.messaging.local import LocalBus
from kilonova.messaging.rabbitmq import RabbitBus
from kilonova.model.clock import SystemClock
from kilonova.model.context import Caller, RequestContext

CONTEXT = RequestContext(
    request_id="req-4f2f4a3e-6f1c-4d34-9a5e-0d5b7f0c7f11",
    caller=Caller(user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member", "reader"})),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
MESSAGE = BeginStep(
    action_id="0e3f3f3a-7f2e-4a63-8f0f-4f1f7f3a9b11",
    step="build",
    epoch=3,
    host="compute-0001",
    claimant="a1b2c3d4",
    events=[TimelineEvent(name="schedule", service="nova-scheduler", host="control", started_at=1, finished_at=2)],
)


async def cost(work: Callable[[], Awaitable[object]], messages: int, abreast: int) -> dict[str, float]:
    """Milliseconds of processor and of wall clock for each of ``messages``, ``abreast`` at once."""

    async def lane() -> None:
        for _ in range(messages // abreast):
            await work()

    processor, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(abreast)))
    count = messages // abreast * abreast
    return {
        "cpu_ms": (time.process_time() - processor) * 1000 / count,
        "wall_ms": (time.perf_counter() - wall) * 1000 / count,
    }


async def measure(bus: Bus, messages: int) -> dict[str, dict[str, float]]:
    """Casts and calls over ``bus``: alone, one after the other, and 32 abreast."""
    await bus.start()
    handled = asyncio.Semaphore(0)

    async def take(_: Delivery) -> None:
        handled.release()

    async def answer(_: Delivery) -> Message:
        return StepGranted(epoch=4, lease_seconds=30.0)

    await bus.serve("bench", take, concurrency=64)
    await bus.serve("bench.calls", answer, concurrency=64, durable=False)

    async def cast() -> None:
        await bus.cast("bench", MESSAGE, CONTEXT)
        await handled.acquire()

    async def call() -> None:
        await bus.call("bench.calls", MESSAGE, CONTEXT, timeout=30)

    results = {}
    for name, work in (("cast", cast), ("call", call)):
        await cost(work, 200, 20)
        results[f"{name}, one at a time"] = await cost(work, messages // 4, 1)
        results[f"{name}, 32 abreast"] = await cost(work, messages, 32)
    await bus.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=8000)
    parser.add_argument("--bus", action="append", choices=["local", "rabbitmq"])
    options = parser.parse_args()
    report = {}
    for kind in options.bus or ["local", "rabbitmq"]:
        if kind == "local":
            report[kind] = uvloop.run(measure(LocalBus(SystemClock()), options.messages))
        else:
            directory = Path(tempfile.mkdtemp(prefix="kilonova-bench-"))
            directory.chmod(0o755)
            server = RabbitMQ(directory / "rabbitmq")
            try:
                server.start()
                bus = RabbitBus(server.url, SystemClock(), random.Random(1))
                report[kind] = uvloop.run(measure(bus, options.messages))
            finally:
                server.destroy()
                shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    sys.stdout.write(f"{'bus':<10} {'what':<22} {'CPU ms':>8} {'wall ms':>8}\n")
    for kind, results in report.items():
        for what, figures in results.items():
            sys.stdout.write(f"{kind:<10} {what:<22} {figures['cpu_ms']:8.3f} {figures['wall_ms']:8.3f}\n")


if __name__ == "__main__":
    main()
