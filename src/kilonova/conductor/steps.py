"""nova-compute's word on the steps it performs, and the database's answer (step 6 of the picture)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy.engine import Connection

from kilonova.conductor.own_steps import OwnSteps
from kilonova.config import ActionsConfig
from kilonova.database import actions, engine, moves, servers
from kilonova.database.connection import Database
from kilonova.database.outgoing import Outgoing
from kilonova.image.protocol import ImageService, NewImage
from kilonova.messaging.bus import Bus, Delivery
from kilonova.messaging.contract import (
    BeginStep,
    FailStep,
    FinishStep,
    Message,
    ReportProgress,
    StepGranted,
    StepRefused,
    Verdict,
)
from kilonova.model.action import Action
from kilonova.model.clock import Clock
from kilonova.model.errors import KilonovaError, Stale, Unavailable
from kilonova.model.guest import ImageTicket, ImageUpload, Nic
from kilonova.model.kinds.create import CREATE
from kilonova.model.remedies import may_retry_elsewhere
from kilonova.model.server import Server, TaskState
from kilonova.network.protocol import Binder, NetworkService, RequestedNic
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()

_REPEATS = 5  # copies of one report that may be taken up in the same moment


class Steps:
    """Answers BeginStep, ReportProgress, FinishStep and FailStep."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        clock: Clock,
        networks: NetworkService,
        images: ImageService,
        own: OwnSteps,
        *,
        host: str,
        config: ActionsConfig,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._networks = networks
        self._images = images
        self._own = own
        self._host = host
        self._config = config
        self._lease = int(config.lease * 1_000_000)
        self._dispatch = int(config.dispatch * 1_000_000)
        self._limits = config.limits

    def handlers(self) -> dict[type[Message], Callable[[Delivery], Awaitable[Message | None]]]:
        """Which message each method answers."""
        return {
            BeginStep: self.begin,
            ReportProgress: self.progress,
            FinishStep: self.finish,
            FailStep: self.fail,
        }

    async def begin(self, delivery: Delivery) -> Message:
        """Give the lease, and with it what only the control plane knows: addresses, and the right to the image."""
        asked = delivery.message
        assert isinstance(asked, BeginStep)
        try:
            begun, nics = await self._begin(asked)
        except Stale as stale:
            return StepRefused(reason=stale.message)
        try:
            return await self._grant(begun, nics)
        except Unavailable:
            raise
        except Stale as stale:
            return StepRefused(reason=stale.message)
        except KilonovaError as error:
            return await self._fail_here(begun, error)

    async def _begin(self, asked: BeginStep) -> tuple[engine.Begun, list[Nic] | None]:
        """The lease and, where the ports are in this database, the step's addresses in one transaction; None: still to be had.

        Ports that cannot be had keep nobody from the lease: under it they are asked for again, and the step fails under its
        own epoch. Raises ``Stale``.
        """
        leave = {
            "action_id": asked.action_id,
            "step": asked.step,
            "epoch": asked.epoch,
            "owner": asked.host,
            "claimant": asked.claimant,
            "now": self._clock.now(),
            "lease": self._lease,
            "events": asked.events,
        }
        try:
            return await self._database.run(_begin, self._networks.binder, leave)
        except (Stale, Unavailable):
            raise
        except KilonovaError:
            return await self._database.run(_begin, None, leave)

    async def _grant(self, begun: engine.Begun, nics: list[Nic] | None) -> StepGranted:
        action, step = begun.action, begun.step
        if nics is None:
            nics = await self._allocate(begun) if step.needs_ports else []
        ticket: ImageTicket | None = None
        if step.provides:
            image_id = action.work.get("image_id", begun.server.image_id)
            ticket = await self._images.ticket(image_id) if image_id else None
        elif step.fetches:
            ticket = await self._images.ticket(action.input.get("image_id") or begun.server.image_id or "")
        upload = await self._upload(action) if step.uploads else None
        lease = self._config.lease
        return StepGranted(epoch=action.epoch, lease_seconds=lease, nics=nics, image=ticket, upload=upload)

    async def _upload(self, action: Action) -> ImageUpload | None:
        """The right to upload; None if an earlier try has done so, or there is no such image any more."""
        image = msgspec.convert(action.input["image"], NewImage)
        try:
            await self._images.reserve(image)  # whoever asked for it may have died before it came to that
            return await self._images.upload_ticket(image.id)
        except Unavailable:
            raise
        except KilonovaError as error:  # its user has deleted it, say; the step that settles tells of it
            log.warning("no image to upload", action=action.id, image=image.id, error=error.message)
            return None

    async def _allocate(self, begun: engine.Begun) -> list[Nic]:
        server = begun.server
        nics = await self._networks.allocate(server.id, server.project_id, begun.on_host, _requested(server))
        if not await self._database.run(engine.addressed, begun.action.id, server.id, nics):
            await self._give_back_if_leaving(server.id)
            raise Stale(f"server {server.id} is no longer held by action {begun.action.id}")
        return nics

    async def _give_back_if_leaving(self, server_id: str) -> None:
        """A delete came in between, and has perhaps given back what there was before we took this.

        The embedded network service refuses by itself then; others do not know our servers. A server that is held by nobody
        because its build has succeeded meanwhile (this was the same question, asked twice) keeps its ports.
        """
        server = await self._database.run(servers.find, server_id)
        if server is None or server.deleted_at is not None or server.task_state == TaskState.DELETING:
            await self._networks.release(server_id)

    async def _fail_here(self, begun: engine.Begun, error: KilonovaError) -> StepRefused:
        """No address left, or the image is gone: no host can mend that."""
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        timeline.add("conductor.provide", self._clock.now(), result="Error", details={"error": error.message})
        try:
            await self._end_failed(
                begun.action.id, begun.action.step, begun.action.epoch, error, timeline, retry=False
            )
        except Stale as stale:
            return StepRefused(reason=stale.message)
        return StepRefused(reason=error.message)

    async def progress(self, delivery: Delivery) -> Message:
        """Show where a step is."""
        asked = delivery.message
        assert isinstance(asked, ReportProgress)
        accepted = await self._database.run(engine.progress, asked.action_id, asked.epoch, asked.task_state)
        if not accepted or asked.move is None:
            return Verdict(accepted=accepted)
        wish = await self._database.run(moves.under_way, asked.action_id, asked.move, self._clock.now())
        return Verdict(accepted=True, wish=wish)

    async def finish(self, delivery: Delivery) -> Message:
        """A step is done; the last one ends the action."""
        asked = delivery.message
        assert isinstance(asked, FinishStep)
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        timeline.events = list(asked.events)
        timeline.message(delivery, "message.finish")
        timeline.add("conductor.record", delivery.received_at)
        for left in reversed(range(_REPEATS)):
            try:
                finished = await self._database.run(
                    engine.finish,
                    action_id=asked.action_id,
                    step=asked.step,
                    epoch=asked.epoch,
                    power_state=asked.power_state,
                    now=self._clock.now(),
                    lease=self._lease,
                    dispatch=self._dispatch,
                    owner=self._host,
                    output=asked.output,
                    events=timeline.events,
                )
                break
            except Stale as stale:
                # It may have lost to itself: a host asks again after a while. "Stale" would make it destroy a guest that counts.
                if not left:
                    return Verdict(accepted=False, reason=stale.message)
        if finished.following is not None:
            self._own.soon(finished.following)
        if finished.outgoing is not None:
            await self._send(asked.action_id, finished.outgoing)
        return Verdict(accepted=finished.accepted, reason=finished.reason)

    async def fail(self, delivery: Delivery) -> Message:
        """A step failed on its host and was undone there: another host, or the end."""
        asked = delivery.message
        assert isinstance(asked, FailStep)
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        timeline.events = list(asked.events)
        timeline.message(delivery, "message.fail")
        error = KilonovaError(asked.message, details=asked.details)
        try:
            await self._end_failed(
                asked.action_id,
                asked.step,
                asked.epoch,
                error,
                timeline,
                retry=asked.retry,
                guest_gone=asked.guest_gone,
            )
        except Stale as stale:
            return Verdict(accepted=False, reason=stale.message)
        return Verdict(accepted=True)

    async def _end_failed(
        self,
        action_id: str,
        step: str,
        epoch: int,
        error: KilonovaError,
        timeline: Timeline,
        *,
        retry: bool,
        guest_gone: bool = False,
    ) -> None:
        action = await self._database.run(actions.find, action_id)
        if action is None:
            raise Stale(f"action {action_id} is unknown")
        outgoing = await self._database.run(
            engine.fail,
            action_id=action_id,
            step=step,
            epoch=epoch,
            message=error.message,
            details=error.details,
            elsewhere=retry and may_retry_elsewhere(action, self._limits),
            host_failed=retry,
            guest_gone=guest_gone,
            now=self._clock.now(),
            dispatch=self._dispatch,
            events=timeline.events,
        )
        if outgoing is None:
            # Only now that it is over: the next host's build takes the ports over, and may have them already.
            if action.kind == CREATE.name:
                await self._networks.release(action.server_id)
            return
        await self._send(action_id, outgoing)

    async def _send(self, action_id: str, outgoing: Outgoing) -> None:
        try:
            await self._bus.cast(outgoing.queue, outgoing.message, outgoing.context)
        except Unavailable as failure:
            log.warning("the sweep will send this again", action=action_id, error=failure.message)


def _begin(
    connection: Connection, binder: Binder | None, leave: Mapping[str, Any]
) -> tuple[engine.Begun, list[Nic] | None]:
    begun = engine.begin(connection, **leave)
    if binder is None or not begun.step.needs_ports:
        return begun, None
    server = begun.server
    nics = binder(connection, server.id, server.project_id, begun.on_host, _requested(server))
    if not engine.addressed(connection, begun.action.id, server.id, nics):
        raise Stale(f"server {server.id} is no longer held by action {begun.action.id}")
    return begun, nics


def _requested(server: Server) -> list[RequestedNic]:
    return [RequestedNic(**nic) for nic in server.networks]
