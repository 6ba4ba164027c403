"""Which sub-services run in this process, and their start, drain and stop.

Order of start: schema, bus, nova-conductor, nova-scheduler, nova-api, nova-compute; each can rely on what stands before it, and a
caller gets answers while hypervisors are still being looked at. Drain: nova-api first (nothing new comes in), nova-conductor
last (everybody reports to it).
"""

import asyncio
import contextlib
import fcntl
import gc
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import structlog

from kilonova.config import Config
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.messaging.bus import Bus
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import Clock, Ids, Random, SystemClock, system_random
from kilonova.model.errors import KilonovaError, Misconfigured

if TYPE_CHECKING:  # imported when it is started: a process loads only the services it runs
    from kilonova.compute.agent import Agent
    from kilonova.scheduler.planner import Planner

log = structlog.get_logger()

API, SCHEDULER, CONDUCTOR, COMPUTE = "nova-api", "nova-scheduler", "nova-conductor", "nova-compute"
ALL = (API, SCHEDULER, CONDUCTOR, COMPUTE)
DRAIN_SECONDS = 20.0


class Process:
    """The sub-services of one operating-system process."""

    def __init__(self, config: Config, binaries: tuple[str, ...]) -> None:
        if config.embedded and set(binaries) != set(ALL):
            raise Misconfigured(
                f"{' and '.join(binaries)} cannot run alone on the in-process bus; "
                "set messaging.url to amqp://… or start nova-all-in-one"
            )
        self.config = config
        self.binaries = binaries
        self.clock: Clock = SystemClock()
        self.random: Random = system_random()
        self.ids = Ids(self.random)
        self.bus: Bus = _make_bus(config, self.clock, self.random)
        self._stops: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._locks: list[IO[str]] = []

    async def start(self) -> None:
        """Start them in order. Raises ``Misconfigured`` or ``Unavailable`` with one line; then nothing of it is left running."""
        self.config.state_dir.mkdir(parents=True, exist_ok=True)
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        database = await self._open_database() if set(self.binaries) - {COMPUTE} else None
        self._stops.append(("bus", self.bus.close))
        await self.bus.start()
        if database is not None:
            await self._start_control(database)
        if COMPUTE in self.binaries:
            await self._start_compute()

    async def _open_database(self) -> Database:
        from kilonova.database.schema import ensure_schema

        options = self.config.database
        database = open_database(
            DatabaseSettings(
                url=self.config.database_url,
                pool_size=options.pool_size,
                connect_timeout=options.connect_timeout,
                statement_timeout=options.statement_timeout,
                durable=options.durable,
            ),
            self.clock,
            self.random,
        )
        self._stops.append(("database", database.close))
        if await ensure_schema(database):
            log.info("schema brought up to date")
        return database

    # --- the control services --------------------------------------------------------------------------------

    async def _start_control(self, database: Database) -> None:
        from kilonova.heartbeat import Heartbeat
        from kilonova.neighbours import fill_new_cloud, open_neighbours

        neighbours = await open_neighbours(self.config, database, self.clock, self.ids, self.random)
        await fill_new_cloud(self.config, database, neighbours, self.clock)
        beat = Heartbeat(
            database,
            self.clock,
            self.ids,
            host=self.config.compute.host,
            binaries=[binary for binary in self.binaries if binary != COMPUTE],
            interval=self.config.membership.heartbeat,
        )
        await beat.once()
        self._stops.append(("heartbeat", beat.goodbye))
        self._tasks.append(asyncio.get_running_loop().create_task(beat.run(), name="heartbeat"))
        if CONDUCTOR in self.binaries:
            from kilonova.conductor.service import Conductor

            conductor = Conductor(
                self.config,
                database,
                self.bus,
                self.clock,
                self.ids,
                neighbours.networks,
                neighbours.images,
                host=self.config.compute.host,
            )
            self._stops.append((CONDUCTOR, lambda: conductor.drain(DRAIN_SECONDS)))
            await conductor.start()
        if SCHEDULER in self.binaries:
            await self._start_scheduler(database)
        if API in self.binaries:
            from kilonova.api.server import ApiServer

            planner = partial(self._make_planner, database)
            api = ApiServer(self.config, database, self.bus, neighbours, self.clock, self.ids, self.random, planner)
            self._stops.append((API, lambda: api.drain(DRAIN_SECONDS)))
            await api.start()

    def _make_planner(self, database: Database) -> "Planner":
        from kilonova.scheduler.planner import Planner

        return Planner(
            database, self.clock, self.random, scheduler=self.config.scheduler, membership=self.config.membership
        )

    async def _start_scheduler(self, database: Database) -> None:
        from kilonova.scheduler.service import Scheduler

        scheduler = Scheduler(
            database,
            self.bus,
            self.clock,
            self.random,
            host=self.config.compute.host,
            scheduler=self.config.scheduler,
            membership=self.config.membership,
            dispatch=self.config.actions.dispatch,
        )
        self._stops.append((SCHEDULER, lambda: scheduler.drain(DRAIN_SECONDS)))
        await scheduler.start()

    # --- nova-compute ----------------------------------------------------------------------------------------

    async def _start_compute(self) -> None:
        from kilonova.compute.agent import Agent
        from kilonova.compute.resume import ResumeList
        from kilonova.hypervisors import open_driver

        config = self.config.compute
        hosts = [config.host]
        if config.fake_hosts > 1:
            hosts = [f"{config.host}-{number}" for number in range(1, config.fake_hosts + 1)]
        agents: list[Agent] = []
        self._stops.append((COMPUTE, lambda: _drain_all(agents)))
        for host in hosts:
            directory = self.config.state_dir.absolute() / "hosts" / host
            self._locks.append(lock_host(directory, host))
            driver, capabilities = await open_driver(self.config, directory, self.clock, self.random)
            agent = Agent(
                driver,
                self.bus,
                self.clock,
                self.ids,
                self.random,
                host=host,
                compute=config,
                actions=self.config.actions,
                membership=self.config.membership,
                messaging=self.config.messaging,
                resume=ResumeList(directory) if config.resume_guests else None,
            )
            await agent.start(capabilities)
            agents.append(agent)

    # --- the end ---------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Drain and stop, the last started first. Guests keep running."""
        for task in self._tasks:
            task.cancel()
        while self._stops:
            name, stop = self._stops.pop()
            try:
                await stop()
            except KilonovaError as error:
                log.warning("not stopped in good order", service=name, error=error.message)
        for lock in self._locks:
            lock.close()


async def run(config: Config, binaries: tuple[str, ...], started: Callable[[Process], None]) -> None:
    """Start, say so, and run until SIGTERM or SIGINT; a second signal stops at once."""
    process = Process(config, binaries)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await process.start()
    started(process)
    settle_memory()
    await ending.wait()
    log.info("draining", services=list(binaries))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    await process.stop()


def settle_memory() -> None:
    """What is loaded by now lives as long as the process: the collector need not look at it again.

    And it looks less often: a page of a thousand servers makes tens of thousands of objects that are all gone after the answer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _drain_all(agents: Sequence["Agent"]) -> None:
    async with asyncio.TaskGroup() as group:
        for agent in agents:
            group.create_task(agent.drain(DRAIN_SECONDS))


def _make_bus(config: Config, clock: Clock, random: Random) -> Bus:
    options = config.messaging
    settings = BusSettings(
        publish_timeout=options.publish_timeout,
        delivery_limit=options.delivery_limit,
        queue_limit=options.queue_limit,
    )
    if config.embedded:
        from kilonova.messaging.local import LocalBus

        return LocalBus(clock, settings)
    if not options.url.startswith(("amqp://", "amqps://")):
        raise Misconfigured("messaging.url must be local, or amqp://user:password@host:port/vhost")
    from kilonova.messaging.rabbitmq import RabbitBus

    return RabbitBus(options.url, clock, random, settings)


def lock_host(directory: Path, host: str) -> IO[str]:
    """One nova-compute per host: two would pull the same guests' strings."""
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((directory / "nova-compute.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(
                f"a nova-compute for host {host} runs already; stop it, or give this one another compute.host"
            ) from None
        stack.pop_all()
    return lock
