"""The whole control plane on virtual time: nova-api, nova-scheduler, nova-conductor and a nova-compute for each host, as shipped,
over the simulated bus and SQLite in memory. A workload comes through the Compute API's own handlers; nothing goes wrong here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from kilonova.api.compute import servers as server_calls
from kilonova.config import Config
from kilonova.database import checks, server_groups
from kilonova.database.flavors import insert_flavor
from kilonova.database.tables import actions, servers
from kilonova.database.tables import services as service_rows
from kilonova.hypervisor.fake.settings import REALISTIC_DELAYS, FakeSettings
from kilonova.model.clock import Ids, Random
from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import KilonovaError
from kilonova.model.flavor import Flavor
from kilonova.model.placement import GroupPolicy
from kilonova.network.settings import NetworkSettings
from kilonova.network.shared import bootstrap as bootstrap_networks
from kilonova.simulation import services
from kilonova.simulation.bus import Broker, SimulatedBus
from kilonova.simulation.database import Roads, SimulatedDatabase, Storage
from kilonova.simulation.fleet.hosts import ZONES, machine_of, name_of
from kilonova.simulation.fleet.workload import Wish
from kilonova.simulation.hypervisor import Machine, SimulatedDriver
from kilonova.simulation.images import IMAGE, Shelf, ShelfUploader
from kilonova.simulation.loop import EPOCH, Process, SimulatedClock, SimulatedLoop
from kilonova.simulation.trace import Trace
from kilonova.simulation.weather import Weather
from kilonova.web.call import Call
from kilonova.web.policy import Policy

_ROLES = frozenset({"member", "reader"})


class FullyPlayed(msgspec.Struct, kw_only=True):
    """How it went. ``seconds`` are processor time of everything, ``waits`` virtual seconds from POST to ACTIVE."""

    hosts: int
    asked: int
    active: int
    failed: int
    reasons: dict[str, int]
    refused: dict[str, int]
    waits: list[float]
    seconds: float
    virtual: float
    breaches: list[str]


def play_in_full(
    wishes: Iterable[Wish], hosts: int, seed: int, *, progress: Callable[[int], None] = lambda done: None
) -> FullyPlayed:
    """All of it, until nothing is under way any more."""
    loop = SimulatedLoop(Random(f"{seed} turns"), most_turns=None)
    cloud = _Cloud(loop, list(wishes), hosts, seed, progress)
    began = time.process_time()
    try:
        loop.run_until_complete(cloud.run())
    finally:
        loop.over = True
    return cloud.result(time.process_time() - began)


class _Cloud:
    def __init__(
        self, loop: SimulatedLoop, wishes: list[Wish], hosts: int, seed: int, progress: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._wishes = wishes
        self._hosts = hosts
        self._seed = seed
        self._progress = progress
        self._storage = Storage()
        self._trace = _Silence()
        self._weather = Weather(Random(f"{seed} weather"), 1.0)
        self._broker = Broker(loop, self._weather, self._trace, self._surprised)
        self._shelf = Shelf()
        self._clock = SimulatedClock(loop)
        self._services: list[services.Service] = []
        self._flavors = {size: str(number + 1) for number, size in enumerate({wish.size: None for wish in wishes})}
        self._refused: dict[str, int] = {}
        self._surprises: list[str] = []
        self._numbers = 0

    # --- the cloud -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        await self._storage.prepare(self._fill)
        self._api = await self._start("api", services.start_api)
        await self._start("conductor", services.start_conductor)
        await self._start("scheduler", services.start_scheduler)
        await asyncio.gather(*(self._begin_host(number) for number in range(self._hosts)))
        pending: list[asyncio.Task[None]] = []
        for done, wish in enumerate(self._wishes, start=1):
            await self._clock.sleep(max(0.0, wish.at - self._loop.time()))
            pending.append(self._loop.create_task(self._live(wish)))
            self._progress(done)
        while self._storage.look(_under_way) or not all(task.done() for task in pending):
            await self._clock.sleep(1.0)
        await asyncio.gather(*pending)

    def _fill(self, connection: Connection) -> None:
        for size, flavor_id in self._flavors.items():
            flavor = Flavor(
                id=flavor_id, name=size.name, vcpus=size.vcpus, memory_mb=size.memory_mb, disk_gb=size.disk_gb
            )
            insert_flavor(connection, flavor, EPOCH)
        bootstrap_networks(connection, NetworkSettings(cidr="10.0.0.0/8"), "p0", EPOCH)
        for group, project in {wish.group: wish.project for wish in self._wishes if wish.group}.items():
            server_groups.insert(
                connection,
                group_id=group,
                project_id=project,
                user_id=project,
                name=group,
                policy=GroupPolicy(group.split("/", 1)[0]),
                rules={},
                now=EPOCH,
                quota_defaults={"server_groups": -1},
            )

    async def _start(
        self, name: str, start: "Callable[[services.Surroundings], Any]", zone: str = "nova"
    ) -> services.Service:
        """In a process of its own, so that its messages and transactions take their time."""
        process = Process(name)
        around = self._around(name, process, zone)
        service: services.Service = await self._loop.create_task(start(around), context=process.context.copy())
        self._services.append(service)
        return service

    async def _begin_host(self, number: int) -> None:
        machine = machine_of(number, self._hosts)
        settings = FakeSettings(
            vcpus=machine.vcpus, memory_mb=machine.memory_mb, disk_gb=machine.disk_gb, delays=REALISTIC_DELAYS
        )
        below = Machine(name_of(number), settings, 0.2)

        def start(around: services.Surroundings) -> Any:
            uploader = ShelfUploader(self._shelf)
            clock = self._clock
            driver = SimulatedDriver(below, self._loop, clock, self._weather, self._trace, _nobody_minds, uploader)
            return services.start_compute(around, driver)

        await self._start(name_of(number), start, ZONES[number % len(ZONES)])

    def _around(self, name: str, process: Process, zone: str) -> services.Surroundings:
        source = Random(f"{self._seed} {name}")
        database = SimulatedDatabase(
            self._storage, Roads(), self._loop, process, self._clock, self._weather, self._trace
        )
        return services.Surroundings(
            name=name,
            config=_configuration(zone),
            database=database,
            bus=SimulatedBus(self._broker, process, self._clock),
            clock=self._clock,
            ids=Ids(source),
            random=source,
            shelf=self._shelf,
        )

    # --- the workload ----------------------------------------------------------------------------------------------

    async def _live(self, wish: Wish) -> None:
        self._numbers += 1
        name = f"server-{self._numbers}"
        body: dict[str, Any] = {
            "server": {"name": name, "imageRef": IMAGE, "flavorRef": self._flavors[wish.size], "networks": "auto"}
        }
        if wish.zone is not None:
            body["server"]["availability_zone"] = wish.zone
        if wish.group is not None:
            body["os:scheduler_hints"] = {"group": wish.group}
        server_id = await self._ask(server_calls.create, wish, body, {})
        if server_id is None or wish.lifetime == float("inf"):
            return
        await self._clock.sleep(wish.lifetime)
        await self._ask(server_calls.delete, wish, None, {"id": server_id})

    async def _ask(self, handler: Any, wish: Wish, body: Any, params: dict[str, str]) -> str | None:
        deployment = self._api.deployment
        assert deployment is not None
        caller = Caller(user_id=wish.project, project_id=wish.project, roles=_ROLES)
        call = Call(
            method="POST",
            path="/servers",
            headers={},
            base_url="http://cloud/compute",
            context=RequestContext(request_id=deployment.ids.request_id(), caller=caller),
            started_at=deployment.clock.now(),
        )
        call.version, call.policy, call.params, call.body = 100, Policy({}), params, body
        try:
            reply = await handler(deployment, call)
        except KilonovaError as error:
            self._refused[error.message] = self._refused.get(error.message, 0) + 1
            return None
        return str(reply.body["server"]["id"]) if body else None

    def _surprised(self, where: str, error: Exception) -> None:
        self._surprises.append(f"{where}: {error!r}")

    # --- what came of it ---------------------------------------------------------------------------------------------

    def result(self, seconds: float) -> FullyPlayed:
        """Read off the database."""
        return self._storage.look(lambda connection: self._result(connection, seconds))

    def _result(self, connection: Connection, seconds: float) -> FullyPlayed:
        launched = select(servers.c.created_at, servers.c.launched_at).where(servers.c.launched_at.is_not(None))
        waits = sorted((row.launched_at - row.created_at) / 1_000_000 for row in connection.execute(launched))
        faults = connection.execute(select(servers.c.fault).where(servers.c.vm_state == "error")).scalars()
        reasons: dict[str, int] = {}
        for fault in faults:
            reason = fault["message"] if fault else "no reason"
            reasons[reason] = reasons.get(reason, 0) + 1
        breaches = [
            f"{finding.kind}: {finding.message}" for finding in checks.check(connection, self._clock.now(), 0)
        ]
        return FullyPlayed(
            hosts=int(connection.execute(_COMPUTES).scalar_one()),
            asked=len(self._wishes),
            active=len(waits),
            failed=sum(reasons.values()) + sum(self._refused.values()),
            reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
            refused=self._refused,
            waits=waits,
            seconds=seconds,
            virtual=self._loop.time(),
            breaches=[*breaches, *self._surprises],
        )


_COMPUTES = select(func.count()).select_from(service_rows).where(service_rows.c.binary == "nova-compute")
_UNDER_WAY = select(func.count()).select_from(actions).where(actions.c.lease_until.is_not(None))


def _under_way(connection: Connection) -> int:
    return int(connection.execute(_UNDER_WAY).scalar_one())


def _nobody_minds(host: str, server_id: str, first: bool) -> None:
    """Guests run; that they run once is for the worlds of ``kilonova simulate`` to see."""


class _Silence(Trace):
    """Nothing is told: a hundred thousand servers would fill the memory with their stories."""

    def add(self, moment: float, who: str, what: str, about: object = "") -> None:
        """Forgotten."""


def _configuration(zone: str) -> Config:
    unlimited = {"instances": -1, "cores": -1, "ram": -1, "server_groups": -1, "server_group_members": -1}
    return Config.model_validate(
        {
            "state_dir": Path("nowhere"),
            "compute": {"host": "control", "availability_zone": zone, "reserved_memory_mb": 0},
            "quota": unlimited,
        }
    )
