"""The bus between processes: RabbitMQ, spoken to through aiormq (the protocol layer of aio-pika).

Casts wait in durable quorum queues under their own names; calls in transient queues beside them (``call.<queue>``),
so that asking costs no disk and a question to nobody comes back at once; topics are fanout exchanges.
"""

import asyncio
import itertools

import msgspec
from aiormq import spec

from kilonova.messaging.broker_link import REPLY_QUEUE, BrokerLink, RandomSource, call_queue, exchange, translated
from kilonova.messaging.broker_subscription import BrokerSubscription, QueueSubscription, TopicSubscription
from kilonova.messaging.bus import CallTimeout, Handler, Unroutable
from kilonova.messaging.contract import Message
from kilonova.messaging.envelope import open_answer, seal
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import Clock
from kilonova.model.context import RequestContext

_TRANSIENT = 1
_PERSISTENT = 2
_AFTER_DELETION = 0.25


class RabbitBus:
    """Implements ``Bus`` over one connection of this process.

    ``url`` is ``amqp[s]://user:password@host:port[,host:port…]/vhost``; several hosts are the nodes of one cluster.
    Raises ``Misconfigured`` if it is not. While the broker is away, everything raises ``BusUnavailable`` at once,
    and what was served before is served again when it is back.
    """

    volatile = False

    def __init__(self, url: str, clock: Clock, rng: RandomSource, settings: BusSettings | None = None) -> None:
        self.settings = settings or BusSettings()
        self._clock = clock
        self._link = BrokerLink(url, clock, rng, self.settings)
        self._numbers = itertools.count(1)
        self._subscriptions: list[BrokerSubscription] = []

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def start(self) -> None:
        await self._link.open()

    async def cast(self, queue: str, message: Message, context: RequestContext) -> None:
        session = self._link.session()
        body = seal(message, context, self._clock.now())
        number = str(next(self._numbers))
        async with translated(f"it should queue a message for {queue!r}", self._link.address):
            async with asyncio.timeout(self.settings.publish_timeout):
                await session.declare_queue(queue)
                properties = spec.Basic.Properties(delivery_mode=_PERSISTENT, message_id=number)
                try:
                    await session.publish(body, to=queue, properties=properties)
                except Unroutable:
                    # Deleted since we declared it, by an operator. Made again in the same moment, RabbitMQ 3.10
                    # does not tell its consumers, and they would wait on the old queue for ever.
                    session.forget(queue)
                    await self._clock.sleep(_AFTER_DELETION)
                    await session.declare_queue(queue)
                    await session.publish(body, to=queue, properties=properties)

    async def call(self, queue: str, message: Message, context: RequestContext, *, timeout: float) -> Message:
        session = self._link.session()
        now = self._clock.now()
        deadline = now + int(timeout * 1_000_000)
        if context.deadline is None or deadline < context.deadline:
            context = msgspec.structs.replace(context, deadline=deadline)
        number = str(next(self._numbers))
        properties = spec.Basic.Properties(
            delivery_mode=_TRANSIENT,
            message_id=number,
            correlation_id=number,
            reply_to=REPLY_QUEUE,
            expiration=str(max(0, int(timeout * 1000))),
        )
        body = seal(message, context, now)
        with session.expecting(number) as answer:
            try:
                async with asyncio.timeout(timeout):
                    async with translated(f"it should pass a call to {queue!r}", self._link.address):
                        async with asyncio.timeout(self.settings.publish_timeout):
                            await session.publish(body, to=call_queue(queue), properties=properties)
                    reply: bytes = await answer
            except TimeoutError:
                raise CallTimeout(
                    f"No answer to {type(message).__name__} from {queue!r} within {timeout:g} s"
                ) from None
        return open_answer(reply)

    async def fanout(self, topic: str, message: Message, context: RequestContext) -> None:
        session = self._link.session()
        body = seal(message, context, self._clock.now())
        properties = spec.Basic.Properties(delivery_mode=_TRANSIENT, message_id=str(next(self._numbers)))
        async with translated(f"it should tell the topic {topic!r}", self._link.address):
            async with asyncio.timeout(self.settings.publish_timeout):
                await session.declare_exchange(topic)
                await session.publish(body, to="", via=exchange(topic), properties=properties, mandatory=False)

    async def serve(
        self, queue: str, handler: Handler, *, concurrency: int, durable: bool = True
    ) -> BrokerSubscription:
        return await self._begin(QueueSubscription(self._link, queue, handler, concurrency, durable))

    async def listen(self, topic: str, handler: Handler) -> BrokerSubscription:
        return await self._begin(TopicSubscription(self._link, topic, handler))

    async def _begin(self, subscription: BrokerSubscription) -> BrokerSubscription:
        self._link.session()
        await subscription.begin()
        self._subscriptions = [*(other for other in self._subscriptions if other.serving), subscription]
        return subscription

    async def close(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
        await self._link.close()
