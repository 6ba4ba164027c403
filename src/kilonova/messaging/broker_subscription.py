"""Serving a queue of the broker: consumers that come back by themselves, and the handlers they feed."""

import asyncio
import contextlib
from collections import deque
from typing import Any

import aiormq
import msgspec
from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from kilonova.messaging.broker_link import (
    BROKEN,
    BrokerLink,
    Session,
    call_queue,
    exchange,
    open_channel,
    watch,
)
from kilonova.messaging.bus import DEAD_LETTER, BusUnavailable, Delivery, Handler, Unreadable
from kilonova.messaging.envelope import Envelope, unseal
from kilonova.messaging.handling import answer_call, attempt_cast, hear, log, unreadable_call
from kilonova.model.context import RequestContext

# How long, in seconds, a broker that may be gone is given to answer when we leave.
_FAREWELL = 2.0

Job = tuple[Channel, DeliveredMessage]


class BrokerSubscription:
    """What ``serve`` and ``listen`` have in common: one channel, at most ``concurrency`` handlers at once.

    A lost channel (with its connection or alone) is replaced by a new one. Handlers that run meanwhile go on;
    their acknowledgement is lost with the channel, so their message comes again.
    """

    def __init__(self, link: BrokerLink, name: str, handler: Handler, concurrency: int) -> None:
        self.name = name
        self.link = link
        self.handler = handler
        self.concurrency = concurrency
        self._taking = True
        self._running: dict[asyncio.Task[None], Job] = {}
        self._waiting: deque[Job] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._consumers: dict[str, str] = {}
        self._channel: Channel | None = None
        self._attached = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    # --- what the kinds of subscription say --------------------------------------------------------------

    async def consume(self, session: Session, channel: Channel) -> None:
        """Declare what is needed and begin to consume."""
        raise NotImplementedError

    async def handle(self, channel: Channel, message: DeliveredMessage) -> None:
        """Handle one message to the end, the acknowledgement included."""
        raise NotImplementedError

    # --- life --------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Return when the broker feeds us. Raises ``BusUnavailable`` if it does not within the connect timeout."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        try:
            async with asyncio.timeout(self.link.settings.connect_timeout):
                await self._attached.wait()
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise BusUnavailable(
                    f"RabbitMQ at {self.link.address} does not let us serve the queue {self.name!r}; its log says why"
                ) from None
            raise

    async def _keep(self) -> None:
        failures = 0
        while True:
            session = await self.link.next_session()
            over = await self._try_attach(session)
            if over is None:
                await self.link.pause(failures)
                failures += 1
                continue
            failures = 0
            self._attached.set()
            await over.wait()
            await self._detach()
            if not session.lost.is_set():
                log.warning("The broker ended our serving of %r; beginning again", self.name)
                session.forget(self.name)
                await self.link.pause(failures)

    async def _try_attach(self, session: Session) -> asyncio.Event | None:
        """As ``_attach``, but None if it failed for whatever reason: to give up would be to stay deaf for ever."""
        try:
            return await self._attach(session)
        except Exception as error:
            if not session.lost.is_set():
                reason = self.link.address.redacted(error) or type(error).__name__
                log.warning("Cannot serve %r: %s; trying again", self.name, reason)
        except asyncio.CancelledError:
            # aiormq cancels what waits on a connection that closes; then this is not meant for us.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        session.forget(self.name)
        return None

    async def _attach(self, session: Session) -> asyncio.Event:
        """Consume on a new channel. The event is set when that is over."""
        over = asyncio.Event()
        channel = await open_channel(session.connection)
        try:
            watch(channel, over)
            # The broker cancels consumers of a queue that is deleted, and then leaves the channel open.
            channel.on_consumer_cancel_callbacks.add(lambda _: over.set())
            await channel.basic_qos(prefetch_count=self.concurrency)
            self._channel = channel
            self._consumers = {}
            await self.consume(session, channel)
        except BaseException:
            await self._detach()
            raise
        return over

    async def _detach(self) -> None:
        channel, self._channel = self._channel, None
        self._waiting = deque(job for job in self._waiting if job[0] is not channel)
        if channel is not None:
            with contextlib.suppress(*BROKEN):
                await channel.close(timeout=_FAREWELL)

    async def consume_from(self, channel: Channel, queue: str) -> None:
        """Feed what is on ``queue`` to the handlers."""

        async def on_message(message: DeliveredMessage) -> None:
            self._accept((channel, message))

        answer = await channel.basic_consume(queue, on_message)
        self._consumers[queue] = str(answer.consumer_tag)

    def _accept(self, job: Job) -> None:
        if self._taking and len(self._running) < self.concurrency:
            self._start(job)
        else:
            self._waiting.append(job)

    def _start(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self.handle(*job))
        self._running[task] = job
        self._idle.clear()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("Serving %r failed at a message", self.name, exc_info=task.exception())
        while self._taking and self._waiting and len(self._running) < self.concurrency:
            self._start(self._waiting.popleft())
        if not self._running:
            self._idle.set()

    @property
    def serving(self) -> bool:
        """Whether it takes messages, or would if the broker were there."""
        return self._taking

    async def drain(self, timeout: float) -> bool:
        """See ``Subscription``. What the broker had sent and no handler has begun goes back at once."""
        await self._take_no_more()
        await self._cancel_consumers()
        while self._waiting:
            channel, message = self._waiting.popleft()
            await settle(channel.basic_reject(tag(message), requeue=True, wait=False))
        if self._running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._idle.wait()
        done = not self._running
        if done:
            await self._detach()
        return done

    async def stop(self) -> None:
        """See ``Subscription``. Closing the channel is what gives unfinished messages back."""
        await self._take_no_more()
        for task in list(self._running):
            task.cancel()
        await self._idle.wait()
        await self._detach()

    async def _take_no_more(self) -> None:
        self._taking = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _cancel_consumers(self) -> None:
        channel = self._channel
        consumers, self._consumers = self._consumers, {}
        if channel is not None:
            for consumer in consumers.values():
                await settle(channel.basic_cancel(consumer, timeout=_FAREWELL))


class QueueSubscription(BrokerSubscription):
    """Serves a queue: its casts if ``durable``, and its calls."""

    def __init__(self, link: BrokerLink, name: str, handler: Handler, concurrency: int, durable: bool) -> None:
        super().__init__(link, name, handler, concurrency)
        self._durable = durable

    async def consume(self, session: Session, channel: Channel) -> None:
        if self._durable:
            await session.declare_queue(self.name)
            await self.consume_from(channel, self.name)
        if self.name != DEAD_LETTER:
            calls = call_queue(self.name)
            limit: dict[str, Any] = {"x-max-length": self.link.settings.queue_limit, "x-overflow": "reject-publish"}
            await channel.queue_declare(calls, auto_delete=True, arguments=limit)
            await self.consume_from(channel, calls)

    async def handle(self, channel: Channel, message: DeliveredMessage) -> None:
        reply_to = message.header.properties.reply_to
        if reply_to:
            await self._answer(channel, message, str(reply_to))
        else:
            await self._perform(channel, message)

    async def _perform(self, channel: Channel, message: DeliveredMessage) -> None:
        try:
            delivery = self._delivery(message)
        except msgspec.MsgspecError as error:
            log.error("A message on %r does not decode and goes to dead-letter: %s", self.name, error)
            await settle(channel.basic_reject(tag(message), requeue=False, wait=False))
            return
        if await attempt_cast(self.handler, delivery, self.link.clock, self.link.settings):
            await settle(channel.basic_ack(tag(message), wait=False))
        else:
            await settle(channel.basic_reject(tag(message), requeue=True, wait=False))

    async def _answer(self, channel: Channel, message: DeliveredMessage, reply_to: str) -> None:
        try:
            delivery = self._delivery(message)
        except msgspec.MsgspecError:
            body = unreadable_call(self.name)
        else:
            deadline = delivery.context.deadline
            if deadline is not None and deadline <= delivery.received_at:
                await settle(channel.basic_ack(tag(message), wait=False))
                return
            body = await answer_call(self.handler, delivery)
        number = message.header.properties.correlation_id
        properties = spec.Basic.Properties(correlation_id=number, message_id=number)
        await settle(channel.basic_publish(body, routing_key=reply_to, properties=properties, wait=False))
        await settle(channel.basic_ack(tag(message), wait=False))

    def _delivery(self, message: DeliveredMessage) -> Delivery:
        headers: dict[str, Any] = message.header.properties.headers or {}
        try:
            envelope = unseal(message.body)
            content = envelope.open()
        except msgspec.MsgspecError as error:
            if self.name != DEAD_LETTER:
                raise
            envelope = Envelope(context=RequestContext(request_id=""), sent_at=0, message=msgspec.Raw(b"{}"))
            content = Unreadable(text=message.body.decode(errors="replace"), error=str(error))
        reason = headers.get("x-first-death-reason") if self.name == DEAD_LETTER else None
        return Delivery(
            message=content,
            context=envelope.context,
            queue=self.name,
            sent_at=envelope.sent_at,
            received_at=self.link.clock.now(),
            # Classic queues, which carry the calls, do not count; they only say that it is not the first time.
            attempt=int(headers.get("x-delivery-count", 0) or bool(message.redelivered)) + 1,
            dead_reason=str(reason) if reason is not None else None,
            dead_queue=str(headers["x-first-death-queue"]) if reason is not None else None,
        )


class TopicSubscription(BrokerSubscription):
    """Hears a topic through a queue that lives and dies with the connection; one message at a time, in order."""

    def __init__(self, link: BrokerLink, topic: str, handler: Handler) -> None:
        super().__init__(link, topic, handler, 1)

    async def consume(self, session: Session, channel: Channel) -> None:
        await session.declare_exchange(self.name)
        limit: dict[str, Any] = {"x-max-length": self.link.settings.topic_limit}
        queue = (await channel.queue_declare("", exclusive=True, auto_delete=True, arguments=limit)).queue
        await channel.queue_bind(str(queue), exchange(self.name))
        await self.consume_from(channel, str(queue))

    async def handle(self, channel: Channel, message: DeliveredMessage) -> None:
        try:
            envelope = unseal(message.body)
            delivery = Delivery(
                message=envelope.open(),
                context=envelope.context,
                queue=self.name,
                sent_at=envelope.sent_at,
                received_at=self.link.clock.now(),
            )
        except msgspec.MsgspecError as error:
            log.error("A message on the topic %r does not decode and is dropped: %s", self.name, error)
        else:
            await hear(self.handler, delivery)
        await settle(channel.basic_ack(tag(message), wait=False))


def tag(message: DeliveredMessage) -> int:
    """The broker's number of a delivery on its channel."""
    return int(message.delivery_tag or 0)


async def settle(saying: Any) -> None:
    """Say something about a message to the broker; if the channel is gone, the message comes again anyway."""
    try:
        await saying
    except (*BROKEN, aiormq.exceptions.ChannelInvalidStateError):
        log.debug("The channel was gone before a message was settled; it comes again")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
