"""The steps that nova-conductor performs itself, each by the name it has in its kind of action.

A step is given the action and returns what it adds to the action's ``work``; whatever interrupts it, the sweep asks for it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from kilonova.config import ActionsConfig
from kilonova.database import engine
from kilonova.database.connection import Database
from kilonova.messaging.bus import Bus, Delivery
from kilonova.messaging.contract import Message, PerformStep
from kilonova.model.action import Action
from kilonova.model.clock import Clock, Ids
from kilonova.model.errors import Invalid, KilonovaError, Stale, Unavailable
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()

OwnStep = Callable[[Action], Awaitable[dict[str, Any]]]


class OwnSteps:
    """Takes the lease, performs, records the end, and goes on to the step that follows."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        steps: Mapping[str, OwnStep],
        *,
        host: str,
        config: ActionsConfig,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._steps = steps
        self._host = host
        self._lease = int(config.lease * 1_000_000)
        self._dispatch = int(config.dispatch * 1_000_000)
        self._tasks: set[asyncio.Task[None]] = set()

    def soon(self, action: Action) -> None:
        """Perform its step right after the answer that is being given now; the lease is ours already."""
        task = asyncio.get_running_loop().create_task(self._follow_up(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow_up(self, action: Action) -> None:
        try:
            await self._work(action)
        except KilonovaError as error:
            log.warning("the sweep will send this step", action=action.id, step=action.step, error=error.message)

    async def perform(self, delivery: Delivery) -> Message | None:
        """The step as a message: the first of an action, or one the sweep sent."""
        asked = delivery.message
        assert isinstance(asked, PerformStep)
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        timeline.message(delivery, f"message.{asked.step}")
        try:
            begun = await self._database.run(
                engine.begin,
                action_id=asked.action_id,
                step=asked.step,
                epoch=asked.epoch,
                owner=self._host,
                claimant=self._ids.uuid(),
                now=self._clock.now(),
                lease=self._lease,
                events=timeline.take(),
            )
            await self._work(begun.action)
        except Stale as stale:
            log.info("step dropped", action=asked.action_id, reason=stale.message)
        except Unavailable as error:
            # The database has the action: the sweep asks again. A message that comes back would only be a second hint.
            log.warning("the sweep will send this step", action=asked.action_id, error=error.message)
        return None

    async def _work(self, action: Action) -> None:
        perform = self._steps.get(action.step)
        if perform is None:
            raise Invalid(f"nova-conductor does not know the step {action.step!r}")
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        try:
            with timeline.span(action.step):
                output = await perform(action)
        except (Stale, Unavailable):
            raise
        except KilonovaError as error:
            await self._fail(action, error, timeline)
            return
        finished = await self._database.run(
            engine.finish,
            action_id=action.id,
            step=action.step,
            epoch=action.epoch,
            power_state=None,
            now=self._clock.now(),
            lease=self._lease,
            dispatch=self._dispatch,
            owner=self._host,
            output=output,
            events=timeline.events,
        )
        if finished.following is not None:
            self.soon(finished.following)
        if finished.outgoing is not None:
            await self._bus.cast(finished.outgoing.queue, finished.outgoing.message, finished.outgoing.context)

    async def _fail(self, action: Action, error: KilonovaError, timeline: Timeline) -> None:
        """It cannot be done. What only goes forward waits for the sweep, anything else ends here."""
        log.warning("step failed", action=action.id, step=action.step, error=error.message)
        await self._database.run(
            engine.fail,
            action_id=action.id,
            step=action.step,
            epoch=action.epoch,
            message=error.message,
            details=error.details,
            elsewhere=False,
            now=self._clock.now(),
            dispatch=self._dispatch,
            events=timeline.events,
        )
