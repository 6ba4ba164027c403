"""What a scheduling decision costs: in memory, and with its claim in a database.

    python -m bench.scheduler [--hosts 10000] [--hosts 100000] [--requests 10000] [--claims sqlite] [--claims mariadb] [--json]

Mixed flavors on hosts of mixed sizes in three aggregates that are zones, traits, 20 % of the requests in groups with a policy.
Rates are decisions per second of processor time of this one process (the database's own is not in them, the wall's rate stands
beside). ``bench.beside_nova`` puts real Nova with Placement beside the decisions that are claimed.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bench.pending import DISPATCH, ask, delivery
from kilonova.backing.mariadb import MariaDB
from kilonova.config import MembershipConfig, SchedulerConfig
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.host_columns import Reading, read
from kilonova.database.metadata import metadata
from kilonova.database.tables import allocations
from kilonova.messaging.contract import Message, ScheduleServer
from kilonova.model.clock import Random, SystemClock, system_random
from kilonova.model.context import RequestContext
from kilonova.scheduler.fleet import Fleet
from kilonova.scheduler.service import Scheduler
from kilonova.simulation.fleet.hosts import MACHINES, NOW, ZONES, fill
from kilonova.simulation.fleet.play import load_fleet, play
from kilonova.simulation.fleet.report import timing
from kilonova.simulation.fleet.workload import Wish, Workload

TRAITS = sorted({trait for machine in MACHINES for trait in machine.traits})


def wishes(count: int) -> list[Wish]:
    workload = Workload(servers=count, arrival=1000.0, zones=ZONES, traits=TRAITS)
    return list(workload.wishes(Random("bench")))


def in_memory(hosts: int, requests: int) -> dict[str, Any]:
    """Decisions alone, claims noted in memory only."""
    played = play(wishes(requests), hosts, seed=0)
    return {"hosts": hosts, "requests": requests, "failed": played.failed, **timing(played)}


def upkeep(hosts: int) -> dict[str, float]:
    """Memory for each host, and what a look at the database costs for each."""
    tracemalloc.start()
    fleet = load_fleet(hosts)
    kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/scheduler/*")])
    tracemalloc.stop()
    reading = asyncio.run(_reading(hosts, fleet))
    began = time.process_time()
    for _ in range(10):
        fleet.apply(reading)
    applied = (time.process_time() - began) / 10
    return {
        "bytes_per_host": round(sum(trace.size for trace in kept.statistics("filename")) / hosts, 1),
        "refresh_us_per_host": round(applied / hosts * 1e6, 3),
    }


async def _reading(hosts: int, fleet: Fleet) -> Reading:
    database = open_database(DatabaseSettings(url="sqlite://", durable=False), SystemClock(), system_random())
    await database.run(metadata.create_all)
    await database.run(fill, hosts)
    mark = fleet.aggregates_mark
    return await database.run(read, now=NOW, since=NOW + 1, beyond=hosts, heard_since=NOW, aggregates_mark=mark)


class Deaf:
    """The bus of a scheduler whose messages nobody waits for."""

    connected = True

    def __init__(self) -> None:
        self.sent = 0

    async def cast(self, queue: str, message: Message, context: RequestContext) -> None:
        self.sent += 1


async def waiting(database: Database, hosts: int, requests: int) -> tuple[Scheduler, list[ScheduleServer]]:
    """The shipped nova-scheduler over an empty database, with that many hosts, and the requests that wait for it."""
    await database.run(metadata.create_all)
    await database.run(fill, hosts)
    asked = await database.run(ask, wishes(requests))
    scheduler = Scheduler(
        database,
        Deaf(),  # type: ignore[arg-type]  # only what a scheduler uses of a bus
        SystemClock(),
        system_random(),
        host="bench",
        scheduler=SchedulerConfig(refresh=5.0),
        membership=MembershipConfig(down_after=1e9),
        dispatch=DISPATCH / 1_000_000,
    )
    return scheduler, asked


async def claims_in(database: Database) -> int:
    """How many claims the database holds."""
    return int(
        await database.run(
            lambda connection: connection.execute(select(func.count()).select_from(allocations)).scalar_one()
        )
    )


async def claimed(database: Database, hosts: int, requests: int) -> dict[str, Any]:
    """The shipped nova-scheduler, each decision claimed in the database, 64 requests waiting at any time."""
    scheduler, asked = await waiting(database, hosts, requests)
    gate, latencies = asyncio.Semaphore(64), []

    async def one(number: int) -> None:
        async with gate:
            began = time.perf_counter()
            await scheduler.handle(delivery(asked[number]))
            latencies.append((time.perf_counter() - began) * 1000)

    processor, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(len(asked))))
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    latencies.sort()
    return {
        "hosts": hosts,
        "requests": requests,
        "claimed": await claims_in(database),
        "decisions_per_cpu_s": round(requests / processor, 1),
        "decisions_per_wall_s": round(requests / wall, 1),
        "median_ms": round(latencies[len(latencies) // 2], 1),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)], 1),
    }


@contextmanager
def place(kind: str) -> Iterator[str]:
    """The URL of an empty database of that kind."""
    directory = Path(tempfile.mkdtemp(prefix="kilonova-bench-"))
    try:
        if kind == "sqlite":
            yield f"sqlite:///{directory / 'bench.db'}"
            return
        server = MariaDB(directory / "mariadb")
        server.start()
        try:
            yield server.create_database("bench")
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = open_database(DatabaseSettings(url=url), SystemClock(), system_random())
    try:
        yield database
    finally:
        await database.close()


async def with_claims(kind: str, hosts: int, requests: int) -> dict[str, Any]:
    with place(kind) as url:
        async with opened(url) as database:
            return {"claims": kind, **await claimed(database, hosts, requests)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, action="append")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--claims", choices=("sqlite", "mariadb", "none"), action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for hosts in options.hosts or (10_000, 100_000):
        found.append({"claims": "memory", **in_memory(hosts, options.requests)})
        found.append({"upkeep": hosts, **upkeep(hosts)})
    for kind in options.claims or ("sqlite", "mariadb"):
        if kind != "none":
            hosts = (options.hosts or [10_000])[0]
            found.append(asyncio.run(with_claims(kind, hosts, min(options.requests, 5_000))))
    if options.json:
        print(json.dumps(found))
        return
    for figures in found:
        print("  ".join(f"{name} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
