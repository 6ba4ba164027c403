"""The engine on every database system: the same lives and races as in ``tests/simulation``, in real time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.database.flavors import seed_flavors
from kilonova.model.clock import SystemClock
from tests.simulation.world import IMAGE, Client, World, nothing_left

pytestmark = pytest.mark.distributed


@pytest.fixture(params=["mariadb", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Two fake hosts over a fresh database of that system."""
    server = request.getfixturevalue(f"{request.param}_server")
    name = f"world_{tmp_path.name.replace('-', '_')[-40:]}".lower()
    url = await asyncio.to_thread(server.create_database, name)
    world = World(tmp_path, clock=SystemClock(), database={"url": url})
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world
    await world.stop()
    await asyncio.to_thread(server.drop_database, name)


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
