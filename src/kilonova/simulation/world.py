"""One world: a seed's schedule, carried out on the shipped services until all is quiet again."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.database import membership
from kilonova.database.tables import actions
from kilonova.database.tables import servers as servers_table
from kilonova.database.tables import services as services_table
from kilonova.model.clock import Ids, Random
from kilonova.model.errors import KilonovaError
from kilonova.model.finding import Finding
from kilonova.model.guest import GuestState
from kilonova.simulation import checker, services
from kilonova.simulation.bus import Broker, SimulatedBus
from kilonova.simulation.clients import Clients, ConnectionLost
from kilonova.simulation.database import Roads, SimulatedDatabase, Storage
from kilonova.simulation.hypervisor import Machine, SimulatedDriver
from kilonova.simulation.images import Shelf, ShelfUploader
from kilonova.simulation.loop import Process, SimulatedClock, SimulatedLoop
from kilonova.simulation.schedule import APIS, FAULTS_UNTIL, HOSTS, PROCESSES, Fault, Operation, Schedule
from kilonova.simulation.trace import Trace
from kilonova.simulation.weather import Weather
from kilonova.web.call import Reply

QUIET_WITHIN = (30.0, 5.0)
"""Seconds after the last fault, and the last answer, by which every accepted request must have ended without a trace: so many,
and so many times the longest that a host takes for something."""

_SETTLED = 9.0  # a little more than one round of reconcile, where there are any: what is well must stay well
_LAUNCHED = select(servers_table.c.launched_at, servers_table.c.host).where(
    servers_table.c.id == bindparam("of_server")
)
_TO_COME = (
    select(func.count()).select_from(actions).where(actions.c.lease_until.is_not(None)),
    select(func.count()).select_from(servers_table).where(servers_table.c.soft_deleted_at.is_not(None)),
)


class World:
    """Processes, machines, roads and clients of one seed."""

    def __init__(self, schedule: Schedule, storage: Storage, loop: SimulatedLoop) -> None:
        self.schedule = schedule
        self.trace = Trace()
        self.findings: list[Finding] = []
        self._loop = loop
        self._storage = storage
        self._source = Random(f"{schedule.seed} world")
        self._weather = Weather(Random(f"{schedule.seed} weather"), schedule.distance)
        self._broker = Broker(loop, self._weather, self.trace, self._surprised)
        self._roads = Roads()
        in_place = schedule.seed % 3 == 0
        dedicated = services.DEDICATED if schedule.topology else None
        self._config = services.configuration(
            schedule.quota,
            schedule.reclaim,
            in_place=in_place,
            dedicated=dedicated,
            reconcile=schedule.reconcile,
        )
        self._patience = QUIET_WITHIN[0] + QUIET_WITHIN[1] * schedule.pace
        slots = schedule.slots_of_host
        self.machines = {
            host: Machine(host, services.machine(host, slots, topology=schedule.topology), schedule.pace)
            for host in HOSTS
        }
        self.shelf = Shelf()
        self._processes: dict[str, Process] = {}
        self._lives: dict[str, int] = {}
        self._jumps: dict[str, float] = {}
        self._services: dict[str, services.Service] = {}
        self._drivers: dict[str, SimulatedDriver] = {}
        self._clocks: dict[str, SimulatedClock] = {}
        self._back_after: dict[str, float] = {}
        self._graveyard: list[object] = []
        self._requests: dict[str, set[asyncio.Future[Reply]]] = {name: set() for name in APIS}
        self._first_instructions: dict[tuple[str, int], str] = {}  # by server and the epoch it was prepared under
        self._clock = SimulatedClock(loop)
        self.clients = Clients(
            self._send, self._look, self._client_note, loop.time, self._clock.sleep, self._powerless
        )

    # --- the story ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """All of it; what is wrong afterwards stands in ``findings``."""
        await self._storage.prepare(services.fill)
        for name in PROCESSES:
            self._begin(name)
        for fault in self.schedule.faults:
            self._loop.later(fault.at + 1.0, self._strike, fault)
        requests = [self._loop.create_task(self._at(operation)) for operation in self.schedule.operations]
        await self._clock.sleep(1.0 + self._last_moment())
        self._heal()
        asked_until = self._loop.time()
        well_since: float | None = None
        while not self.findings:
            await self._clock.sleep(1.0)
            now = self._loop.time()
            answered = all(request.done() for request in requests)
            asked_until = asked_until if answered else now
            quiet = answered and self._is_quiet()
            if now > asked_until + self._patience:
                self.findings.extend(self._check() if quiet else [*self._check(), _endless()])
                break
            if not quiet:
                well_since = None
            elif well_since is None:
                well_since = None if self._check() else now
            elif now - well_since >= _SETTLED:
                if not self._check():
                    break
                well_since = None
        self._after_all(requests)

    async def _at(self, operation: Operation) -> None:
        await self._clock.sleep(1.0 + operation.at)
        await self.clients.perform(operation)

    def _last_moment(self) -> float:
        faults = [min(fault.at + fault.lasts, FAULTS_UNTIL) for fault in self.schedule.faults]
        return max([operation.at for operation in self.schedule.operations] + faults, default=0.0)

    def _is_quiet(self) -> bool:
        if not self._broker.idle or len(self._services) < len(PROCESSES):
            return False
        return not self._storage.look(_to_come)

    def _check(self) -> list[Finding]:
        seen = checker.Seen(
            machines=self.machines,
            promises=self.clients.promises,
            unheard=self.clients.unheard,
            images=self.shelf.images,
        )
        return self._storage.look(lambda connection: checker.check(connection, seen, self._clock.now()))

    def _after_all(self, requests: list[asyncio.Task[None]]) -> None:
        for name, service in self._services.items():
            for ended in service.pulse():
                self._find("task_died", name, f"its task {ended!r} has ended by itself")
        for request in requests:
            if request.done() and (error := request.exception()) is not None:
                raise error
        for what, surprise in self.clients.surprises:
            self._find("api_surprise", what, repr(surprise))

    # --- processes ---------------------------------------------------------------------------------------------

    def _begin(self, name: str) -> None:
        """A new life of a process."""
        process = Process(name, skew=self.schedule.skews.get(name, 0.0))
        process.on_death = self._died
        self._lives[name] = self._lives.get(name, 0) + 1
        self._processes[name] = process
        self._note(name, "starts")
        self._graveyard.append(self._loop.create_task(self._live(process), context=process.context.copy()))

    async def _live(self, process: Process) -> None:
        name = process.name
        clock = self._clocks[name] = SimulatedClock(self._loop, process.skew + self._jumps.get(name, 0.0))
        source = Random(f"{self.schedule.seed} {name} {self._lives[name]}")
        database = SimulatedDatabase(
            self._storage, self._roads, self._loop, process, clock, self._weather, self.trace
        )
        around = services.Surroundings(
            name=name,
            config=self._config,
            database=database,
            bus=SimulatedBus(self._broker, process, clock),
            clock=clock,
            ids=Ids(source),
            random=source,
            shelf=self.shelf,
        )
        try:
            self._services[name] = await self._start(around, clock)
        except KilonovaError as error:
            self._note(name, "does not start", error.message)
            self._back_after[name] = 0.5 + self._source.random()
            process.kill()

    async def _start(self, around: services.Surroundings, clock: SimulatedClock) -> services.Service:
        if around.name in self.machines:
            machine = self.machines[around.name]
            machine.powered = True
            driver = SimulatedDriver(
                machine, self._loop, clock, self._weather, self.trace, self._ran, ShelfUploader(self.shelf)
            )
            self._drivers[around.name] = driver
            return await services.start_compute(around, driver)
        if around.name.startswith("conductor"):
            return await services.start_conductor(around)
        if around.name.startswith("scheduler"):
            return await services.start_scheduler(around)
        return await services.start_api(around)

    def _died(self, process: Process) -> None:
        name = process.name
        self._note(name, "dies")
        self._graveyard.append(self._services.pop(name, None))
        self._drivers.pop(name, None)
        self._broker.forget(process)
        for request in list(self._requests.get(name, ())):
            if not request.done():
                request.set_exception(ConnectionLost())
        self._loop.later(self._back_after.pop(name, 0.5), self._begin, name)

    # --- misfortunes -------------------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        self._note("fate", fault.kind, (fault.target, *sorted(fault.chances), *fault.verbs))
        process = self._processes.get(fault.target)
        match fault.kind:
            case "kill":
                if process is not None and process.alive:
                    self._back_after[fault.target] = fault.lasts
                    process.meets(fault.turns, process.kill)
                return
            case "restart":
                service = self._services.get(fault.target)
                if process is not None and service is not None:
                    self._back_after[fault.target] = fault.lasts
                    self._loop.create_task(self._stop(process, service), context=process.context.copy())
                return
            case "guest":
                self._end_guest(self.machines[fault.target])
                return
            case "jump":
                self._jumps[fault.target] = self._jumps.get(fault.target, 0.0) + fault.turns / 10
                if fault.target in self._clocks:
                    self._clocks[fault.target].jump(fault.turns / 10)
                return
            case "frozen":
                if process is not None and process.alive:
                    process.meets(fault.turns, process.freeze)
                    self._loop.later(fault.lasts, self._thaw, process)
                return
            case "stuck":
                self.machines[fault.target].free.clear()
            case "blind":
                self._roads.cut.add(fault.target)
            case "forced":
                self._force(fault.target, down=True)
            case "machine":
                self.machines[fault.target].lose_power()
                if process is not None and process.alive:
                    self._back_after[fault.target] = fault.lasts
                    process.kill()
                return
            case "broker" | "amnesia":
                self._broker.up = False
            case "database":
                self._roads.up = False
            case "partition":
                self._broker.cut.add(fault.target)
            case "sick":
                self.machines[fault.target].sick = set(fault.verbs)
            case "slow":
                self.machines[fault.target].slow = float(fault.turns)
            case "weather":
                self._weather.begin(fault.chances)
        self._loop.later(fault.lasts, self._relent, fault)

    def _relent(self, fault: Fault) -> None:
        self._note("fate", f"{fault.kind} ends", fault.target)
        match fault.kind:
            case "broker" | "amnesia":
                if fault.kind == "amnesia":
                    self._broker.forget_all()
                self._broker.up = True
                self._broker.recover()
            case "database":
                self._roads.up = True
            case "partition":
                self._broker.cut.discard(fault.target)
                self._broker.recover()
            case "sick":
                self.machines[fault.target].sick = set()
            case "slow":
                self.machines[fault.target].slow = 0.0
            case "stuck":
                self.machines[fault.target].free.set()
            case "blind":
                self._roads.cut.discard(fault.target)
            case "forced":
                self._force(fault.target, down=False)
            case "weather":
                self._weather.end(fault.chances)

    def _thaw(self, process: Process) -> None:
        self._note("fate", "frozen ends", process.name)
        if process.frozen:
            self._loop.thaw(process)
        else:
            process.spare(process.freeze)  # it had too little to do to be caught

    def _force(self, host: str, *, down: bool) -> None:
        """An operator's word, which no outage of ours keeps from the database."""

        def say(connection: Connection) -> None:
            connection.execute(services_table.update().where(services_table.c.host == host).values(forced_down=down))
            if not down:
                membership.compare_soon(connection, host)

        self._storage.look(say)

    def _heal(self) -> None:
        """From now on all goes well; those that are dead come back as they were going to."""
        self._note("fate", "all is well")
        for process in self._processes.values():
            process.spare()

    async def _stop(self, process: Process, service: services.Service) -> None:
        try:
            await service.drain()
        except KilonovaError as error:
            self._note(process.name, "drains badly", error.message)
        process.kill()

    def _end_guest(self, machine: Machine) -> None:
        running = sorted(machine.running())
        if not running:
            return
        server_id = running[int(self._source.random() * len(running))]
        driver = self._drivers.get(machine.host)
        if driver is not None and machine.host in self._services:
            driver.end_guest(server_id, GuestState.OFF)
        else:
            machine.guests[server_id].state = GuestState.OFF
        self._note(machine.host, "guest off", server_id[:8])

    def _powerless(self) -> list[str]:
        return [host for host, machine in self.machines.items() if not machine.powered]

    # --- what is watched ---------------------------------------------------------------------------------------

    def _ran(self, host: str, server_id: str, first: bool) -> None:
        """A guest boots: nowhere else may it run, and its first instruction comes once in its life, after the commit."""
        for machine in self.machines.values():
            if machine.host != host and server_id in machine.running():
                self._find("runs_twice", server_id, f"it runs on {machine.host} and was let run on {host}")
        guest = (server_id, self.machines[host].guests[server_id].spec.epoch)
        if first and (earlier := self._first_instructions.get(guest)) is not None:
            self._find(
                "ran_before", server_id, f"its first instruction was executed on {earlier}, and again on {host}"
            )
        if first:
            self._first_instructions[guest] = host
        row = self._storage.look(lambda connection: connection.execute(_LAUNCHED, {"of_server": server_id}).first())
        if row is None or row.launched_at is None or row.host not in (host, None):
            self._find("unconfirmed", server_id, f"it runs on {host} before the database has confirmed it")

    def _surprised(self, where: str, error: Exception) -> None:
        self._find("surprise", where, f"{type(error).__name__}: {error}")

    def _find(self, kind: str, subject: str, message: str) -> None:
        self._note("checker", kind, (subject, message))
        self.findings.append(Finding(kind=kind, subject=subject, message=message))

    def _note(self, who: str, what: str, about: object = "") -> None:
        self.trace.add(self._loop.time(), who, what, about)

    # --- the road of the clients -------------------------------------------------------------------------------

    def _client_note(self, what: str, about: object) -> None:
        self._note("client", what, about)

    async def _send(self, run: Callable[[Deployment], Awaitable[Reply]]) -> Reply:
        name = APIS[int(self._source.random() * len(APIS))]
        process, service = self._processes.get(name), self._services.get(name)
        await self._clock.sleep(self._weather.latency())
        if process is None or not process.alive or service is None or service.deployment is None:
            raise ConnectionLost()
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._requests[name].add(answer)
        task = self._loop.create_task(_answered(run(service.deployment), answer), context=process.context.copy())
        self._graveyard.append(task)
        try:
            async with asyncio.timeout(60.0):
                return await answer
        finally:
            self._requests[name].discard(answer)

    async def _look(self, question: Callable[[Connection], list[str]]) -> list[str]:
        return self._storage.look(question)


def _to_come(connection: Connection) -> int:
    """Open actions, and soft-deleted servers that are to be reclaimed."""
    return sum(int(connection.execute(query).scalar() or 0) for query in _TO_COME)


async def _answered(work: Awaitable[Reply], answer: asyncio.Future[Reply]) -> None:
    try:
        reply = await work
    except Exception as error:
        if not answer.done():
            answer.set_exception(error)
    else:
        if not answer.done():
            answer.set_result(reply)


def _endless() -> Finding:
    return Finding(
        kind="never_quiet",
        subject="world",
        message="long after the last fault and the last answer somebody still had something to do",
    )


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a world ended. ``seconds`` are virtual."""

    schedule: Schedule
    findings: list[Finding]
    promises: int
    servers: int
    turns: int
    seconds: float
    trace: Trace
