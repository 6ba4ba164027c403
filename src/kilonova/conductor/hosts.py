"""The hosts' own reports: heartbeats, what a host should look like, guests that changed behind our back."""

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from sqlalchemy.engine import Connection

from kilonova.config import ActionsConfig
from kilonova.database import actions, findings, membership, outgoing, server_migrations, servers, topologies
from kilonova.database.transactions import Database, fleeting
from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import (
    Acknowledged,
    HostReport,
    HostReportAnswer,
    HostWork,
    ListHostWork,
    Message,
    PerformStep,
    ReportFindings,
    ReportGuests,
    ServerOnHost,
)
from kilonova.model.action import Action, ActionState
from kilonova.model.clock import Clock, Ids
from kilonova.model.finding import GUEST_OF_NOBODY
from kilonova.model.kinds.evacuate import EVACUATE
from kilonova.model.server import PowerState, Server, VmState

log = structlog.get_logger()

COMPUTE = "nova-compute"

VM_STATE_OF: dict[int, str] = {  # a server in one of these states follows its guest from one to the other
    PowerState.RUNNING: VmState.ACTIVE,
    PowerState.PAUSED: VmState.PAUSED,
    PowerState.SUSPENDED: VmState.SUSPENDED,
    PowerState.SHUTDOWN: VmState.STOPPED,
    PowerState.CRASHED: VmState.STOPPED,
}


class Hosts:
    """Answers HostReport, ListHostWork, ReportGuests and ReportFindings."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, *, config: ActionsConfig) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._config = config

    def handlers(self) -> dict[type[Message], Callable[[Delivery], Awaitable[Message | None]]]:
        """Which message each method answers."""
        return {
            HostReport: self.report,
            ListHostWork: self.work,
            ReportGuests: self.guests,
            ReportFindings: self.findings,
        }

    async def report(self, delivery: Delivery) -> Message:
        """A heartbeat: the service lives, its leases are renewed, its machine is described when it changed."""
        report = delivery.message
        assert isinstance(report, HostReport)
        known = report.resources is None and report.topology is None
        lost, compare = await self._database.run(self._beat if known else self._report, report, self._clock.now())
        return HostReportAnswer(lease_seconds=self._config.lease, lost=lost, compare=compare)

    @fleeting
    def _beat(self, connection: Connection, report: HostReport, now: int) -> tuple[list[str], bool]:
        return self._report(connection, report, now)

    def _report(self, connection: Connection, report: HostReport, now: int) -> tuple[list[str], bool]:
        """The actions it runs that are not its own any more, and whether it is to compare itself.

        Actions before services, and those before hosts: the order in which the steps that end lock them.
        """
        lost = self._renew(connection, report, now)
        compare = membership.heartbeat(
            connection,
            binary=COMPUTE,
            host=report.host,
            zone=report.availability_zone,
            incarnation=report.incarnation,
            uuid=self._ids.uuid(),
            now=now,
            metrics=report.metrics,
        )
        if report.resources is not None:
            membership.describe_host(
                connection, report.host, uuid=self._ids.uuid(), now=now, values=self._description(report)
            )
        if report.topology is not None:
            topologies.describe(connection, report.host, report.topology)
        return lost, compare

    def _renew(self, connection: Connection, report: HostReport, now: int) -> list[str]:
        running = [(step.action_id, step.epoch) for step in report.running]
        if running and membership.forced_down(connection, COMPUTE, report.host):
            return [action_id for action_id, _ in running]  # an operator says it is down: its work goes to others
        return actions.renew(connection, report.host, running, now + int(self._config.lease * 1_000_000))

    def _description(self, report: HostReport) -> dict[str, object]:
        resources, capabilities, capacity = report.resources, report.capabilities, report.capacity
        assert resources is not None and capabilities is not None and capacity is not None
        return {
            "address": report.address,
            "availability_zone": report.availability_zone,
            "hypervisor_type": capabilities.hypervisor_type,
            "hypervisor_version": capabilities.version,
            "capabilities": msgspec.to_builtins(capabilities),
            "vcpus": resources.vcpus,
            "memory_mb": resources.memory_mb,
            "disk_gb": resources.disk_gb,
            "free_disk_gb": resources.free_disk_gb,
            "vcpus_capacity": capacity.vcpus,
            "memory_mb_capacity": capacity.memory_mb,
            "disk_gb_capacity": capacity.disk_gb,
            **_terms(report),
        }

    async def work(self, delivery: Delivery) -> Message:
        """What the host should look like, and which steps wait for it."""
        asked = delivery.message
        assert isinstance(asked, ListHostWork)
        return await self._database.run(self._work, asked, self._clock.now())

    def _work(self, connection: Connection, asked: ListHostWork, now: int) -> HostWork:
        membership.compared(
            connection, asked.host
        )  # before anything is read: what is decided from here on is told again
        found = servers.with_claims_on(connection, asked.host)
        steps: list[PerformStep] = []
        for found_open in actions.open_on_host(connection, asked.host):
            server, action = servers.find(connection, found_open.server_id), found_open
            if server is None:
                continue
            if asked.taking_over and action.state == ActionState.RUNNING and action.owner == asked.host:
                action = self._give_back(connection, action, now)
            # One that was tried already is the sweep's, which waits longer each time and knows when it was enough.
            fresh = asked.taking_over or action.attempts == 0
            if action.state == ActionState.PENDING and action.on_host == asked.host and fresh:
                message = outgoing.step_message(connection, action, server).message
                assert isinstance(message, PerformStep)
                steps.append(message)
        server_migrations.left_behind(connection, asked.host, asked.guests, now)
        return HostWork(
            servers=[
                ServerOnHost(
                    server_id=server.id,
                    vm_state=server.vm_state,
                    power_state=server.power_state,
                    busy=server.action_id is not None or server.host != asked.host,
                    guest=outgoing.guest_spec(server),
                    fenced=self._is_fenced(connection, server, asked.host),
                )
                for server in found
            ],
            steps=steps,
            remove=self._gone(connection, asked, {server.id for server in found}),
        )

    def _is_fenced(self, connection: Connection, server: Server, host: str) -> bool:
        """Whether its guest on the host must not run, as it is being made anew elsewhere."""
        action = actions.find(connection, server.action_id) if server.host == host and server.action_id else None
        return action is not None and action.kind == EVACUATE.name

    def _gone(self, connection: Connection, asked: ListHostWork, here: set[str]) -> list[str]:
        """Guests of servers that we know, and that are not on this host any more."""
        return [
            server_id
            for server_id in asked.guests
            if server_id not in here and servers.find(connection, server_id) is not None
        ]

    def _give_back(self, connection: Connection, action: Action, now: int) -> Action:
        """A step that an earlier incarnation of the host held: fenced off, and begun again by the new one. As it is, if the sweep
        was faster."""
        pending = {
            "state": ActionState.PENDING,
            "epoch": action.epoch + 1,
            "owner": None,
            "claimant": None,
            "lease_until": now + int(self._config.dispatch * 1_000_000),
            "updated_at": now,
        }
        if not actions.change(
            connection, action.id, pending, epoch=action.epoch, states=(ActionState.RUNNING,), step=action.step
        ):
            return actions.find(connection, action.id) or action
        return msgspec.structs.replace(action, state=ActionState.PENDING, epoch=action.epoch + 1)

    async def guests(self, delivery: Delivery) -> Message:
        """Guests that shut down, came up or crashed by themselves: the server follows, unless an action is at work."""
        report = delivery.message
        assert isinstance(report, ReportGuests)
        await self._database.run(self._follow, report, self._clock.now())
        return Acknowledged()

    def _follow(self, connection: Connection, report: ReportGuests, now: int) -> None:
        for changed in report.changed:
            server = servers.find(connection, changed.server_id)
            if server is None or server.host != report.host or server.action_id is not None:
                continue
            vm_state = VM_STATE_OF.get(changed.power_state, server.vm_state)
            if server.vm_state not in VM_STATE_OF.values():
                vm_state = server.vm_state
            log.info("guest changed by itself", server=server.id, power_state=changed.power_state, vm_state=vm_state)
            states = {"power_state": changed.power_state, "vm_state": str(vm_state), "updated_at": now}
            # A request may have taken it just now: then its action knows better.
            servers.update_free(connection, server, **states)

    async def findings(self, delivery: Delivery) -> Message:
        """What a host may not mend by itself is kept for whoever can (``kilonova check``)."""
        report = delivery.message
        assert isinstance(report, ReportFindings)
        await self._database.run(self._keep, report, self._clock.now())
        return Acknowledged()

    def _keep(self, connection: Connection, report: ReportFindings, now: int) -> None:
        """Less what was overtaken: a server that left the host between its list and its look is not missed there."""
        here = {server.id for server in servers.on_host(connection, report.host)}
        still = [one for one in report.findings if one.kind == GUEST_OF_NOBODY or one.subject in here]
        findings.replace(connection, report.host, still, now)


def _terms(report: HostReport) -> dict[str, object]:
    """What the host keeps back and multiplies by; one of an earlier release does not say."""
    if report.reserved is None or report.ratios is None:
        return {}
    reserved, ratios = report.reserved, report.ratios
    return {
        "vcpus_reserved": reserved.vcpus,
        "memory_mb_reserved": reserved.memory_mb,
        "disk_gb_reserved": reserved.disk_gb,
        "vcpus_ratio": ratios.vcpus,
        "memory_mb_ratio": ratios.memory_mb,
        "disk_gb_ratio": ratios.disk_gb,
    }
