"""How nova-compute speaks to nova-conductor: typed questions, asked again while there is time.

A question that is repeated means the same: every answer of the conductor is idempotent. So a try is given up early, as whoever
was to answer may have died with the question; the second one is given longer. ``Unavailable`` comes out only after the time
is up.
"""

from typing import TypeVar

from kilonova.messaging.bus import Bus, CallTimeout
from kilonova.messaging.contract import CONDUCTOR, Message
from kilonova.model.clock import Clock, Random
from kilonova.model.context import RequestContext
from kilonova.model.errors import Unavailable

FIRST_TRY = 3.0
"""Seconds an answer may take before the question is asked again. Only the first time: whoever does not answer twice has too much
to do, and more questions would make it worse; then ``messaging.call_timeout`` holds."""

M = TypeVar("M", bound=Message)


class ConductorClient:
    """The road to the conductor."""

    def __init__(self, bus: Bus, clock: Clock, random: Random, *, timeout: float) -> None:
        self._bus = bus
        self._clock = clock
        self._random = random
        self._timeout = timeout

    async def ask(self, question: Message, answer: type[M], context: RequestContext, *, patience: float = 0.0) -> M:
        """One question; for ``patience`` seconds it is asked again when there is no answer."""
        reply = await self._ask(question, context, patience)
        if not isinstance(reply, answer):
            raise Unavailable(f"the conductor answered {type(question).__name__} with {type(reply).__name__}")
        return reply

    async def choose(self, question: Message, context: RequestContext, *, patience: float) -> Message:
        """One question with several kinds of answer."""
        return await self._ask(question, context, patience)

    async def _ask(self, question: Message, context: RequestContext, patience: float) -> Message:
        until = self._clock.monotonic() + patience
        delay, timeout = 0.1, FIRST_TRY
        while True:
            try:
                return await self._bus.call(CONDUCTOR, question, context, timeout=min(timeout, self._timeout))
            except CallTimeout:
                timeout = self._timeout
                if self._clock.monotonic() + delay >= until:
                    raise
            except Unavailable:
                if self._clock.monotonic() + delay >= until:
                    raise
            await self._clock.sleep(delay * self._random.uniform(0.5, 1.0))
            delay = min(delay * 2, 2.0)
