"""What rules need of the ledger and of the look at the hosts, on every database system."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, checks, host_builds, host_inventories, ledger, membership, traits
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.host_columns import Reading, read
from kilonova.database.metadata import metadata
from kilonova.database.tables import actions
from kilonova.messaging.contract import Need
from kilonova.model.clock import SystemClock, system_random
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.inventory import Inventory
from kilonova.scheduler.fleet import Fleet
from tests.backing_fixtures import fresh_database
from tests.functional.compute_api import NOW
from tests.functional.compute_rows import insert_action, insert_host, insert_server, server_id

pytestmark = pytest.mark.distributed
LICENSE = "CUSTOM_LICENSE"
ON_DEMAND = ("io_ops", "failed_builds", "metrics", "images")


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with fresh_database(request, tmp_path) as url:
        opened = open_database(DatabaseSettings(url=url), SystemClock(), system_random())
        await opened.run(metadata.create_all)
        await opened.run(_world)
        yield opened
        await opened.close()


def _world(connection: Connection) -> None:
    for number, host in enumerate(("one", "two"), start=1):
        insert_host(connection, number, host, vcpus_ratio=4.0)
        host_inventories.put(connection, host, LICENSE, Inventory(total=3, capacity=3, max_unit=2), NOW)
    for number in range(1, 13):
        image = {"name": "x", "properties": {"os_distro": "debian"}}
        insert_server(
            connection, f"s{number}", vm_state="building", image_id="i1" if number % 2 else None, image=image
        )
        insert_action(connection, number, f"s{number}", "create", NOW)


def _claim(connection: Connection, number: int, host: str, custom: dict[str, int]) -> bool:
    with connection.begin_nested() as taken:
        need = Need(vcpus=1, memory_mb=1, disk_gb=0, custom=custom)
        values = {"server_id": server_id(f"s{number}"), "project_id": "p-one", "host": host, "need": need, "now": NOW}
        done = ledger.claim(connection, **values)  # type: ignore[arg-type]
        if not done:
            taken.rollback()
    return done


def _look(connection: Connection) -> Reading:
    return read(connection, now=NOW, since=0, beyond=0, heard_since=NOW - 1, aggregates_mark=(), on_demand=ON_DEMAND)


async def test_the_last_of_a_custom_resource_goes_to_one(database: Database) -> None:
    claims = [database.run(_claim, number, "one", {LICENSE: 1}) for number in range(1, 9)]
    assert sorted(await asyncio.gather(*claims)) == [False] * 5 + [True] * 3
    assert not await database.run(_claim, 9, "two", {LICENSE: 3})  # more than a portion
    assert not await database.run(_claim, 9, "two", {"CUSTOM_NOTHING": 1})
    assert await database.run(_claim, 9, "two", {LICENSE: 2})
    reading = await database.run(_look)
    assert {host: held[LICENSE].used for host, held in reading.custom.items()} == {"one": 3, "two": 2}
    assert [row[1] for row in reading.usage] == [3, 1]
    for number in range(1, 10):
        await database.run(ledger.give_back, server_id(f"s{number}"))
    reading = await database.run(_look)
    assert {host: held[LICENSE].used for host, held in reading.custom.items()} == {"one": 0, "two": 0}
    found = await database.run(checks.check, NOW, 0)
    assert not [finding for finding in found if finding.kind in ("host_usage", "custom_usage")]


async def test_a_batch_claims_all_or_nothing(database: Database) -> None:
    def together(connection: Connection, amounts: list[int]) -> bool:
        need = Need(vcpus=1, memory_mb=1, disk_gb=0)
        claims = [
            (server_id(f"s{at}"), "p-one", "one", msgspec.structs.replace(need, custom={LICENSE: amount}))
            for at, amount in enumerate(amounts, start=1)
        ]
        with connection.begin_nested() as taken:
            done = ledger.claim_all(connection, claims, NOW)
            if not done:
                taken.rollback()
        return done

    assert not await database.run(together, [2, 2])
    assert await database.run(together, [2, 1])
    assert (await database.run(_look)).custom["one"][LICENSE].used == 3


async def test_what_is_read_on_demand(database: Database) -> None:
    def settle(connection: Connection) -> None:
        for number in (1, 2, 3):
            assert _claim(connection, number, "one" if number < 3 else "two", {})
            connection.execute(actions.update().where(actions.c.id == f"a{number}").values(lease_until=NOW))
        connection.execute(sa.text("UPDATE servers SET host = 'one' WHERE id IN (:a, :b)"), _ids("s1", "s3"))
        host_builds.failed(connection, "two")
        host_builds.failed(connection, "two")
        host_builds.failed(connection, "one")
        host_builds.succeeded(connection, "one")
        traits.give(connection, "one", ["CUSTOM_GOLD"])
        beat = {"binary": "nova-compute", "host": "one", "zone": "nova", "incarnation": "i", "uuid": "u"}
        membership.heartbeat(connection, **beat, now=NOW, metrics={"cpu.percent": 0.25})
        membership.heartbeat(connection, **beat, now=NOW, metrics={"cpu.percent": 0.5})

    await database.run(settle)
    reading = await database.run(_look)
    assert reading.on_demand == {"io_ops": {"one": 2, "two": 1}, "failed_builds": {"two": 2}}
    assert reading.metrics == {"one": {"cpu.percent": 0.5}}
    assert reading.images == {"one": {"i1": 2}}
    assert reading.image_properties == {"i1": {"os_distro": "debian"}}
    assert reading.traits == {"one": ["CUSTOM_GOLD"]}
    fleet = Fleet()
    assert fleet.apply(reading)
    assert "CUSTOM_GOLD" in fleet.view.traits(0) and "CUSTOM_GOLD" not in fleet.view.traits(1)
    assert fleet.view.columns.io_ops.tolist() == [2, 1]


def _ids(*short: str) -> dict[str, str]:
    return dict(zip("ab", map(server_id, short), strict=True))


async def test_ratios_of_aggregates(database: Database) -> None:
    def capacity(connection: Connection) -> int:
        host = membership.find_host(connection, "one")
        assert host is not None
        return host.vcpus_capacity

    before = await database.run(capacity)
    made = await database.run(aggregates.insert, uuid="u1", name="half", zone=None, now=NOW)
    await database.run(aggregates.change_metadata, made.id, {"cpu_allocation_ratio": "0.5"}, NOW)
    await database.run(aggregates.add_host, made.id, "one", NOW)
    half = await database.run(capacity)
    assert 0 < half < before
    assert await database.run(_claim, 1, "one", {})
    with pytest.raises(Invalid, match="are claimed"):
        await database.run(aggregates.change_metadata, made.id, {"cpu_allocation_ratio": "0.01"}, NOW)
    assert await database.run(capacity) == half
    none = await database.run(aggregates.insert, uuid="u2", name="none", zone=None, now=NOW)
    await database.run(aggregates.change_metadata, none.id, {"cpu_allocation_ratio": "0.01"}, NOW)
    with pytest.raises(Conflict, match="are claimed"):
        await database.run(aggregates.add_host, none.id, "one", NOW)
    await database.run(aggregates.remove_host, made.id, "one", NOW)
    assert await database.run(capacity) == before
