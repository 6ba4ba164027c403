"""The bus of one process: plain queues of encoded messages, handed to tasks of the event loop.

No threads, no time but the clock's, no order but that of the calls: the same calls give the same run. Messages
are encoded and decoded as on their way through a broker, so that what works here works there.
"""

import asyncio
from collections import deque

import msgspec

from kilonova.messaging.bus import (
    DEAD_LETTER,
    BusUnavailable,
    CallTimeout,
    Delivery,
    Handler,
    Unreadable,
    Unroutable,
)
from kilonova.messaging.contract import Message, decode, encode
from kilonova.messaging.envelope import open_answer
from kilonova.messaging.handling import answer_call, attempt_cast, hear, log, unreadable_call
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import Clock
from kilonova.model.context import RequestContext


class _Letter:
    """One message waiting or being handled. ``reply`` is set on calls only."""

    __slots__ = ("attempt", "body", "context", "dead_queue", "dead_reason", "number", "reply", "sent_at")

    def __init__(
        self,
        number: int,
        body: bytes,
        context: RequestContext,
        sent_at: int,
        reply: "asyncio.Future[bytes] | None" = None,
    ) -> None:
        self.number = number
        self.body = body
        self.context = context
        self.sent_at = sent_at
        self.reply = reply
        self.attempt = 1
        self.dead_reason: str | None = None
        self.dead_queue: str | None = None


class _Queue:
    """The two lanes of a queue and who serves it, each in turn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.casts: deque[_Letter] = deque()
        self.calls: deque[_Letter] = deque()
        self.servers: deque[LocalSubscription] = deque()

    def next_for(self, server: "LocalSubscription") -> _Letter | None:
        """The older head of the lanes that ``server`` takes from."""
        if self.calls and (not server.durable or not self.casts or self.calls[0].number < self.casts[0].number):
            return self.calls.popleft()
        return self.casts.popleft() if server.durable and self.casts else None

    def put_back(self, letter: _Letter) -> None:
        (self.casts if letter.reply is None else self.calls).appendleft(letter)


class LocalSubscription:
    """A queue being served by one handler. Made by ``LocalBus.serve``."""

    def __init__(self, bus: "LocalBus", queue: _Queue, handler: Handler, concurrency: int, durable: bool) -> None:
        self.durable = durable
        self._bus = bus
        self._queue = queue
        self._handler = handler
        self._concurrency = concurrency
        self._running: dict[asyncio.Task[None], _Letter] = {}
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    @property
    def free(self) -> bool:
        return len(self._running) < self._concurrency

    def take(self, letter: _Letter) -> None:
        """Start on a message at once."""
        work = self._answer(letter, letter.reply) if letter.reply is not None else self._perform(letter)
        task = asyncio.get_running_loop().create_task(work)
        self._running[task] = letter
        self._idle.clear()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        letter = self._running.pop(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("The local bus failed at a message from %r", self._queue.name, exc_info=task.exception())
        if not self._running:
            self._idle.set()
        if task.cancelled():
            self._bus.again(self._queue, letter)
        self._bus.dispatch(self._queue)

    def _delivery(self, letter: _Letter) -> Delivery:
        try:
            message = decode(letter.body)
        except msgspec.MsgspecError as error:
            if self._queue.name != DEAD_LETTER:
                raise
            message = Unreadable(text=letter.body.decode(errors="replace"), error=str(error))
        return Delivery(
            message=message,
            context=letter.context,
            queue=self._queue.name,
            sent_at=letter.sent_at,
            received_at=self._bus.clock.now(),
            attempt=letter.attempt,
            dead_reason=letter.dead_reason,
            dead_queue=letter.dead_queue,
        )

    async def _perform(self, letter: _Letter) -> None:
        try:
            delivery = self._delivery(letter)
        except msgspec.MsgspecError:
            self._bus.bury(self._queue, letter, "rejected")
            return
        if not await attempt_cast(self._handler, delivery, self._bus.clock, self._bus.settings):
            self._bus.again(self._queue, letter)

    async def _answer(self, letter: _Letter, reply: "asyncio.Future[bytes]") -> None:
        try:
            delivery = self._delivery(letter)
        except msgspec.MsgspecError:
            answer = unreadable_call(self._queue.name)
        else:
            answer = await answer_call(self._handler, delivery)
        if not reply.done():
            reply.set_result(answer)

    async def drain(self, timeout: float) -> bool:
        self._bus.leave(self._queue, self)
        if not self._running:
            return True
        idle = asyncio.ensure_future(self._idle.wait())
        limit = asyncio.ensure_future(self._bus.clock.sleep(timeout))
        try:
            await asyncio.wait([idle, limit], return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            limit.cancel()
        return not self._running

    async def stop(self) -> None:
        self._bus.leave(self._queue, self)
        # Backwards: each goes to the head of the queue, so the oldest ends up first.
        for task in reversed(list(self._running)):
            task.cancel()
        await self._idle.wait()


class LocalListener:
    """One who hears a topic. Made by ``LocalBus.listen``."""

    def __init__(self, bus: "LocalBus", topic: str, handler: Handler, limit: int) -> None:
        self._bus = bus
        self._topic = topic
        self._handler = handler
        self._waiting: deque[_Letter] = deque(maxlen=limit)
        self._task: asyncio.Task[None] | None = None

    def tell(self, letter: _Letter) -> None:
        self._waiting.append(letter)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._hear_all())

    async def _hear_all(self) -> None:
        try:
            while self._waiting:
                letter = self._waiting.popleft()
                try:
                    message = decode(letter.body)
                except msgspec.MsgspecError as error:
                    log.error("A message on the topic %r does not decode and is dropped: %s", self._topic, error)
                    continue
                delivery = Delivery(
                    message=message,
                    context=letter.context,
                    queue=self._topic,
                    sent_at=letter.sent_at,
                    received_at=self._bus.clock.now(),
                )
                await hear(self._handler, delivery)
        finally:
            self._task = None

    async def drain(self, timeout: float) -> bool:
        self._bus.unlisten(self._topic, self)
        task = self._task
        if task is None:
            return True
        limit = asyncio.ensure_future(self._bus.clock.sleep(timeout))
        try:
            await asyncio.wait([task, limit], return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
        return task.done()

    async def stop(self) -> None:
        self._bus.unlisten(self._topic, self)
        self._waiting.clear()
        if self._task is not None:
            task = self._task
            task.cancel()
            await asyncio.wait([task])


class LocalBus:
    """Implements ``Bus`` for all services of one process. Waiting messages outlive their servers, not the process."""

    volatile = True

    def __init__(self, clock: Clock, settings: BusSettings | None = None) -> None:
        self.clock = clock
        self.settings = settings or BusSettings()
        self._queues: dict[str, _Queue] = {}
        self._topics: dict[str, list[LocalListener]] = {}
        self._number = 0
        self._open = False

    # --- the protocol ------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._open

    async def start(self) -> None:
        self._open = True

    async def cast(self, queue: str, message: Message, context: RequestContext) -> None:
        found = self._queue(queue)
        if len(found.casts) >= self.settings.queue_limit:
            raise BusUnavailable(f"The queue {queue!r} is full ({len(found.casts)} messages wait); try again later")
        found.casts.append(self._letter(message, context))
        self.dispatch(found)

    async def call(self, queue: str, message: Message, context: RequestContext, *, timeout: float) -> Message:
        found = self._queue(queue)
        if not found.servers:
            raise Unroutable(f"Nobody serves the queue {queue!r}")
        if len(found.calls) >= self.settings.queue_limit:
            raise BusUnavailable(f"The queue {queue!r} is full ({len(found.calls)} calls wait); try again later")
        deadline = self.clock.now() + int(timeout * 1_000_000)
        if context.deadline is None or deadline < context.deadline:
            context = msgspec.structs.replace(context, deadline=deadline)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        letter = self._letter(message, context, reply)
        found.calls.append(letter)
        self.dispatch(found)
        limit = asyncio.ensure_future(self._expire(reply, queue, message, timeout))
        try:
            return open_answer(await reply)
        finally:
            limit.cancel()

    async def fanout(self, topic: str, message: Message, context: RequestContext) -> None:
        self._check_open()
        letter = self._letter(message, context)
        for listener in list(self._topics.get(topic, ())):
            listener.tell(letter)

    async def serve(
        self, queue: str, handler: Handler, *, concurrency: int, durable: bool = True
    ) -> LocalSubscription:
        found = self._queue(queue)
        server = LocalSubscription(self, found, handler, concurrency, durable)
        found.servers.append(server)
        self.dispatch(found)
        return server

    async def listen(self, topic: str, handler: Handler) -> LocalListener:
        self._check_open()
        listener = LocalListener(self, topic, handler, self.settings.topic_limit)
        self._topics.setdefault(topic, []).append(listener)
        return listener

    async def close(self) -> None:
        self._open = False
        for queue in self._queues.values():
            for server in list(queue.servers):
                await server.stop()
        for listeners in list(self._topics.values()):
            for listener in list(listeners):
                await listener.stop()

    # --- what its parts ask of it ------------------------------------------------------------------------

    def dispatch(self, queue: _Queue) -> None:
        """Hand out what waits, to each server with a free place in turn."""
        refusals = 0
        while refusals < len(queue.servers):
            server = queue.servers[0]
            queue.servers.rotate(-1)
            letter = queue.next_for(server) if server.free else None
            if letter is None:
                refusals += 1
            elif not self._is_expired(letter):
                server.take(letter)
                refusals = 0

    def again(self, queue: _Queue, letter: _Letter) -> None:
        """It was not finished: back to the head of its queue, or away if that was the last attempt."""
        letter.attempt += 1
        if letter.reply is not None:
            if not letter.reply.done():
                self._call_again(queue, letter, letter.reply)
        elif letter.attempt <= self.settings.delivery_limit:
            queue.put_back(letter)
        else:
            self.bury(queue, letter, "delivery_limit")

    def bury(self, queue: _Queue, letter: _Letter, reason: str) -> None:
        """Put it into ``dead-letter``; what dies there is gone."""
        if queue.name == DEAD_LETTER:
            log.error("A dead letter from %r failed again and is dropped", letter.dead_queue)
            return
        letter.dead_reason, letter.dead_queue, letter.attempt = reason, queue.name, 1
        graves = self._queues.setdefault(DEAD_LETTER, _Queue(DEAD_LETTER))
        if len(graves.casts) >= self.settings.queue_limit:
            graves.casts.popleft()
        graves.casts.append(letter)
        self.dispatch(graves)

    def leave(self, queue: _Queue, server: LocalSubscription) -> None:
        """No more messages for ``server``. Calls that nobody is left to answer fail now."""
        if server in queue.servers:
            queue.servers.remove(server)
        if not queue.servers:
            for letter in queue.calls:
                if letter.reply is not None and not letter.reply.done():
                    letter.reply.set_exception(Unroutable(f"Nobody serves the queue {queue.name!r} any more"))
            queue.calls.clear()

    def unlisten(self, topic: str, listener: LocalListener) -> None:
        """No more messages for ``listener``."""
        listeners = self._topics.get(topic, [])
        if listener in listeners:
            listeners.remove(listener)

    # --- inside ------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise BusUnavailable("The bus of this process is closed")

    def _queue(self, name: str) -> _Queue:
        self._check_open()
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = _Queue(name)
        return found

    def _letter(
        self, message: Message, context: RequestContext, reply: "asyncio.Future[bytes] | None" = None
    ) -> _Letter:
        self._number += 1
        return _Letter(self._number, encode(message), context, self.clock.now(), reply)

    def _is_expired(self, letter: _Letter) -> bool:
        if letter.reply is None:
            return False
        deadline = letter.context.deadline
        return letter.reply.done() or (deadline is not None and deadline <= self.clock.now())

    def _call_again(self, queue: _Queue, letter: _Letter, reply: "asyncio.Future[bytes]") -> None:
        if queue.servers:
            queue.put_back(letter)
        else:
            reply.set_exception(
                CallTimeout(f"Whoever served {queue.name!r} stopped before it answered; the work may have been done")
            )

    async def _expire(self, reply: "asyncio.Future[bytes]", queue: str, message: Message, timeout: float) -> None:
        await self.clock.sleep(timeout)
        if not reply.done():
            reply.set_exception(
                CallTimeout(f"No answer to {type(message).__name__} from {queue!r} within {timeout:g} s")
            )
