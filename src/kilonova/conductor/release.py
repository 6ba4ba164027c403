"""The last step of a delete: give back ports, allocations and quota, and mark the server deleted."""

import asyncio

import structlog

from kilonova.config import ActionsConfig
from kilonova.database import engine, servers
from kilonova.database.connection import Database
from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import Message, PerformStep
from kilonova.model.action import Action
from kilonova.model.clock import Clock, Ids
from kilonova.model.errors import KilonovaError, Stale, Unavailable
from kilonova.network.protocol import NetworkService
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()


class Releaser:
    """Performs the step ``release``. Whatever interrupts it, the sweep asks for it again."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        networks: NetworkService,
        *,
        host: str,
        config: ActionsConfig,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._networks = networks
        self._host = host
        self._lease = int(config.lease * 1_000_000)
        self._tasks: set[asyncio.Task[None]] = set()

    def soon(self, action: Action) -> None:
        """Perform it right after the answer that is being given now; the lease is ours already."""
        task = asyncio.get_running_loop().create_task(self._follow_up(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tidy(self, stranded: list[str]) -> None:
        """Give back the ports of servers that no host could take: whoever ended them may have had no network service at hand."""
        for server_id in stranded:
            try:
                await self._networks.release(server_id)
            except Unavailable:
                raise
            except KilonovaError as error:
                log.warning("ports not given back yet", server=server_id, error=error.message)
                continue
            await self._database.run(servers.forget_addresses, server_id)

    async def _follow_up(self, action: Action) -> None:
        try:
            await self._release(action.id, action.server_id, action.epoch)
        except KilonovaError as error:
            log.warning("the sweep will release this server", server=action.server_id, error=error.message)

    async def perform(self, delivery: Delivery) -> Message | None:
        """The step as a message: a server that was on no host, or one the sweep sent."""
        asked = delivery.message
        assert isinstance(asked, PerformStep)
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        timeline.message(delivery, "message.release")
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
            await self._release(begun.action.id, begun.server.id, begun.action.epoch)
        except Stale as stale:
            log.info("step dropped", action=asked.action_id, reason=stale.message)
        except Unavailable as error:
            # The database has the action: the sweep asks again. A message that comes back would only be a second hint.
            log.warning("the sweep will release this server", server=asked.server_id, error=error.message)
        return None

    async def _release(self, action_id: str, server_id: str, epoch: int) -> None:
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        with timeline.span("release"):
            await self._networks.release(server_id)
        await self._database.run(
            engine.finish,
            action_id=action_id,
            step="release",
            epoch=epoch,
            power_state=None,
            now=self._clock.now(),
            lease=self._lease,
            owner=self._host,
            events=timeline.events,
        )
