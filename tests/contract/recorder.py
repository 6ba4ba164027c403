"""A handler that remembers, and what else the tests of the buses share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kilonova.messaging.bus import Bus, Delivery
from kilonova.messaging.contract import Message, Ping
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import SystemClock
from kilonova.model.context import RequestContext

DEADLINE = 20.0
SETTINGS = BusSettings(
    delivery_limit=3, redelivery_delay=0.0, reconnect_delay=0.02, reconnect_delay_max=0.2, publish_timeout=3.0
)
CONTEXT = RequestContext(request_id="req-1")

MakeBus = Callable[..., Awaitable[Bus]]


class Alien(Message, frozen=True, kw_only=True):
    """A message of a release to come: it can be sent, and nobody here knows it."""

    text: str


@dataclass
class Recorder:
    """A handler that keeps what it gets, and does ``work`` with it."""

    work: Callable[[Delivery], Awaitable[Message | None]] | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, delivery: Delivery) -> Message | None:
        self.deliveries.append(delivery)
        self.arrived.set()
        return await self.work(delivery) if self.work else None

    async def wait_for(self, count: int) -> list[Delivery]:
        async with asyncio.timeout(DEADLINE):
            while len(self.deliveries) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.deliveries

    @property
    def texts(self) -> list[str]:
        return [delivery.message.text for delivery in self.deliveries if isinstance(delivery.message, Ping)]


async def until(condition: Callable[[], bool]) -> None:
    """Yield to the loop until ``condition``; for states that have no event of their own."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await SystemClock().sleep(0.01)
