"""What stands beside servers, on every database system: the same calls and races as on SQLite, in real time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import checks, console_tokens, server_migrations, server_passwords, servers
from kilonova.database.flavors import seed_flavors
from kilonova.model.clock import SystemClock
from kilonova.model.migration import MigrationStatus, MigrationType, Wish
from kilonova.scheduler.service import Scheduler
from tests.backing_fixtures import fresh_database
from tests.functional.compute_rows import stands_for
from tests.simulation.world import IMAGE, Client, World

pytestmark = pytest.mark.distributed
HOSTS = 4


@pytest.fixture(params=["mariadb", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Four fake hosts over a fresh database of that system."""
    async with fresh_database(request, tmp_path) as url:
        world = World(tmp_path, hosts=HOSTS, clock=SystemClock(), database={"url": url})
        await world.start()
        await world.database.run(seed_flavors, world.clock.now())
        yield world
        await world.stop()


@pytest.fixture
def client(world: World) -> Client:
    """The world's Compute API."""
    return Client(world)


async def ok(client: Client, call: str, body: Any = None, *, version: str = "2.100") -> Any:
    """The answer of a call that an administrator or the member may make."""
    method, path = call.split(" ", 1)
    answer = await client(method, path, body, token="admin", version=version)
    assert answer.is_success, f"{call}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def test_what_is_written_beside_a_server(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    one = f"/servers/{server_id}"
    writes = [ok(client, f"POST {one}/metadata", {"metadata": {f"k{number}": "ü"}}) for number in range(8)]
    tags = [ok(client, f"PUT {one}/tags/t{number}") for number in range(8)]
    await asyncio.gather(*writes, *tags)
    assert len((await ok(client, f"GET {one}/metadata"))["metadata"]) == 8
    assert len((await ok(client, f"GET {one}/tags"))["tags"]) == 8
    assert len((await ok(client, "GET /servers?all_tenants=1&tags=t1,t2"))["servers"]) == 1
    await ok(client, f"DELETE {one}/metadata/k1")
    await ok(client, f"DELETE {one}/tags")
    assert (await ok(client, f"GET {one}/ips"))["addresses"]["private"]
    assert (await ok(client, f"GET {one}/diagnostics"))["state"] == "running"

    def beside(connection: Connection) -> list[Any]:
        now = world.clock.now()
        token = stands_for(server_id, now + 1_000_000_000, host="one")
        console_tokens.insert(connection, "token", token, now)
        put = [server_passwords.put(connection, server_id, text) for text in ("first", "second")]
        return [console_tokens.find(connection, "token", now), *put, server_passwords.find(connection, server_id)]

    assert (await world.database.run(beside))[1:] == [True, False, "first"]
    assert (await ok(client, "GET /os-console-auth-tokens/token"))["console"]["host"] == "one"
    await ok(client, f"DELETE {one}")
    await client.until_gone(server_id)
    assert (await client("GET", "/os-console-auth-tokens/token", token="admin")).status_code == 404


async def test_moves(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")

    def write(connection: Connection) -> None:
        server = servers.get(connection, server_id, None)
        for number, status in enumerate((MigrationStatus.RUNNING, MigrationStatus.QUEUED)):
            server_migrations.insert(
                connection,
                uuid=f"30000000-0000-4000-8000-{number:012d}",
                action_id=f"a{number}",
                server=server,
                migration_type=MigrationType.LIVE,
                status=status,
                now=world.clock.now() + number,
            )
        servers.update(connection, server_id, task_state="migrating")

    await world.database.run(write)
    page = await ok(client, "GET /os-migrations?limit=1", version="2.80")
    marker = page["migrations"][0]["uuid"]
    rest = await ok(client, f"GET /os-migrations?marker={marker}&host=host1&changes-since=2020-01-01", version="2.80")
    assert page["migrations_links"] and len(rest["migrations"]) <= 1
    found = (await ok(client, f"GET /servers/{server_id}/migrations"))["migrations"]
    assert [one["status"] for one in found] == ["running", "queued"]
    await ok(client, f"DELETE /servers/{server_id}/migrations/{found[0]['id']}")

    def wishes(connection: Connection) -> list[str | None]:
        return [one.wish for one in server_migrations.live_in_progress(connection, server_id)]

    assert await world.database.run(wishes) == [Wish.ABORT, None]


async def test_several_schedulers_keep_a_groups_policy(world: World, client: Client) -> None:
    others = [
        Scheduler(
            world.database,
            world.bus,
            world.clock,
            world.random,
            host=f"control{number}",
            scheduler=world.config.scheduler,
            membership=world.config.membership,
            dispatch=world.config.actions.dispatch,
        )
        for number in range(3)
    ]
    for other in others:
        await other.start()
    body = {"server_group": {"name": "g", "policy": "anti-affinity"}}
    answer = await client("POST", "/os-server-groups", body)
    group = answer.json()["server_group"]["id"]
    server = {"name": "s", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto", "min_count": HOSTS}
    sent = {"server": server, "os:scheduler_hints": {"group": group}}
    assert (await client("POST", "/servers", sent)).status_code == 202
    members = (await ok(client, f"GET /os-server-groups/{group}"))["server_group"]["members"]
    hosts = [(await client.until(member, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] for member in members]
    assert Counter(hosts) == {f"host{number}": 1 for number in range(1, HOSTS + 1)}
    for other in others:
        await other.drain(1.0)
    assert (await ok(client, "GET /os-server-groups?all_projects=1"))["server_groups"]
    await ok(client, f"DELETE /os-server-groups/{group}")
    quota = (await client("GET", "/os-quota-sets/p1/detail?user_id=u1")).json()["quota_set"]
    assert (quota["instances"]["in_use"], quota["server_groups"]["in_use"]) == (HOSTS, 0)


async def test_aggregates_and_zones(world: World, client: Client) -> None:
    body = {"aggregate": {"name": "east", "availability_zone": "east"}}
    number = (await ok(client, "POST /os-aggregates", body))["aggregate"]["id"]
    assert (await client("POST", "/os-aggregates", body, token="admin")).status_code == 409
    added = await asyncio.gather(
        *(
            client("POST", f"/os-aggregates/{number}/action", {"add_host": {"host": "host1"}}, token="admin")
            for _ in range(4)
        )
    )
    assert Counter(answer.status_code for answer in added) == {200: 1, 409: 3}
    await ok(client, f"POST /os-aggregates/{number}/action", {"set_metadata": {"metadata": {"ssd": "true"}}})
    found = (await ok(client, "GET /os-aggregates"))["aggregates"]
    assert [(one["hosts"], one["metadata"]["ssd"]) for one in found] == [(["host1"], "true")]
    server_id = await client.boot(availability_zone="east")
    server = await client.until(server_id, "ACTIVE")
    assert (server["OS-EXT-SRV-ATTR:host"], server["OS-EXT-AZ:availability_zone"]) == ("host1", "east")
    removed = {"remove_host": {"host": "host1"}}
    refused = await client("POST", f"/os-aggregates/{number}/action", removed, token="admin")
    assert refused.status_code == 409
    assert (await ok(client, "GET /os-hosts/host1", version="2.42"))["host"]


async def test_users_have_limits_of_their_own(world: World, client: Client) -> None:
    quota = {"quota_set": {"instances": 2}}
    await ok(client, "PUT /os-quota-sets/p1?user_id=u1", quota, version="2.57")
    body = {"server": {"name": "s", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
    answers = await asyncio.gather(*(client("POST", "/servers", body) for _ in range(10)))
    assert Counter(answer.status_code for answer in answers) == {202: 2, 403: 8}
    await ok(client, "DELETE /os-quota-sets/p1?user_id=u1")
    for server in (await client("GET", "/servers")).json()["servers"]:
        await client.until(server["id"], "ACTIVE")
    grace = 60_000_000
    assert await world.database.run(checks.check, world.clock.now(), grace) == []
