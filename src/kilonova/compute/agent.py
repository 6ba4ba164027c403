"""nova-compute: makes one host's hypervisor match what the database says.

Takes steps from ``compute.<host>``, answers questions on ``compute.<host>.calls``, sends the heartbeat that renews
its leases, and reconciles at its start and every minute. It holds no database: all it knows of servers comes with
the messages.
"""

import asyncio

import msgspec
import structlog

from kilonova.compute.build import StepFailed
from kilonova.compute.conductor import ConductorClient
from kilonova.compute.image_cache import ImageCache
from kilonova.compute.monitors import monitors_of
from kilonova.compute.operations import ON_A_CONFIRMED_GUEST, OPERATIONS, PREPARING
from kilonova.compute.reconcile import Reconciler
from kilonova.compute.resume import ResumeList
from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.compute.workplace import Workplace
from kilonova.config import ActionsConfig, ComputeConfig, MembershipConfig, MessagingConfig
from kilonova.hypervisor.driver import Driver
from kilonova.messaging.bus import Bus, Delivery, Subscription
from kilonova.messaging.contract import (
    Acknowledged,
    CacheImages,
    ConsoleOutput,
    Diagnostics,
    GetConsoleOutput,
    GetDiagnostics,
    HostReport,
    HostReportAnswer,
    Message,
    Need,
    PerformStep,
    Ping,
    Ratios,
    compute_calls_queue,
    compute_queue,
)
from kilonova.model.clock import Clock, Ids, Random
from kilonova.model.context import RequestContext
from kilonova.model.errors import HostFault, Invalid, KilonovaError, Stale, Unavailable
from kilonova.model.guest import Capabilities, GuestState, HostResources
from kilonova.model.topology.machine import Topology, divided

log = structlog.get_logger()

_CALLS = 16  # questions answered at once
_PATIENCE = 30.0  # seconds a step waits for the conductor's leave before its message is dropped


class Agent:
    """One nova-compute: one host, one driver."""

    def __init__(
        self,
        driver: Driver,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        random: Random,
        *,
        host: str,
        compute: ComputeConfig,
        actions: ActionsConfig,
        membership: MembershipConfig,
        messaging: MessagingConfig,
        resume: ResumeList | None = None,
    ) -> None:
        self.host = host
        self.driver = driver
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._random = random
        self._config = compute
        self._lease = actions.lease
        self._interval = membership.heartbeat
        self._incarnation = ids.uuid()
        self._conductor = ConductorClient(bus, clock, random, timeout=messaging.call_timeout)
        self._workplace = Workplace()
        self._image_cache = ImageCache(driver, host)
        self._tools = Tools(driver=driver, clock=clock, grace=compute.shutdown_grace)
        self._reconciler = Reconciler(
            driver,
            self._conductor,
            clock,
            self._workplace,
            host=host,
            incarnation=self._incarnation,
            resume=resume,
        )
        self._capabilities: Capabilities | None = None
        self._monitors = monitors_of(compute.monitors)
        self._reported: HostResources | None = None
        self._heard_at, self._heard_on = clock.monotonic(), clock.now()
        self._unsure = False  # silence, or a step without a verdict: others may have decided without us
        self._compare_at = 0.0
        self._hurry = 0.0  # seconds until the next comparison, while one made out of turn has left something
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._resumed: set[asyncio.Task[None]] = set()
        self._draining = False
        self.broken: set[str] = set()
        """What of its rounds ended in an error nobody foresaw: each is a bug."""

    # --- life ------------------------------------------------------------------------------------------------

    async def start(self, capabilities: Capabilities | None = None) -> None:
        """Attach to the guests, report, reconcile, then take work. ``capabilities``: of a driver that was started."""
        self._capabilities = capabilities or await self.driver.start()
        if self._capabilities.warning:
            log.warning(self._capabilities.warning, host=self.host)
        await self._report(patience=self._lease * 5)
        work = await self._reconciler.once(taking_over=True)
        self._hurry = self._interval if self._reconciler.unfinished else 0.0
        self._subscriptions = [
            await self._bus.serve(compute_queue(self.host), self.handle, concurrency=self._config.concurrency),
            await self._bus.serve(compute_calls_queue(self.host), self.answer, concurrency=_CALLS, durable=False),
        ]
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._heartbeat(), name=f"heartbeat {self.host}"),
            loop.create_task(self._reconcile(), name=f"reconcile {self.host}"),
            loop.create_task(self._watch(), name=f"guests {self.host}"),
        ]
        self._take_up(work)

    async def drain(self, timeout: float) -> None:
        """Take no more, finish what runs within the time, leave the guests running."""
        await asyncio.gather(*(subscription.drain(timeout) for subscription in self._subscriptions))
        await self.abandon()
        await self.driver.stop()

    async def abandon(self) -> None:
        """Stop at once, as a kill would: nothing is finished and nothing undone; the next incarnation takes it over."""
        self._draining = True
        for subscription in self._subscriptions:
            await subscription.stop()
        await self._image_cache.stop()
        ending = [*self._tasks, *self._resumed]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    # --- steps -----------------------------------------------------------------------------------------------

    async def handle(self, delivery: Delivery) -> Message | None:
        """One step. Acknowledged once its end is recorded, or it turned out to be somebody else's."""
        if not isinstance(delivery.message, PerformStep):
            raise Invalid(f"nova-compute does not know {type(delivery.message).__name__}")
        try:
            await self._perform(delivery.message, delivery.context, delivery)
        except Unavailable as error:
            # The database has the action: the sweep asks again. A message that comes back would only be a second hint.
            log.warning("step not begun; the sweep sends it", action=delivery.message.action_id, error=error.message)
        return None

    def _take_up(self, steps: list[PerformStep]) -> None:
        """Each in a task of its own, because a step may be cancelled, and that must not end whoever found it."""
        for step in steps:
            task = asyncio.get_running_loop().create_task(self._resume(step))
            self._resumed.add(task)
            task.add_done_callback(self._resumed.discard)

    async def _resume(self, asked: PerformStep) -> None:
        """A step that waited for this host, found by reconcile rather than by its message."""
        try:
            await self._perform(asked, RequestContext(request_id=self._ids.request_id()), None)
        except KilonovaError as error:
            log.warning("step not resumed; the sweep sends it", action=asked.action_id, error=error.message)

    async def _perform(self, asked: PerformStep, context: RequestContext, delivery: Delivery | None) -> None:
        if asked.kind == "delete":
            self._workplace.cancel_server(asked.server_id)
        await self._workplace.enter(asked.server_id)
        try:
            run = StepRun(self._conductor, self._clock, self.host, asked, context, self._ids.uuid())
            if await run.begin(delivery, _PATIENCE) is None:
                return
            self._workplace.hold(run)
            try:
                await self._work(run)
            finally:
                self._workplace.let_go(run)
        finally:
            self._workplace.leave(asked.server_id)

    async def _work(self, run: StepRun) -> None:
        astray = True  # unless all goes well: what is here may not be what will have been decided
        try:
            await self._operation(run)
            astray = run.astray
        except StepFailed:
            return
        except Stale as stale:
            log.info("step overtaken", action=run.asked.action_id, reason=stale.message)
        except asyncio.CancelledError:
            await self._cancelled(run)
        except Unavailable as error:
            # Perhaps it counts, perhaps not. A guest that was prepared stays so, not running; reconcile asks again.
            log.warning("no word on a finished step", action=run.asked.action_id, error=error.message)
        except HostFault as fault:
            await run.fail(fault)
        except Exception as error:
            log.exception("step failed", action=run.asked.action_id, step=run.asked.step)
            await run.fail(error)
        finally:
            self._unsure = self._unsure or astray

    async def _operation(self, run: StepRun) -> None:
        operation = OPERATIONS.get(run.asked.step)
        if operation is None:
            raise Invalid(f"nova-compute does not know the step {run.asked.step!r}")
        if run.asked.step in ON_A_CONFIRMED_GUEST:
            await self._let_run(run.asked.server_id)
        await operation(run, self._tools)

    async def _let_run(self, server_id: str) -> None:
        """The server stands in the database as being here, or this step would not have been asked for: if its guest is still
        prepared, the word that it may run was lost, or we were restarted before we heard it. If it does not run now either, the
        step finds that, and answers for it in its own way."""
        guest = await self.driver.show_guest(server_id)
        if guest is None or guest.state is not GuestState.PREPARED:
            return
        try:
            await self.driver.release(server_id)
        except KilonovaError as error:
            self._unsure = True
            log.warning("confirmed, and not let run yet", server=server_id, host=self.host, error=error.message)

    async def _cancelled(self, run: StepRun) -> None:
        """A delete wants the server, or the lease is lost: unmake a guest that never ran.

        When it is the process that ends, the step is left as it is: the next incarnation takes it over.
        """
        task = asyncio.current_task()
        if task is None or self._draining:
            raise asyncio.CancelledError
        task.uncancel()
        guest = await self.driver.show_guest(run.asked.server_id)
        if run.in_place:
            return  # what is here is also what the server goes back to
        if run.asked.step in PREPARING and (guest is None or guest.state is GuestState.PREPARED):
            await self.driver.destroy(run.asked.server_id)

    # --- questions -------------------------------------------------------------------------------------------

    async def answer(self, delivery: Delivery) -> Message | None:
        """One question from nova-api."""
        match delivery.message:
            case GetConsoleOutput(server_id=server_id, lines=lines):
                return ConsoleOutput(output=await self.driver.console_output(server_id, lines))
            case GetDiagnostics(server_id=server_id):
                return Diagnostics(guest=await self.driver.diagnose(server_id))
            case CacheImages(images=images):
                self._image_cache.begin(images)
                return Acknowledged()
            case Ping() as ping:
                return ping
            case other:
                raise Invalid(f"nova-compute does not know {type(other).__name__}")

    # --- the background --------------------------------------------------------------------------------------

    async def _heartbeat(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            try:
                # Patience for a second, longer try: a conductor with too much to do must not make its hosts look dead.
                await self._report(patience=self._lease / 2)
                self._compare_soon()
            except Unavailable as error:
                self._unsure = True
                silent = self._clock.monotonic() - self._heard_at
                log.warning(
                    "the conductor does not answer", host=self.host, silent=round(silent, 1), error=error.message
                )
                if silent > self._lease:
                    self._stop_unconfirmed()
            except Exception:
                self._break("heartbeat")

    def _break(self, what: str) -> None:
        """An error nobody foresaw, which is a bug: a host that stopped reporting for it would lose its servers to others."""
        self.broken.add(what)
        log.exception("broken off; the next round begins anew", what=what, host=self.host)

    def _compare_soon(self) -> None:
        """Heard again after a silence: meanwhile servers may have been deleted or moved without asking this host."""
        if self._unsure:
            self._unsure = False
            self._hurry = self._interval
            soon = self._clock.monotonic() + self._random.uniform(0.0, self._interval)
            self._compare_at = min(self._compare_at, soon)

    def _stop_unconfirmed(self) -> None:
        """Without a word for a lease's length all our steps may have been given to others."""
        for step in self._workplace.running():
            log.warning("lease lost in silence", action=step.action_id, host=self.host)
            self._workplace.cancel_action(step.action_id)

    async def _report(self, patience: float) -> None:
        resources = await self.driver.resources()
        changed = resources != self._reported
        topology = self._topology(resources)
        shared = self._shared_cpus(resources, topology)
        answer = await self._conductor.ask(
            HostReport(
                host=self.host,
                incarnation=self._incarnation,
                running=self._workplace.running(),
                resources=msgspec.structs.replace(resources, topology=None) if changed else None,
                capabilities=self._capabilities if changed else None,
                capacity=self._capacity(resources, shared) if changed else None,
                topology=topology if changed else None,
                availability_zone=self._config.availability_zone,
                address=self._config.address,
                metrics={name: value for monitor in self._monitors for name, value in monitor.measure().items()},
                reserved=Need(vcpus=resources.vcpus - shared, memory_mb=self._config.reserved_memory_mb, disk_gb=0),
                ratios=Ratios(
                    vcpus=self._config.cpu_ratio,
                    memory_mb=self._config.memory_ratio,
                    disk_gb=self._config.disk_ratio,
                ),
            ),
            HostReportAnswer,
            RequestContext(request_id="req-heartbeat"),
            patience=patience,
        )
        self._reported = resources
        self._heard()
        self._unsure = self._unsure or answer.compare
        for action_id in answer.lost:
            self._workplace.cancel_action(action_id)

    def _heard(self) -> None:
        """The conductor has answered. After a silence longer than a lease, one of our own included (we stood still, the machine
        slept: only the wall clock knows), others may have decided without us."""
        slept = (self._clock.now() - self._heard_on) / 1_000_000
        if max(slept, self._clock.monotonic() - self._heard_at) > self._lease:
            self._unsure = True
        self._heard_at, self._heard_on = self._clock.monotonic(), self._clock.now()

    def _topology(self, resources: HostResources) -> Topology | None:
        """The machine's, as servers may use it."""
        config = self._config
        if resources.topology is None:
            return None
        topology = divided(resources.topology, config.cpu_dedicated_set, config.cpu_shared_set)
        return msgspec.structs.replace(topology, cpu_ratio=config.cpu_ratio, memory_ratio=config.memory_ratio)

    def _shared_cpus(self, resources: HostResources, topology: Topology | None) -> int:
        """How many processors are VCPUs: one that is given to one server is none."""
        named = self._config.cpu_dedicated_set is not None or self._config.cpu_shared_set is not None
        return topology.shared_cpus if named and topology is not None else resources.vcpus

    def _capacity(self, resources: HostResources, shared_cpus: int) -> Need:
        config = self._config
        return Need(
            vcpus=int(shared_cpus * config.cpu_ratio),
            memory_mb=int(max(resources.memory_mb - config.reserved_memory_mb, 0) * config.memory_ratio),
            disk_gb=int(resources.disk_gb * config.disk_ratio),
        )

    async def _until_comparison(self) -> None:
        most = self._config.reconcile_interval
        self._compare_at = self._clock.monotonic() + (min(self._hurry, most) or most)
        while (left := self._compare_at - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, self._interval))  # in short sleeps: it may be moved forward

    async def _reconcile(self) -> None:
        while True:
            await self._until_comparison()
            try:
                found = await self._reconciler.once(taking_over=False)
                self._hurry = 2 * self._hurry if self._reconciler.unfinished else 0.0
                self._take_up([step for step in found if not self._workplace.busy(step.server_id)])
            except KilonovaError as error:
                log.warning("reconcile put off", host=self.host, error=error.message)
                self._unsure = True
            except Exception:
                self._break("reconcile")

    async def _watch(self) -> None:
        async for server_id, state in self.driver.events():
            self._unsure = True  # nobody follows it while an action has to do with the server
            try:
                await self._reconciler.guest_changed(server_id, state)
            except KilonovaError as error:
                log.warning("guest's change not reported; reconcile finds it", server=server_id, error=error.message)
            except Exception:
                self._break("guest's change")
