"""The engine on every database system: the same lives and races as in ``tests/simulation``, in real time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.database import checks, decisions, servers
from kilonova.database.decisions import DecisionListing
from kilonova.database.flavors import seed_flavors
from kilonova.model.clock import SystemClock
from tests.backing_fixtures import fresh_database
from tests.simulation.world import IMAGE, Client, World, nothing_left

pytestmark = pytest.mark.distributed


@pytest.fixture
def options() -> dict[str, object]:
    """Sections of the configuration; a test that wants others is parametrized with them."""
    return {}


@pytest.fixture(params=["mariadb", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path, options: dict[str, object]) -> AsyncIterator[World]:
    """Two fake hosts over a fresh database of that system."""
    async with fresh_database(request, tmp_path) as url:
        world = World(tmp_path, clock=SystemClock(), database={"url": url}, **options)
        await world.start()
        await world.database.run(seed_flavors, world.clock.now())
        yield world
        await world.stop()


@pytest.fixture
def client(world: World) -> Client:
    """The world's Compute API."""
    return Client(world)


async def test_servers_are_found_by_a_part_of_their_addresses(world: World, client: Client) -> None:
    server_id = await client.boot()
    shown = await client.until(server_id, "ACTIVE")
    address = next(iter(shown["addresses"].values()))[0]["addr"]
    for pattern, found in ((address[:-1], 1), (f"^{address}$", 1), (f"^{address[1:]}", 0)):
        page = (await client("GET", f"/servers?ip={pattern}")).json()
        assert len(page["servers"]) == found, pattern


async def test_decisions_are_kept_in_order_and_forgotten(world: World, client: Client) -> None:
    ids = await asyncio.gather(*(client.boot(f"s{number}") for number in range(5)))
    for server_id in ids:
        await client.until(server_id, "ACTIVE")
    huge = await client.boot("huge", availability_zone="nova", flavorRef="5")
    kept = await world.database.run(decisions.listing, DecisionListing(limit=1000))
    assert [one.seq for one in kept] == sorted((one.seq for one in kept), reverse=True)
    assert {one.server_id for one in kept if one.outcome == "placed"} >= set(ids)
    assert all(one.details["ranking"] for one in kept if one.outcome == "placed")
    await _ended(client, huge)
    newest = (await world.database.run(decisions.listing, DecisionListing(limit=1)))[0]
    keep = {"before": 0, "keep": 3, "most": 1000}
    await asyncio.gather(*(world.database.run(decisions.purge, **keep) for _ in range(2)))  # two conductors at once
    left = await world.database.run(decisions.listing, DecisionListing(limit=1000))
    assert left[0].seq >= newest.seq and min(one.seq for one in left) > newest.seq - 3


async def _ended(client: Client, server_id: str) -> None:
    async with asyncio.timeout(60):
        while (await client.show(server_id))["status"] == "BUILD":
            await asyncio.sleep(0.1)


async def test_servers_live_and_die(world: World, client: Client) -> None:
    ids = await asyncio.gather(*(client.boot(f"s{number}") for number in range(8)))
    for server_id in ids:
        await client.until(server_id, "ACTIVE")
    for action, status in (("os-stop", "SHUTOFF"), ("os-start", "ACTIVE")):
        for server_id in ids:
            assert (await client("POST", f"/servers/{server_id}/action", {action: None})).status_code == 202
        for server_id in ids:
            await client.until(server_id, status)
    page = (await client("GET", "/servers?limit=3&sort_key=display_name&sort_dir=asc")).json()
    assert [server["name"] for server in page["servers"]] == ["s0", "s1", "s2"] and page["servers_links"]
    marker = page["servers"][-1]["id"]
    rest = (await client("GET", f"/servers?marker={marker}&sort_key=display_name&sort_dir=asc")).json()["servers"]
    assert [server["name"] for server in rest] == ["s3", "s4", "s5", "s6", "s7"]
    await asyncio.gather(*(client("DELETE", f"/servers/{server_id}") for server_id in ids))
    for server_id in ids:
        await client.until_gone(server_id)
    await nothing_left(world)


async def test_fifty_at_once_against_a_quota_of_ten(world: World, client: Client) -> None:
    body = {"server": {"name": "s", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
    answers = await asyncio.gather(*(client("POST", "/servers", body) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {202: 10, 403: 40}


async def test_deletes_race_with_builds(world: World, client: Client) -> None:
    ids = await asyncio.gather(*(client.boot(f"s{number}") for number in range(8)))
    answers = await asyncio.gather(
        *(client("DELETE", f"/servers/{server_id}") for server_id in ids for _ in range(2))
    )
    assert {answer.status_code for answer in answers} <= {204, 404}
    for server_id in ids:
        await client.until_gone(server_id)
    await nothing_left(world)


async def test_servers_move(world: World, client: Client) -> None:
    server_id = await client.boot()
    hosts = {(await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]}
    for action, value, status in (
        ("resize", {"flavorRef": "2"}, "VERIFY_RESIZE"),
        ("confirmResize", None, "ACTIVE"),
        ("resize", {"flavorRef": "1"}, "VERIFY_RESIZE"),
        ("revertResize", None, "ACTIVE"),
        ("migrate", None, "VERIFY_RESIZE"),
        ("confirmResize", None, "ACTIVE"),
        ("os-migrateLive", {"host": None, "block_migration": "auto"}, "ACTIVE"),
        ("shelve", None, "SHELVED_OFFLOADED"),
        ("unshelve", None, "ACTIVE"),
    ):
        answer = await client("POST", f"/servers/{server_id}/action", {action: value}, token="admin")
        assert answer.status_code in (202, 204), (action, answer.text)
        hosts.add((await client.until(server_id, status))["OS-EXT-SRV-ATTR:host"])
        assert await world.database.run(checks.check, world.clock.now(), 0) == [], action
    assert len(hosts - {None}) == 2
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_servers_go_through_their_states(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    for action, value, status in (
        ("pause", None, "PAUSED"),
        ("unpause", None, "ACTIVE"),
        ("suspend", None, "SUSPENDED"),
        ("resume", None, "ACTIVE"),
        ("lock", {"locked_reason": "é\u2028"}, "ACTIVE"),
        ("unlock", None, "ACTIVE"),
        ("rescue", None, "RESCUE"),
        ("unrescue", None, "ACTIVE"),
        ("rebuild", {"imageRef": IMAGE, "name": "ñ"}, "ACTIVE"),
        ("createImage", {"name": "image"}, "ACTIVE"),
        ("createBackup", {"name": "b", "backup_type": "daily", "rotation": 1}, "ACTIVE"),
        ("os-resetState", {"state": "error"}, "ERROR"),
        ("rebuild", {"imageRef": IMAGE}, "ACTIVE"),
    ):
        answer = await client("POST", f"/servers/{server_id}/action", {action: value}, token="admin")
        assert answer.status_code in (200, 202), (action, answer.text)
        await client.until(server_id, status)
    assert await world.database.run(checks.check, world.clock.now(), 0) == []
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


@pytest.mark.parametrize("options", [{"actions": {"reclaim_instance_interval": 3600.0}}])
async def test_a_deleted_server_is_restored_and_reclaimed(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until(server_id, "SOFT_DELETED")
    assert (await client("GET", "/servers")).json()["servers"] == []
    assert len((await client("GET", "/servers?status=soft_deleted")).json()["servers"]) == 1
    found = await world.database.run(servers.reclaimable, world.clock.now() + 1, 10)
    assert [server.id for server in found] == [server_id]
    answer = await client("POST", f"/servers/{server_id}/action", {"restore": None})
    assert answer.status_code == 202
    await client.until(server_id, "ACTIVE")
    assert await world.database.run(servers.reclaimable, world.clock.now() + 1, 10) == []
    answer = await client("POST", f"/servers/{server_id}/action", {"forceDelete": None})
    assert answer.status_code == 202
    await client.until_gone(server_id)
    await nothing_left(world)
