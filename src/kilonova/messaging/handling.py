"""What every bus does around a handler: one attempt at a cast, the answer to a call, the words about failures."""

import logging

from kilonova.messaging.bus import Delivery, Handler, RemoteFailure
from kilonova.messaging.contract import Acknowledged
from kilonova.messaging.envelope import answer_error, answer_with
from kilonova.messaging.settings import BusSettings, doubled
from kilonova.model.clock import Clock
from kilonova.model.errors import KilonovaError

log = logging.getLogger(__name__)


def _words(delivery: Delivery) -> str:
    return f"{type(delivery.message).__name__} from {delivery.queue!r} (request {delivery.context.request_id})"


async def attempt_cast(handler: Handler, delivery: Delivery, clock: Clock, settings: BusSettings) -> bool:
    """Whether the handler did it. After a failure it returns when the message may be tried again."""
    try:
        await handler(delivery)
    except Exception as error:
        last = delivery.attempt >= settings.delivery_limit
        log.warning(
            "Attempt %d of %d at %s failed: %s; %s",
            delivery.attempt,
            settings.delivery_limit,
            _words(delivery),
            error,
            "it goes to dead-letter" if last else "it will be tried again",
            exc_info=not isinstance(error, KilonovaError),
        )
        if not last:
            pause = doubled(settings.redelivery_delay, settings.redelivery_delay_max, delivery.attempt - 1)
            if pause > 0:
                await clock.sleep(pause)
        return False
    return True


async def answer_call(handler: Handler, delivery: Delivery) -> bytes:
    """The body of the answer, good or bad. What an unexpected error says stays in our log: it may hold secrets."""
    try:
        return answer_with(await handler(delivery) or Acknowledged())
    except KilonovaError as error:
        return answer_error(error)
    except Exception:
        log.exception("%s failed in a way its handler did not expect", _words(delivery))
        return answer_error(
            RemoteFailure(
                f"{type(delivery.message).__name__} failed at the service behind {delivery.queue!r}; "
                f"its log has the reason under {delivery.context.request_id}"
            )
        )


async def hear(handler: Handler, delivery: Delivery) -> None:
    """Give a listener one message; a failure loses it."""
    try:
        await handler(delivery)
    except Exception:
        log.exception("A listener failed at %s", _words(delivery))


def unreadable_call(queue: str) -> bytes:
    """The answer to a call that does not decode."""
    return answer_error(
        RemoteFailure(f"The service behind {queue!r} does not know this message; is it of an older release?")
    )
