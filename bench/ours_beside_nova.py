"""The work that ``bench.beside_nova`` gives to real Nova, given to us: distributed, with RabbitMQ and MariaDB."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import closed_loop, processor_time
from bench.closed_loop import Cost, Used
from bench.cloud import Cloud, distributed
from bench.nova.measures import CANDIDATES
from bench.pending import delivery
from bench.scheduler import claims_in, opened, waiting
from bench.servers import Client
from kilonova.backing.mariadb import MariaDB
from kilonova.simulation.fleet.hosts import fill


def servers(hosts: int, count: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """POST to ACTIVE, one client, then eight; each polls its server every 20 ms."""
    say(f"starting Kilonova, distributed, {hosts} hosts")
    with distributed(hosts) as cloud:
        cloud.wait()
        return asyncio.run(_servers(cloud, hosts, count))


async def _servers(cloud: Cloud, hosts: int, count: int) -> dict[str, Cost]:
    client = await _administrator(cloud, hosts)

    async def boot(number: int) -> None:
        await client.active(await client.boot(f"bench-{number}"))

    try:
        await closed_loop.run(boot, 10, 2, lambda: _used(cloud))  # warm: imports, compiled statements
        return {
            f"servers x{at_once}": await closed_loop.run(boot, count, at_once, lambda: _used(cloud))
            for at_once in (1, 8)
        }
    finally:
        await client.http.aclose()


def candidates(hosts: int, count: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """``GET /allocation_candidates``, one at a time; all hosts but two are rows that no process stands behind, as Nova's."""
    say(f"starting Kilonova, distributed, {hosts} hosts, nearly all of them rows only")
    with distributed(2) as cloud:
        cloud.wait()
        return asyncio.run(_candidates(cloud, hosts, count))


async def _candidates(cloud: Cloud, hosts: int, count: int) -> dict[str, Cost]:
    client = await _administrator(cloud, 2)
    for server in cloud.backing:
        if isinstance(server, MariaDB):
            async with opened(server.url) as database:
                await database.run(fill, hosts - 2)
    headers = {"openstack-api-version": "placement 1.39"}

    async def ask(_: int) -> None:
        answer = (await client.http.get(f"/placement{CANDIDATES}", headers=headers)).raise_for_status()
        if len(answer.json()["allocation_requests"]) < min(hosts, 1_000):
            raise SystemExit("Kilonova: some hosts are no candidates")

    try:
        await closed_loop.run(ask, 3, 1, lambda: _used(cloud))
        return {"candidates x1": await closed_loop.run(ask, count, 1, lambda: _used(cloud))}
    finally:
        await client.http.aclose()


def decisions(hosts: int, count: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """The shipped nova-scheduler with claims in MariaDB, one request waiting at a time, then eight."""
    say(f"starting MariaDB for Kilonova's scheduler, {hosts} hosts")
    directory = Path(tempfile.mkdtemp(prefix="kn-bench-"))
    directory.chmod(0o755)
    server = MariaDB(directory / "mariadb")
    try:
        server.start()
        return {f"decisions x{at_once}": asyncio.run(_decisions(server, hosts, count, at_once)) for at_once in (1, 8)}
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def _decisions(server: MariaDB, hosts: int, count: int, at_once: int) -> Cost:
    async with opened(server.create_database(f"bench{at_once}")) as database:
        scheduler, asked = await waiting(database, hosts, count)

        async def decide(number: int) -> None:
            await scheduler.handle(delivery(asked[number]))

        def used() -> Used:
            return Used(time.process_time(), processor_time.of_servers([server]))

        found = await closed_loop.run(decide, count, at_once, used)
        if await claims_in(database) == 0:
            raise SystemExit("Kilonova: nothing was claimed")
        return found


async def _administrator(cloud: Cloud, hosts: int) -> Client:
    """A client, as soon as all hosts are there."""
    client = Client(cloud)
    await client.login()
    deadline = time.monotonic() + 180.0
    while True:
        found = (
            (await client.http.get("/placement/resource_providers")).raise_for_status().json()["resource_providers"]
        )
        if len(found) >= hosts:
            return client
        if time.monotonic() > deadline:
            raise SystemExit(f"Kilonova: {len(found)} of {hosts} hosts have come up within three minutes")
        await asyncio.sleep(0.5)


def _used(cloud: Cloud) -> Used:
    return Used(cloud.cpu(), processor_time.of_servers(cloud.backing))
