"""One step being performed on a host: its lease, its timeline, and how its end is reported.

The rule of the fence: a prepared guest may run only after :meth:`StepRun.finish` said that the database has it. If the word is
"stale", what was made is unmade; if there is no word at all, nothing is done and reconcile decides later.
"""

from typing import Any

import structlog

from kilonova.compute.conductor import ConductorClient
from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import (
    BeginStep,
    FailStep,
    FinishStep,
    MoveProgress,
    PerformStep,
    ReportProgress,
    StepGranted,
    StepRefused,
    Verdict,
)
from kilonova.model.clock import Clock
from kilonova.model.context import RequestContext
from kilonova.model.errors import GuestGone, HostFault, KilonovaError, Stale, Unavailable
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()


class StepRun:
    """A step of an action on this host. ``epoch`` and ``granted`` are known once it was begun.

    ``finishing`` from the moment its end may stand in the database, whether we have heard so or not.
    """

    def __init__(
        self,
        conductor: ConductorClient,
        clock: Clock,
        host: str,
        asked: PerformStep,
        context: RequestContext,
        claimant: str,
    ) -> None:
        self._conductor = conductor
        self._host = host
        self._claimant = claimant
        self._context = context
        self._lease = 0.0
        self.asked = asked
        self.epoch = asked.epoch
        self.granted: StepGranted | None = None
        self.astray = False  # it has ended, and the guest may not be as the database will have it
        self.finishing = False  # its end is with the conductor: from here on only the verdict decides
        self.timeline = Timeline(clock, "nova-compute", host)

    @property
    def in_place(self) -> bool:
        """Whether it is part of a move that ends on the host where it begins."""
        source = self.asked.work.get("source")
        return source is not None and source == self.asked.work.get("destination")

    async def begin(self, delivery: Delivery | None, patience: float) -> StepGranted | None:
        """Take the lease; None if the step is somebody else's by now."""
        if delivery is not None:
            self.timeline.message(delivery, f"message.{self.asked.step}")
        question = BeginStep(
            action_id=self.asked.action_id,
            step=self.asked.step,
            epoch=self.asked.epoch,
            host=self._host,
            claimant=self._claimant,
            events=self.timeline.take(),
        )
        with self.timeline.span("lease"):
            answer = await self._conductor.choose(question, self._context, patience=patience)
        if isinstance(answer, StepRefused):
            log.info("step dropped", action=self.asked.action_id, step=self.asked.step, reason=answer.reason)
            return None
        if not isinstance(answer, StepGranted):
            raise Unavailable(f"the conductor answered BeginStep with {type(answer).__name__}")
        self.epoch = answer.epoch
        self.granted = answer
        self._lease = answer.lease_seconds
        return answer

    async def progress(self, task_state: str) -> None:
        """Show where the step is. A lost report loses nothing but the show; a stale epoch raises ``Stale``."""
        try:
            verdict = await self._conductor.ask(
                ReportProgress(action_id=self.asked.action_id, epoch=self.epoch, task_state=task_state),
                Verdict,
                self._context,
            )
        except Unavailable as error:
            log.info("progress not reported", action=self.asked.action_id, error=error.message)
            return
        if not verdict.accepted:
            raise Stale(f"action {self.asked.action_id} is past epoch {self.epoch}")

    async def wish(self, move: MoveProgress) -> str:
        """Tell how far a live migration is, and hear what an operator wishes; a stale epoch raises ``Stale``."""
        report = ReportProgress(action_id=self.asked.action_id, epoch=self.epoch, task_state="migrating", move=move)
        try:
            verdict = await self._conductor.ask(report, Verdict, self._context)
        except Unavailable as error:
            log.info("progress not reported", action=self.asked.action_id, error=error.message)
            return ""
        if not verdict.accepted:
            raise Stale(f"action {self.asked.action_id} is past epoch {self.epoch}")
        return verdict.wish

    async def finish(self, power_state: int | None = None, output: dict[str, Any] | None = None) -> None:
        """Report that all is done. Raises ``Stale`` if a successor took over, ``Unavailable`` if there is no word."""
        self.finishing = True
        verdict = await self._conductor.ask(
            FinishStep(
                action_id=self.asked.action_id,
                step=self.asked.step,
                epoch=self.epoch,
                host=self._host,
                power_state=power_state,
                output=output or {},
                events=self.timeline.take(),
            ),
            Verdict,
            self._context,
            patience=self._lease,
        )
        if not verdict.accepted:
            raise Stale(verdict.reason)

    async def fail(self, error: Exception) -> None:
        """Report that it failed and that nothing of it is left here."""
        known = isinstance(error, KilonovaError)
        message = error.message if isinstance(error, KilonovaError) else "The compute host failed unexpectedly."
        details = error.details if isinstance(error, KilonovaError) else f"{type(error).__name__}: {error}"
        self.timeline.failure(f"{self.asked.step}.failure", message, details)
        try:
            await self._conductor.ask(
                FailStep(
                    action_id=self.asked.action_id,
                    step=self.asked.step,
                    epoch=self.epoch,
                    host=self._host,
                    message=message,
                    details=details,
                    guest_gone=isinstance(error, GuestGone),
                    retry=error.retry if isinstance(error, HostFault) else not known,
                    events=self.timeline.take(),
                ),
                Verdict,
                self._context,
                patience=self._lease,
            )
        except Unavailable as unheard:
            log.warning(
                "failure not reported; the sweep finds it", action=self.asked.action_id, error=unheard.message
            )
