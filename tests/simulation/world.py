"""A whole cloud in one process for tests: the shipped services on SQLite, the local bus and fake hosts."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from kilonova.api.compute.deployment import Deployment
from kilonova.api.table import compute_application
from kilonova.compute.agent import Agent
from kilonova.conductor.service import Conductor
from kilonova.config import Config
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.flavors import seed_flavors
from kilonova.database.schema import ensure_schema
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import FakeSettings
from kilonova.messaging.local import LocalBus
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import Clock, Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Unauthenticated
from kilonova.model.guest import GuestState, Nic
from kilonova.network.protocol import RequestedNic
from kilonova.scheduler.service import Scheduler
from kilonova.simulation.images import IMAGE as IMAGE
from kilonova.simulation.images import Shelf, ShelfImages, ShelfUploader
from kilonova.simulation.virtual_time import VirtualClock
from tests.functional.compute_api import record

MEMBER = Caller(user_id="u1", project_id="p1", roles=frozenset({"member", "reader"}))
OTHER = Caller(user_id="u2", project_id="p2", roles=frozenset({"member", "reader"}))
ADMIN = Caller(user_id="u0", project_id="p0", roles=frozenset({"admin", "manager", "member", "reader"}))


class CountingNetworks:
    """A network service that only remembers who holds a port, in no database."""

    binder = None

    def __init__(self) -> None:
        self.ports: dict[str, list[Nic]] = {}

    async def check(self, caller: Caller, requested: list[RequestedNic] | None) -> list[RequestedNic]:
        return requested or await self.default_networks(caller)

    async def default_networks(self, caller: Caller) -> list[RequestedNic]:
        return [RequestedNic(network_id="net")]

    async def find_groups(self, project_id: str, names: list[str]) -> list[tuple[str, str]]:
        return [(name, name) for name in names]

    async def allocate(self, server_id: str, project_id: str, host: str, requested: list[RequestedNic]) -> list[Nic]:
        nic = Nic(
            port_id=f"port-{server_id}",
            network_id="net",
            network_name="private",
            mac="fa:16:3e:00:00:01",
            address="10.0.0.5",
            cidr="10.0.0.0/24",
        )
        return self.ports.setdefault(server_id, [nic for _ in requested])

    async def release(self, server_id: str) -> None:
        self.ports.pop(server_id, None)


class World:
    """The services, started and stopped together."""

    def __init__(
        self,
        directory: Path,
        *,
        hosts: int = 2,
        clock: Clock | None = None,
        machine: FakeSettings | None = None,
        **overrides: object,
    ) -> None:
        self.config = Config.model_validate(
            {
                "state_dir": directory,
                **overrides,
            }
        )
        self.clock: Clock = clock or VirtualClock()
        self.random = random.Random(7)
        self.ids = Ids(self.random)
        self.database: Database = open_database(
            DatabaseSettings(url=self.config.database_url), self.clock, self.random
        )
        self.bus = LocalBus(self.clock, BusSettings())
        self.images = ShelfImages(Shelf())
        self.networks = self.make_networks()
        uploader = ShelfUploader(self.images.shelf)
        self.drivers = {
            f"host{n}": FakeDriver(self.clock, self.random, machine or FakeSettings(), None, uploader)
            for n in range(1, hosts + 1)
        }
        self.agents = {name: self.agent(name) for name in self.drivers}
        self.conductor = Conductor(
            self.config, self.database, self.bus, self.clock, self.ids, self.networks, self.images, host="control"
        )
        self.scheduler = Scheduler(
            self.database,
            self.bus,
            self.clock,
            self.random,
            host="control",
            scheduler=self.config.scheduler,
            membership=self.config.membership,
            dispatch=self.config.actions.dispatch,
        )

    def make_networks(self) -> Any:
        """What servers get their ports from."""
        return CountingNetworks()

    def agent(self, name: str) -> Agent:
        return Agent(
            self.drivers[name],
            self.bus,
            self.clock,
            self.ids,
            self.random,
            host=name,
            compute=self.config.compute,
            actions=self.config.actions,
            membership=self.config.membership,
            messaging=self.config.messaging,
        )

    async def start(self) -> None:
        await ensure_schema(self.database)
        await self.bus.start()
        await self.conductor.start()
        await self.scheduler.start()
        for agent in self.agents.values():
            await agent.start()

    async def stop(self) -> None:
        for agent in self.agents.values():
            await agent.drain(1.0)
        await self.scheduler.drain(1.0)
        await self.conductor.drain(1.0)
        await self.bus.close()
        await self.database.close()


@contextlib.asynccontextmanager
async def opened(directory: Path, **options: Any) -> AsyncIterator[tuple["World", "Client"]]:
    """A world that has started, with the flavors of a fresh cloud, and a client of it."""
    world = World(directory, **options)
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world, Client(world)
    await world.stop()


class Tokens:
    """Tokens by name."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers

    async def validate(self, token: str) -> Caller:
        caller = self._callers.get(token)
        if caller is None:
            raise Unauthenticated("The request you have made requires authentication.")
        return caller


CALLERS = {"member": MEMBER, "other": OTHER, "admin": ADMIN}


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
        answer = await self._http.request(method, f"/compute/v2.1{path}", json=body, headers=headers)
        record(method, f"/v2.1{path}", int(version.removeprefix("2.")), body, answer)
        return answer

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
        async with asyncio.timeout(120):
            while True:
                server = await self.show(server_id)
                if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
                    return server
                await asyncio.sleep(0.1)

    async def ended(self, server_id: str) -> dict[str, Any]:
        """The server once its build is over, well or not."""
        async with asyncio.timeout(120):
            while (server := await self.show(server_id))["status"] == "BUILD":
                await asyncio.sleep(0.1)
        return server

    async def until_gone(self, server_id: str) -> None:
        async with asyncio.timeout(120):
            while (await self("GET", f"/servers/{server_id}", token="admin")).status_code != 404:
                await asyncio.sleep(0.1)


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
    async with asyncio.timeout(60):
        while True:
            guest = await world.drivers[host].show_guest(server_id)
            if guest is not None and guest.state is GuestState.RUNNING:
                return
            await asyncio.sleep(0.1)
