"""Messages nobody could handle: the action behind each is failed with a reason, so its server is not stuck."""

import structlog

from kilonova.database import actions, engine
from kilonova.database.connection import Database
from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import Message
from kilonova.model.clock import Clock
from kilonova.model.errors import Stale

log = structlog.get_logger()


class DeadLetters:
    """Serves the queue ``dead-letter``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def handle(self, delivery: Delivery) -> Message | None:
        """Fail the action that the message belongs to, if it is still the one the message speaks of."""
        action_id = getattr(delivery.message, "action_id", None)
        log.error(
            "dead letter",
            message=type(delivery.message).__name__,
            queue=delivery.dead_queue,
            reason=delivery.dead_reason,
            action=action_id,
        )
        if action_id is None:
            return None
        action = await self._database.run(actions.find, action_id)
        if (
            action is None
            or action.finished_at is not None
            or action.epoch != getattr(delivery.message, "epoch", None)
        ):
            return None  # it went on without this message
        reason = f"'{action.kind}' failed at its step '{action.step}': its message could not be handled"
        try:
            await self._database.run(
                engine.fail,
                action_id=action.id,
                step=action.step,
                epoch=action.epoch,
                message=f"{reason}. An administrator finds the cause in the log under {action.request_id}.",
                details=delivery.dead_reason or "",
                elsewhere=False,
                now=self._clock.now(),
                dispatch=0,
                events=[],
            )
        except Stale:
            log.info("dead letter of an action that moved on", action=action_id)
        return None
