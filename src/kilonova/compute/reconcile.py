"""Compares the hypervisor with the database, both ways, and mends what is safe to mend.

Confirmed but not yet running: let it run, or be off if it is to stay so. Prepared but confirmed for nobody: unmake
it; it never ran. Cards of ports that are not the server's: pull them out. Power states that changed by themselves:
report. A guest that ran and belongs to nobody here: say so and leave it, removing it is policy. What only a person can
judge is reported as findings, all of them each time (``kilonova check`` shows them).
"""

import asyncio
import contextlib
from collections.abc import Container, Iterator

import structlog

from kilonova.compute.conductor import ConductorClient
from kilonova.compute.resume import ResumeList
from kilonova.compute.workplace import Workplace
from kilonova.hypervisor.driver import Driver
from kilonova.messaging.contract import (
    Acknowledged,
    GuestChanged,
    HostWork,
    ListHostWork,
    PerformStep,
    ReportFindings,
    ReportGuests,
    ServerOnHost,
)
from kilonova.model.clock import Clock
from kilonova.model.context import RequestContext
from kilonova.model.errors import KilonovaError
from kilonova.model.finding import GUEST_CARDS, GUEST_CHANGED, GUEST_GONE, GUEST_OF_NOBODY, Finding
from kilonova.model.guest import Guest, GuestState
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE
from kilonova.model.server import PowerState, VmState

log = structlog.get_logger()

POWER = {
    GuestState.PREPARED: PowerState.NOSTATE,
    GuestState.RUNNING: PowerState.RUNNING,
    GuestState.PAUSED: PowerState.PAUSED,
    GuestState.SUSPENDED: PowerState.SUSPENDED,
    GuestState.OFF: PowerState.SHUTDOWN,
    GuestState.CRASHED: PowerState.CRASHED,
    GuestState.MOVED: PowerState.NOSTATE,
}

_AWAKE = (GuestState.RUNNING, GuestState.PAUSED)
_WITH_GUEST = (
    *(VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED),
    *(VmState.RESCUED, VmState.RESIZED),
)
_STANDING = (GuestState.RUNNING, GuestState.PAUSED, GuestState.OFF, GuestState.CRASHED)
_AT_REST = (VmState.SOFT_DELETED, VmState.SHELVED)
_CONTEXT = RequestContext(request_id="req-reconcile")
_RESUMED_AT_ONCE = 4


class Reconciler:
    """Of one host."""

    def __init__(
        self,
        driver: Driver,
        conductor: ConductorClient,
        clock: Clock,
        workplace: Workplace,
        *,
        host: str,
        incarnation: str,
        resume: ResumeList | None = None,
    ) -> None:
        self._driver = driver
        self._conductor = conductor
        self._clock = clock
        self._workplace = workplace
        self._host = host
        self._incarnation = incarnation
        self._resume_list = resume
        self._findings: list[Finding] = []
        self.unfinished = False
        """Whether the last comparison left something: what failed, or what an action is changing just now."""
        self._told = False  # whether the conductor knows that there is none

    async def once(self, *, taking_over: bool) -> list[PerformStep]:
        """One comparison; returns the steps that wait to be begun here.

        The guests are listed *before* the question, so that whatever is removed is older than the answer; what is
        reported is looked at again just before.
        """
        changed_here = self._workplace.watch()
        guests = {guest.server_id: guest for guest in await self._driver.list_guests()}
        work = await self._conductor.ask(
            ListHostWork(
                host=self._host, incarnation=self._incarnation, taking_over=taking_over, guests=sorted(guests)
            ),
            HostWork,
            _CONTEXT,
            patience=10.0 if taking_over else 0.0,
        )
        self._findings, self.unfinished = [], False
        if taking_over and self._resume_list is not None:
            await self._resume(work.servers, self._resume_list)
        for server in work.servers:
            with self._on_its_own(server.server_id):
                await self._fence(server, guests.get(server.server_id))
        changed = []
        for server in work.servers:
            with self._on_its_own(server.server_id):
                changed += await self._attend(server, guests.get(server.server_id), changed_here)
        known = {server.server_id for server in work.servers}
        for guest in guests.values():
            if guest.server_id not in known:
                with self._on_its_own(guest.server_id):
                    await self._turn_away(guest, asked=guest.server_id in work.remove)
        if changed:
            self.unfinished = True  # they do not count if an action has begun meanwhile
            await self._conductor.ask(ReportGuests(host=self._host, changed=changed), Acknowledged, _CONTEXT)
        await self._tell_findings()
        return work.steps

    @contextlib.contextmanager
    def _on_its_own(self, server_id: str) -> Iterator[None]:
        """What cannot be done for one server keeps no other from being looked at."""
        try:
            yield
        except KilonovaError as error:
            self.unfinished = True
            log.warning("not mended yet", server=server_id, host=self._host, error=error.message)

    async def _attend(
        self, server: ServerOnHost, guest: Guest | None, changed_here: Container[str]
    ) -> list[GuestChanged]:
        """One server of this host; what is to be reported of its guest."""
        if server.busy:
            self.unfinished |= guest is None or POWER[guest.state] != server.power_state
            return []
        report = await self._compare(server, guest)
        if server.server_id not in changed_here:
            await self._match_cards(server, guest)
        return [] if report is None else [report]

    async def _turn_away(self, guest: Guest, *, asked: bool) -> None:
        """A guest whose server is not here. ``asked``: the database knows the server, and says that it is not."""
        if asked or guest.state is GuestState.PREPARED:
            await self._remove(guest)
        else:
            self._found(
                GUEST_OF_NOBODY,
                guest.server_id,
                f"a guest is here ({guest.state}) whose server the database does not know; it is left as it is: "
                "save what is on its disk and end it by hand",
            )

    def _found(self, kind: str, server_id: str, message: str) -> None:
        log.warning("finding", kind=kind, server=server_id, host=self._host, message=message)
        self._findings.append(Finding(kind=kind, subject=server_id, message=message))

    async def _tell_findings(self) -> None:
        """Each time there are some, and once when there are none any more. The next comparison makes up for a lost word."""
        if self._told and not self._findings:
            return
        self._told = False
        try:
            report = ReportFindings(host=self._host, findings=self._findings)
            await self._conductor.ask(report, Acknowledged, _CONTEXT)
        except KilonovaError as error:
            log.warning("findings not reported", host=self._host, error=error.message)
            return
        self._told = not self._findings

    async def _resume(self, servers: list[ServerOnHost], listed: ResumeList) -> None:
        """Power on what was shut down together with the cloud. What cannot be is reported as it is: off."""
        wanted = listed.read()
        bound = asyncio.Semaphore(_RESUMED_AT_ONCE)

        async def power_on(server_id: str) -> None:
            async with bound:
                try:
                    await self._driver.power_on(server_id)
                    log.info("guest runs again, as before the cloud was stopped", server=server_id, host=self._host)
                except KilonovaError as error:
                    log.error("guest does not run again", server=server_id, host=self._host, error=error.message)

        await asyncio.gather(
            *(
                power_on(server.server_id)
                for server in servers
                if server.server_id in wanted and server.vm_state == VmState.ACTIVE and not server.busy
            )
        )
        listed.clear()

    async def _fence(self, server: ServerOnHost, guest: Guest | None) -> None:
        """We were away, and the server is being made anew elsewhere, or was put away: its guest must not run here."""
        if guest is None or guest.state not in _AWAKE:
            return
        if server.vm_state in _AT_REST and not server.busy and not self._workplace.busy(server.server_id):
            log.warning("guest shut down: its server is to be off", server=guest.server_id, state=server.vm_state)
            await self._driver.power_off(guest.server_id, 0)
        elif server.fenced:
            log.warning("guest shut down: its server is being evacuated", server=guest.server_id, host=self._host)
            await self._driver.power_off(guest.server_id, 0)

    async def _compare(self, server: ServerOnHost, listed: Guest | None) -> GuestChanged | None:
        if listed is not None and POWER[listed.state] == server.power_state:
            return None
        if self._workplace.busy(server.server_id):
            self.unfinished = True
            return None
        guest = await self._driver.show_guest(server.server_id)
        if guest is None:
            if server.vm_state not in _WITH_GUEST:
                return None
            self._found(
                GUEST_GONE,
                server.server_id,
                f"the server is {server.vm_state}, and there is no guest of it here, nor its disk; "
                "delete the server, or restore the guest from a backup",
            )
            if server.power_state == PowerState.CRASHED:
                return None
            return GuestChanged(server_id=server.server_id, power_state=PowerState.CRASHED)
        if guest.state in (GuestState.PREPARED, GuestState.MOVED):
            if server.vm_state in _WITH_GUEST:
                log.info("its server is here and it stands: let it run, or be off", server=server.server_id)
                await self._driver.release(server.server_id)
            return None
        if POWER[guest.state] == server.power_state:
            return None
        self._found(
            GUEST_CHANGED,
            server.server_id,
            f"the guest is {guest.state}, the server was {server.vm_state}; it changed by itself, and the server followed",
        )
        return GuestChanged(server_id=server.server_id, power_state=POWER[guest.state])

    async def _match_cards(self, server: ServerOnHost, listed: Guest | None) -> None:
        """An attach or detach ended without this host, or a port was deleted: its guest gets the server's cards.

        What is listed is older than the answer, and no step has changed the server since; so the answer is what is to be.
        """
        server_id, wanted = server.server_id, server.guest.nics
        if listed is None or listed.state not in _STANDING or server.vm_state not in ATTACH_INTERFACE.vm_states:
            return
        differing = {*listed.ports} ^ {nic.port_id for nic in wanted}
        if not differing or self._workplace.busy(server_id):
            return
        await self._workplace.enter(server_id)
        try:
            await self._driver.change_nics(server_id, wanted)
            log.warning("cards changed to those of the server", server=server_id, ports=sorted(differing))
        except KilonovaError as error:
            self._found(
                GUEST_CARDS,
                server_id,
                f"its guest's cards are not the server's (ports {', '.join(sorted(differing))}), and it cannot be given "
                f"those: {error.message}. Stop the server, then they are changed by themselves",
            )
        finally:
            self._workplace.leave(server_id)

    async def _remove(self, listed: Guest) -> None:
        """Unmake a guest that must not be here, unless it was built anew since it was listed."""
        if self._workplace.busy(listed.server_id):
            self.unfinished = True
            return
        await self._workplace.enter(listed.server_id)
        try:
            guest = await self._driver.show_guest(listed.server_id)
            if guest is not None and guest.epoch == listed.epoch:
                log.warning("guest removed: its server is not here any more", server=guest.server_id, host=self._host)
                await self._driver.destroy(guest.server_id)
        finally:
            self._workplace.leave(listed.server_id)

    async def guest_changed(self, server_id: str, state: GuestState) -> None:
        """A guest did something by itself; while a step works on it, that is the step's business."""
        if self._workplace.busy(server_id):
            return
        changed = GuestChanged(server_id=server_id, power_state=POWER[state])
        await self._conductor.ask(
            ReportGuests(host=self._host, changed=[changed]), Acknowledged, _CONTEXT, patience=5.0
        )
