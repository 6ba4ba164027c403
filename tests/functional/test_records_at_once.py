"""Two who change one flavor, lock, aggregate or quota in the same moment, where the database does not serialise transactions."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kilonova.api.compute import flavor_extra_specs
from kilonova.database import aggregates, decisions, flavors, ledger, servers, user_quotas
from tests.functional import compute_rows
from tests.functional.compute_rows import server_id
from tests.interleaving import Still, Stop, still_world
from tests.simulation.world import Client

pytestmark = pytest.mark.distributed


@pytest.fixture(params=["mariadb", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Still]:
    """One host that is a row, and nothing that runs."""
    async with still_world(request, tmp_path) as world:
        await world.database.run(compute_rows.insert_host, 1, "host1")
        yield world


async def test_two_words_about_a_flavor_are_both_kept(world: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(world)
    add = functools.partial(client, "POST", "/flavors/1/os-extra_specs", token="admin", version="2.60")
    stop = Stop(monkeypatch, flavor_extra_specs, "update_flavor")
    await stop.overtaken(world.database, add({"extra_specs": {"hw:one": "1"}}), add({"extra_specs": {"hw:two": "2"}}))
    found = (await client("GET", "/flavors/1/os-extra_specs", token="admin")).json()["extra_specs"]
    assert found == {"hw:one": "1", "hw:two": "2"}


async def test_access_is_not_left_of_a_flavor_that_goes(world: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of flavors are chosen, so one may come back as another, private one."""
    client = Client(world)
    secret = {"name": "secret", "ram": 1, "vcpus": 1, "disk": 1, "id": "s", "os-flavor-access:is_public": False}
    assert (await client("POST", "/flavors", {"flavor": secret}, token="admin")).status_code == 200
    stop = Stop(monkeypatch, flavors, "add_access")
    answers = await stop.overtaken(
        world.database,
        client("POST", "/flavors/s/action", {"addTenantAccess": {"tenant": "p1"}}, token="admin"),
        client("DELETE", "/flavors/s", token="admin"),
    )
    assert [answer.status_code for answer in answers] == [200, 202]
    assert await world.database.run(flavors.list_access, "s") == []


async def test_an_owner_does_not_unlock_what_an_administrator_locks(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"project_id": "p1", "user_id": "u1", "locked": True, "locked_by": "owner"}
    await world.database.run(compute_rows.insert_server, "s1", **row)
    ask = functools.partial(Client(world), "POST", f"/servers/{server_id('s1')}/action")
    stop = Stop(monkeypatch, servers, "update")
    answers = await stop.overtaken(world.database, ask({"unlock": None}), ask({"lock": None}, token="admin"))
    assert [answer.status_code for answer in answers] == [202, 202]
    server = await world.database.run(servers.find, server_id("s1"))
    assert server is not None and (server.locked, server.locked_by) == (True, "admin")


async def test_a_host_does_not_come_into_two_zones(world: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    now = world.clock.now()
    for number in (1, 2):
        made = await world.database.run(
            aggregates.insert, uuid=f"00000000-0000-4000-8000-{number:012d}", name=f"a{number}", zone=None, now=now
        )
        await world.database.run(aggregates.add_host, made.id, "host1", now)
    first, second = [one.id for one in await world.database.run(aggregates.listing)]
    change = functools.partial(world.database.run, aggregates.change_metadata)
    stop = Stop(monkeypatch, aggregates, "_other_zones", behind=True)
    ended = await stop.overtaken(
        world.database,
        change(first, {"availability_zone": "east"}, now),
        change(second, {"availability_zone": "west"}, now),
    )
    assert ended[0] is None and "already in availability zone(s) ['east']" in str(ended[1])


async def test_a_limit_that_two_set_at_once_is_set(world: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(world)
    for path, owner in (("/os-quota-sets/p9", ledger), ("/os-quota-sets/p9?user_id=u9", user_quotas)):
        stop = Stop(monkeypatch, owner, "limits")  # asked for once they are written
        put = functools.partial(client, "PUT", path, token="admin")
        answers = await stop.overtaken(
            world.database, put({"quota_set": {"cores": 5}}), put({"quota_set": {"cores": 6}})
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        assert (await client("GET", path, token="admin")).json()["quota_set"]["cores"] == 6


def test_decisions_that_were_forgotten_since_are_not_looked_for() -> None:
    """Two conductors forget at once, and the other one was faster."""
    oldest = SimpleNamespace(first=lambda: SimpleNamespace(seq=1, decided_at=0))
    newest = SimpleNamespace(scalar=lambda: None)
    answers = iter((oldest, newest))
    connection: Any = SimpleNamespace(execute=lambda *asked: next(answers))
    assert decisions.purge(connection, before=1, keep=3, most=5) == 0
