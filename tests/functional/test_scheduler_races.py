"""Several nova-schedulers on one nearly full fleet, on every database system: what fits is placed, no more and no less."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from bench.pending import DISPATCH, ask, delivery
from bench.scheduler import Deaf
from sqlalchemy import select
from sqlalchemy.engine import Connection

from kilonova.config import MembershipConfig, SchedulerConfig
from kilonova.database import checks, ledger, topologies
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.metadata import metadata
from kilonova.database.tables import allocations, hosts, servers, services
from kilonova.messaging.contract import ScheduleServer
from kilonova.model.clock import Random, SystemClock, system_random
from kilonova.model.topology.machine import Cell, Device, Topology
from kilonova.model.topology.request import CellRequest, DeviceRequest, DeviceSpec, TopologyRequest
from kilonova.scheduler.service import Scheduler
from kilonova.simulation.fleet.hosts import fill, name_of
from kilonova.simulation.fleet.workload import Size, Wish
from tests.backing_fixtures import fresh_database

pytestmark = pytest.mark.distributed
SLOT = Size("slot", 1, 1024, 1, 1.0)


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def databases(url: str) -> AsyncIterator[list[Database]]:
    """A pool of connections for each scheduler."""
    opened = [open_database(DatabaseSettings(url=url), SystemClock(), system_random()) for _ in range(8)]
    await opened[0].run(metadata.create_all)
    yield opened
    for database in opened:
        await database.close()


def resize(connection: Connection, slots: int, names: Sequence[str] | None = None) -> None:
    """From now on each of the hosts has room for that many servers."""
    statement = hosts.update().values(vcpus_capacity=slots, memory_mb_capacity=slots * 1024)
    connection.execute(statement if names is None else statement.where(hosts.c.host.in_(names)))


def schedulers(databases: Sequence[Database]) -> list[Scheduler]:
    return [
        Scheduler(
            database,
            Deaf(),  # type: ignore[arg-type]  # only what a scheduler uses of a bus
            SystemClock(),
            Random(f"races {number}"),
            host=f"scheduler{number}",
            scheduler=SchedulerConfig(),
            membership=MembershipConfig(down_after=1e9),
            dispatch=DISPATCH / 1_000_000,
        )
        for number, database in enumerate(databases)
    ]


async def race(databases: Sequence[Database], requests: Sequence[ScheduleServer]) -> None:
    """The requests are dealt out in turn; all schedulers work at once."""
    racing = schedulers(databases)
    await asyncio.gather(
        *(racing[number % len(racing)].handle(delivery(request)) for number, request in enumerate(requests))
    )


def by_host(connection: Connection) -> Counter[str]:
    return Counter(connection.execute(select(allocations.c.host)).scalars())


def states(connection: Connection) -> Counter[str]:
    return Counter(connection.execute(select(servers.c.vm_state)).scalars())


def faults(connection: Connection) -> list[str]:
    found = connection.execute(select(servers.c.fault).where(servers.c.vm_state == "error")).scalars()
    return [fault["message"] for fault in found]


async def breaches(database: Database) -> list[str]:
    found = await database.run(checks.check, 0, 0)
    return [finding.kind for finding in found if finding.kind not in ("quota_usage", "ports_missing")]


def slots(count: int, **wish: str) -> list[Wish]:
    return [Wish(at=0.0, lifetime=1.0, size=SLOT, project="p", **wish) for _ in range(count)]


@pytest.mark.parametrize("racing", [2, 8])
async def test_a_nearly_full_fleet_takes_exactly_what_fits(databases: list[Database], racing: int) -> None:
    database = databases[0]
    await database.run(fill, 12)
    await database.run(resize, 5)
    requests = await database.run(ask, slots(80))
    await race(databases[:racing], requests)
    assert await database.run(by_host) == {name_of(number): 5 for number in range(12)}
    assert await database.run(states) == {"building": 60, "error": 20}
    assert all("CapacityFilter" in fault for fault in await database.run(faults))
    assert "capacity" not in " ".join(await breaches(database))


async def test_groups_that_keep_apart_do_so_whoever_places_them(databases: list[Database]) -> None:
    database = databases[0]
    await database.run(fill, 10)
    requests = await database.run(ask, slots(14, group="anti-affinity/apart"))
    await race(databases[:4], requests)
    assert set((await database.run(by_host)).values()) == {1}
    assert await database.run(states) == {"building": 10, "error": 4}
    assert all("ServerGroupAntiAffinityFilter" in fault for fault in await database.run(faults))


async def test_groups_that_stay_together_do_so_whoever_places_them(databases: list[Database]) -> None:
    database = databases[0]
    await database.run(fill, 10)
    requests = await database.run(ask, slots(16, group="affinity/together"))
    await race(databases[:4], requests)
    assert list((await database.run(by_host)).values()) == [16]


async def test_hosts_that_shrink_or_are_closed_meanwhile_get_nothing_more(databases: list[Database]) -> None:
    """The schedulers' look is older than an operator's word; the claim is not."""
    database = databases[0]
    await database.run(fill, 6)
    await database.run(resize, 4)
    first, second = await database.run(ask, slots(2)), await database.run(ask, slots(30), 2)
    racing = schedulers(databases[:3])
    await asyncio.gather(*(racing[number].handle(delivery(request)) for number, request in enumerate(first)))
    await database.run(resize, 0, [name_of(0)])
    closed = services.update().where(services.c.host == name_of(1)).values(disabled=True)
    await database.run(lambda connection: connection.execute(closed).rowcount)
    before = await database.run(by_host)
    await asyncio.gather(*(racing[number % 3].handle(delivery(request)) for number, request in enumerate(second)))
    after = await database.run(by_host)
    assert [after[name_of(number)] for number in (0, 1)] == [before[name_of(number)] for number in (0, 1)]
    assert [after[name_of(number)] for number in range(2, 6)] == [4] * 4


def with_cells(connection: Connection, requests: Sequence[ScheduleServer]) -> list[ScheduleServer]:
    """Every host has two cells of four dedicated processors and one device; the servers want two of the former or the latter."""
    cells = [Cell(id=at, shared=[], dedicated=[*range(4 * at, 4 * at + 4)], memory_mb=65_536) for at in (0, 1)]
    device = Device(address="0000:01:00.0", vendor_id="10de", product_id="1eb8")
    for host in connection.execute(select(hosts.c.host)).scalars().all():
        topologies.describe(connection, host, Topology(cells=cells, devices=[device]))
    pinned = TopologyRequest(cells=[CellRequest(dedicated=[0, 1], memory_mb=1024)])
    spec = DeviceSpec(vendor_id="10de", product_id="1eb8")
    devices = TopologyRequest(devices=[DeviceRequest(alias="gpu", count=1, specs=[spec])])
    return [
        msgspec.structs.replace(request, topology=pinned if number % 2 else devices)
        for number, request in enumerate(requests)
    ]


async def test_a_processor_and_a_device_have_one_server(databases: list[Database]) -> None:
    database = databases[0]
    await database.run(fill, 4)
    await database.run(resize, 64)
    requests = await database.run(with_cells, await database.run(ask, slots(60)))
    await race(databases[:4], requests)
    assert await database.run(by_host) == {name_of(number): 4 + 1 for number in range(4)}
    assert await database.run(states) == {"building": 20, "error": 40}
    faults_by_rule = Counter("Pci" in fault for fault in await database.run(faults))
    assert faults_by_rule == {True: 26, False: 14}
    assert not [kind for kind in await breaches(database) if kind.startswith("topology")]
    for server_id in await database.run(
        lambda connection: list(connection.execute(select(allocations.c.server_id)).scalars())
    ):
        await database.run(ledger.give_back, server_id)
    assert not [kind for kind in await breaches(database) if kind.startswith("topology")]
    assert await database.run(
        lambda connection: connection.execute(select(hosts.c.topology_used).distinct()).scalars().all()
    ) == [None]
