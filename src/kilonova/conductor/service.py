"""nova-conductor: the database for compute nodes, the sweep, the dead letters."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from kilonova.conductor.dead_letters import DeadLetters
from kilonova.conductor.due import Due
from kilonova.conductor.forgetting import Forgetting
from kilonova.conductor.hosts import Hosts
from kilonova.conductor.own_steps import OwnSteps
from kilonova.conductor.release import Releaser
from kilonova.conductor.snapshots import Snapshots
from kilonova.conductor.steps import Steps
from kilonova.conductor.sweep import Sweep
from kilonova.config import Config
from kilonova.database.connection import Database
from kilonova.image.protocol import ImageService
from kilonova.messaging.bus import DEAD_LETTER, Bus, Delivery, Subscription
from kilonova.messaging.contract import CONDUCTOR, Message, PerformStep
from kilonova.model.clock import Clock, Ids
from kilonova.model.errors import Invalid
from kilonova.network.protocol import NetworkService

log = structlog.get_logger()

_CONCURRENCY = 64


class Conductor:
    """One nova-conductor. Any number of them share the queue ``conductor``."""

    def __init__(
        self,
        config: Config,
        database: Database,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        networks: NetworkService,
        images: ImageService,
        *,
        host: str,
    ) -> None:
        self._bus = bus
        snapshots = Snapshots(database, images)
        releaser = Releaser(database, networks, snapshots)
        own = {
            "settle_image": snapshots.settle,
            "forget_image": snapshots.forget,
            "release": releaser.release,
        }
        self._own = OwnSteps(database, bus, clock, ids, own, host=host, config=config.actions)
        steps = Steps(database, bus, clock, networks, images, self._own, host=host, config=config.actions)
        hosts = Hosts(database, clock, ids, config=config.actions)
        self._due = Due(database, bus, clock, ids, host=host, config=config)
        self._forgetting = Forgetting(database, clock, config.scheduler)
        self.sweep = Sweep(
            database,
            bus,
            clock,
            host=host,
            config=config.actions,
            membership_config=config.membership,
            tidy=releaser.tidy,
            ask_for_due=self._look_after,
        )
        self._dead_letters = DeadLetters(database, clock)
        self._handlers: dict[type[Message], Callable[[Delivery], Awaitable[Message | None]]] = {
            **steps.handlers(),
            **hosts.handlers(),
            PerformStep: self._own.perform,
        }
        self._subscriptions: list[Subscription] = []
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer, and to sweep."""
        self._subscriptions = [
            await self._bus.serve(CONDUCTOR, self.handle, concurrency=_CONCURRENCY),
            await self._bus.serve(DEAD_LETTER, self._dead_letters.handle, concurrency=1),
        ]
        self.sweep.distrust()
        if self._bus.volatile:
            await self.sweep.resume_all()
        self._sweeping = asyncio.get_running_loop().create_task(self.sweep.run(), name="sweep")

    async def _look_after(self) -> None:
        """What every sweep does beside mending late actions."""
        await self._due.once()
        await self._forgetting.once()

    async def drain(self, timeout: float) -> None:
        """Take no more, finish what runs."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for subscription in self._subscriptions:
            await subscription.drain(timeout)
        await self._own.drain()

    async def handle(self, delivery: Delivery) -> Message | None:
        """One message of the queue."""
        handler = self._handlers.get(type(delivery.message))
        if handler is None:
            raise Invalid(f"the conductor does not know {type(delivery.message).__name__}")
        return await handler(delivery)
