"""The ``Bus`` protocol: the only road between the sub-services.

What it promises, on every implementation (``tests/contract/test_bus.py``):

- ``cast`` returns when the message is durably queued (RabbitMQ: confirmed by a quorum), or raises
  ``BusUnavailable`` at once-ish. It never blocks for longer than the bus's publish timeout.
- **At least once**: a message is acknowledged only after its handler returned; a handler or process that
  dies has it delivered again. Handlers are idempotent.
- A handler that raises has the message delivered again, ``delivery_limit`` times in all; then it goes to the
  queue ``dead-letter`` as it was, with the reason.
- ``call`` waits for the one answer of whoever serves the queue, at most ``timeout`` seconds. Calls are not
  durable: nobody there is ``Unroutable`` at once, a handler's ``KilonovaError`` is raised here again
  as the same class with the same message, anything else is ``RemoteFailure``.
- A handler of a call that returns nothing answers ``Acknowledged``. It sees the deadline by which the caller
  gives up; a call that arrives after it is dropped.
- Casts and calls to one queue may overtake each other; casts among themselves arrive in the order in which
  they were queued, and with ``concurrency=1`` are handled so.
- A message that does not decode goes to ``dead-letter`` at once, and is ``Unreadable`` there.
- Coming again for whatever reason (failure, death or stop of its server) counts as one more attempt.
- A full queue or a broker that is gone refuses; nothing is buffered without bound. ``dead-letter`` and topics
  drop their oldest messages instead.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from kilonova.messaging.contract import Message
from kilonova.model.context import RequestContext
from kilonova.model.errors import Unavailable

DEAD_LETTER = "dead-letter"


class BusUnavailable(Unavailable):
    """The broker does not take messages now. The sweep will send again what must not be lost."""


class Unroutable(BusUnavailable):
    """Nobody serves that queue."""


class CallTimeout(Unavailable):
    """No answer in time. The work may or may not have been done."""


class RemoteFailure(Unavailable):
    """The other side failed in a way it did not expect; its log has the traceback."""


class Unreadable(Message, frozen=True, kw_only=True):
    """What a handler of ``dead-letter`` gets for a message that did not decode: its text, and what was wrong."""

    text: str
    error: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a handler gets it.

    ``sent_at`` and ``received_at`` are microseconds since the epoch (sender's and receiver's clock);
    ``attempt`` counts from 1; ``dead_reason`` is set only on messages taken from ``dead-letter``
    (``delivery_limit``: its handler failed too often; ``rejected``: it did not decode), and ``dead_queue`` says
    where they came from.
    """

    message: Message
    context: RequestContext
    queue: str
    sent_at: int
    received_at: int
    attempt: int = 1
    dead_reason: str | None = None
    dead_queue: str | None = None


Handler = Callable[[Delivery], Awaitable[Message | None]]
"""Does the work of one message. What it returns is the answer, if the sender waits for one."""


class Subscription(Protocol):
    """A queue being served."""

    async def drain(self, timeout: float) -> bool:
        """Take no more, wait for what runs, at most ``timeout`` seconds. True if all of it ended."""
        ...

    async def stop(self) -> None:
        """Take no more and cancel what runs; unfinished messages are delivered again, to whoever serves next."""
        ...


class Bus(Protocol):
    """The road itself."""

    async def start(self) -> None:
        """Connect. Raises ``BusUnavailable`` with the broker's address if it cannot within the connect timeout."""
        ...

    async def cast(self, queue: str, message: Message, context: RequestContext) -> None:
        """Put one message on a queue. The queue is created if nobody ever served it."""
        ...

    async def call(self, queue: str, message: Message, context: RequestContext, *, timeout: float) -> Message:
        """Put one message on a queue and wait for the answer."""
        ...

    async def fanout(self, topic: str, message: Message, context: RequestContext) -> None:
        """Tell everybody who listens now. May be lost: only hints travel this way."""
        ...

    async def serve(self, queue: str, handler: Handler, *, concurrency: int, durable: bool = True) -> Subscription:
        """Take messages from a queue, at most ``concurrency`` at once. Several servers share one queue.

        ``durable=False`` is for queues that only carry calls.
        """
        ...

    async def listen(self, topic: str, handler: Handler) -> Subscription:
        """Hear what is said to everybody on ``topic``."""
        ...

    @property
    def volatile(self) -> bool:
        """Whether messages die with the process."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached now."""
        ...

    async def close(self) -> None:
        """Stop serving and leave. Messages being handled are delivered again."""
        ...
