"""Create, delete, start, stop and reboot through every sub-service, and what is left when things go wrong."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from kilonova.api.compute.deployment import Deployment
from kilonova.api.table import compute_application
from kilonova.database.flavors import seed_flavors
from kilonova.model.guest import GuestState
from tests.functional.world import CALLERS, IMAGE, Tokens, World


class Client:
    """The Compute API of a world."""

    def __init__(self, world: World) -> None:
        cloud = Deployment(
            config=world.config,
            database=world.database,
            bus=world.bus,
            images=world.images,
            networks=world.networks,
            clock=world.clock,
            ids=world.ids,
            random=world.random,
            host="control",
        )
        self.world = world
        transport = httpx.ASGITransport(compute_application(cloud, Tokens(CALLERS)), root_path="/compute")  # type: ignore[arg-type]
        self._http = httpx.AsyncClient(transport=transport, base_url="http://cloud")

    async def __call__(
        self, method: str, path: str, body: Any = None, *, token: str = "member", version: str = "2.100"
    ) -> httpx.Response:
        headers = {"x-auth-token": token, "openstack-api-version": f"compute {version}"}
        return await self._http.request(method, f"/compute/v2.1{path}", json=body, headers=headers)

    async def boot(self, name: str = "web", **more: Any) -> str:
        body = {"name": name, "imageRef": IMAGE, "flavorRef": "1", "networks": "auto", **more}
        answer = await self("POST", "/servers", {"server": body})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    async def show(self, server_id: str, token: str = "admin") -> dict[str, Any]:
        answer = await self("GET", f"/servers/{server_id}", token=token)
        assert answer.status_code == 200, answer.text
        server: dict[str, Any] = answer.json()["server"]
        return server

    async def until(self, server_id: str, status: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                server = await self.show(server_id)
                if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
                    return server
                await asyncio.sleep(0.01)

    async def until_gone(self, server_id: str) -> None:
        async with asyncio.timeout(20):
            while (await self("GET", f"/servers/{server_id}", token="admin")).status_code != 404:
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world
    await world.stop()


@pytest.fixture
async def client(world: World) -> Client:
    return Client(world)


async def nothing_left(world: World) -> None:
    """No allocation, no use of quota, no port, no guest, no open action."""

    def count(connection: Any) -> tuple[int, ...]:
        return tuple(
            connection.execute(text(query)).scalar() or 0
            for query in (
                "SELECT count(*) FROM allocations",
                "SELECT sum(in_use) FROM quota_usages",
                "SELECT sum(vcpus_used + memory_mb_used + disk_gb_used + servers_count) FROM hosts",
                "SELECT count(*) FROM actions WHERE lease_until IS NOT NULL",
                "SELECT count(*) FROM servers WHERE deleted_at IS NULL",
            )
        )

    assert await world.database.run(count) == (0, 0, 0, 0, 0)
    assert not world.networks.ports
    for driver in world.drivers.values():
        assert await driver.list_guests() == []


async def until_running(world: World, host: str, server_id: str) -> None:
    """ACTIVE is the database's word; the guest's first instruction comes after it."""
    async with asyncio.timeout(10):
        while True:
            guest = await world.drivers[host].show_guest(server_id)
            if guest is not None and guest.state is GuestState.RUNNING:
                return
            await asyncio.sleep(0.01)


async def test_a_server_lives_and_dies(world: World, client: Client) -> None:
    server_id = await client.boot()
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] in world.drivers
    assert server["addresses"]["private"][0]["addr"] == "10.0.0.5"
    await until_running(world, server["OS-EXT-SRV-ATTR:host"], server_id)
    for action, body, status in (
        ("os-stop", None, "SHUTOFF"),
        ("os-start", None, "ACTIVE"),
        ("reboot", {"type": "SOFT"}, "ACTIVE"),
        ("reboot", {"type": "HARD"}, "ACTIVE"),
    ):
        answer = await client("POST", f"/servers/{server_id}/action", {action: body})
        assert answer.status_code == 202, answer.text
        await client.until(server_id, status)
    console = await client("POST", f"/servers/{server_id}/action", {"os-getConsoleOutput": {"length": 5}})
    assert console.status_code == 200 and console.json()["output"]
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_servers_spread_over_the_hosts(world: World, client: Client) -> None:
    ids = [await client.boot(f"s{n}") for n in range(6)]
    hosts = [(await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] for server_id in ids]
    assert sorted(hosts) == ["host1"] * 3 + ["host2"] * 3


async def test_a_delete_preempts_a_build(world: World, client: Client) -> None:
    server_id = await client.boot()
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.gather(*(agent.drain(1.0) for agent in world.agents.values()))
    await nothing_left(world)
    world.agents.clear()
