"""A broker that keeps its promises and no more: at least once, in any order, after any time.

``Broker`` is what all processes share; ``SimulatedBus`` is one process's connection to it and implements ``Bus``. What
goes wrong is decided by the weather (``bus.*``), outages and partitions. Messages of killed processes come again.
"""

import asyncio
import contextvars
from collections.abc import Callable

import msgspec

from kilonova.messaging.bus import (
    DEAD_LETTER,
    Bus,
    BusUnavailable,
    CallTimeout,
    Delivery,
    Handler,
    Subscription,
    Unroutable,
)
from kilonova.messaging.contract import Message, decode, encode
from kilonova.messaging.envelope import open_answer
from kilonova.messaging.handling import answer_call, attempt_cast
from kilonova.messaging.settings import BusSettings
from kilonova.model.context import RequestContext
from kilonova.model.errors import KilonovaError
from kilonova.simulation.loop import Process, SimulatedClock, SimulatedLoop
from kilonova.simulation.trace import Trace
from kilonova.simulation.weather import Weather

_SETTINGS = BusSettings()


class _Letter:
    __slots__ = (
        "attempt",
        "body",
        "context",
        "dead_queue",
        "dead_reason",
        "deadline",
        "forgotten",
        "reply",
        "sent_at",
    )

    def __init__(self, body: bytes, context: RequestContext, sent_at: int) -> None:
        self.body = body
        self.context = context
        self.sent_at = sent_at
        self.attempt = 1
        self.forgotten = False
        self.dead_reason: str | None = None
        self.dead_queue: str | None = None
        self.reply: Callable[[bytes], None] | None = None
        self.deadline: float | None = None


class _Queue:
    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[_Letter] = []
        self.servers: list[SimulatedSubscription] = []


class Broker:
    """The queues. ``up`` is False during an outage; ``cut`` names the processes that cannot reach it."""

    def __init__(
        self, loop: SimulatedLoop, weather: Weather, trace: Trace, surprised: Callable[[str, Exception], None]
    ) -> None:
        self.loop = loop
        self.weather = weather
        self.trace = trace
        self.up = True
        self.cut: set[str] = set()
        self.travelling = 0
        self._surprised = surprised
        self._queues: dict[str, _Queue] = {}

    # --- what the schedule does --------------------------------------------------------------------------------

    def reaches(self, process: Process) -> bool:
        """Whether that process is connected."""
        return self.up and process.alive and process.name not in self.cut

    def recover(self) -> None:
        """After an outage or a partition: hand out what waited."""
        for queue in self._queues.values():
            self.dispatch(queue)

    def forget_all(self) -> None:
        """The broker that comes back is a new, empty one: what waits is gone, and what is worked on comes no second time."""
        for queue in self._queues.values():
            queue.waiting.clear()
            for letter in [letter for server in queue.servers for letter in server.running.values()]:
                letter.forgotten = True

    def forget(self, process: Process) -> None:
        """A process was killed: nobody serves for it, what it had in hand comes again."""
        for queue in self._queues.values():
            for server in [server for server in queue.servers if server.process is process]:
                queue.servers.remove(server)
                for letter in server.running.values():
                    self._again_later(queue, letter)
                server.running.clear()

    @property
    def idle(self) -> bool:
        """No cast waits for anybody who could take it, is on its way or being worked on. (Calls always are: heartbeats.)"""
        return self.travelling == 0 and not any(
            letter.reply is None
            for queue in self._queues.values()
            for server in queue.servers
            for letter in (*queue.waiting, *server.running.values())
        )

    # --- the road ----------------------------------------------------------------------------------------------

    def queue(self, name: str) -> _Queue:
        """It exists as soon as somebody speaks of it."""
        return self._queues.setdefault(name, _Queue(name))

    def send(self, queue: _Queue, letter: _Letter) -> None:
        """It arrives some time later, perhaps twice, perhaps never."""
        weather = self.weather
        if weather.strikes("bus.loss"):
            self.trace.add(self.loop.time(), "broker", "lost", decode(letter.body))
            return
        copies = 1
        if weather.strikes("bus.duplicate"):
            self.trace.add(self.loop.time(), "broker", "duplicated", decode(letter.body))
            copies = 2
        for _ in range(copies):
            delay = weather.latency()
            if weather.strikes("bus.delay"):
                delay += weather.source.expovariate(0.5)
            self._travel(delay, queue, letter)

    def _travel(self, delay: float, queue: _Queue, letter: _Letter) -> None:
        self.travelling += letter.reply is None
        self.loop.later(delay, self._arrive, queue, letter)

    def _arrive(self, queue: _Queue, letter: _Letter) -> None:
        self.travelling -= letter.reply is None
        queue.waiting.append(letter)
        self.dispatch(queue)

    def dispatch(self, queue: _Queue) -> None:
        """Give what waits to whoever is free."""
        while queue.waiting:
            able = [server for server in queue.servers if server.free and self.reaches(server.process)]
            if not able:
                return
            server = able[int(self.weather.source.random() * len(able))] if len(able) > 1 else able[0]
            for index, letter in enumerate(queue.waiting):
                if server.durable or letter.reply is not None:
                    del queue.waiting[index]
                    if letter.deadline is None or letter.deadline > self.loop.time():
                        server.take(letter)
                    break
            else:
                return

    def ended(self, server: "SimulatedSubscription", letter: _Letter, done: bool) -> None:
        """A handler returned: its message is acknowledged if we can still hear it."""
        queue = server.queue
        if letter.reply is None and (not done or not self.reaches(server.process)):
            self._again_later(queue, letter)
        self.dispatch(queue)

    def answer(self, process: Process, letter: _Letter, body: bytes) -> None:
        """The answer of a call on its way back."""
        if letter.reply is None or not self.reaches(process) or self.weather.strikes("bus.answer-lost"):
            return
        delay = self.weather.latency()
        if self.weather.strikes("bus.delay"):
            delay += self.weather.source.expovariate(0.5)
        self.loop.later(delay, letter.reply, body)

    def surprise(self, where: str, error: Exception) -> None:
        """A handler failed in a way that is nobody's plan."""
        self._surprised(where, error)

    def _again_later(self, queue: _Queue, letter: _Letter) -> None:
        if letter.reply is not None or letter.forgotten:
            return
        letter.attempt += 1
        if letter.attempt > _SETTINGS.delivery_limit:
            if queue.name == DEAD_LETTER:
                return
            letter.dead_reason, letter.dead_queue, letter.attempt = "delivery_limit", queue.name, 1
            queue = self.queue(DEAD_LETTER)
            self.trace.add(self.loop.time(), "broker", "dead letter", decode(letter.body))
        self._travel(self.weather.latency(), queue, letter)


class SimulatedSubscription:
    """A queue being served by one handler of one process."""

    def __init__(
        self,
        broker: Broker,
        bus: "SimulatedBus",
        queue: _Queue,
        handler: Handler,
        concurrency: int,
        durable: bool,
    ) -> None:
        self.process = bus.process
        self.queue = queue
        self.durable = durable
        self.running: dict[asyncio.Task[None], _Letter] = {}
        self._broker = broker
        self._bus = bus
        self._handler = handler
        self._concurrency = concurrency
        self._context = contextvars.copy_context()

    @property
    def free(self) -> bool:
        return len(self.running) < self._concurrency

    def take(self, letter: _Letter) -> None:
        """Start on a message."""
        task = self._broker.loop.create_task(self._work(letter), context=self.process.context.copy())
        self.running[task] = letter

    async def _work(self, letter: _Letter) -> None:
        task = asyncio.current_task()
        assert task is not None
        done = False
        delivery = Delivery(
            message=decode(letter.body),
            context=letter.context,
            queue=self.queue.name,
            sent_at=letter.sent_at,
            received_at=self._bus.clock.now(),
            attempt=letter.attempt,
            dead_reason=letter.dead_reason,
            dead_queue=letter.dead_queue,
        )
        self._broker.trace.add(self._broker.loop.time(), self.process.name, "takes", delivery.message)
        try:
            if letter.reply is None:
                done = await attempt_cast(self._watched, delivery, self._bus.clock, _SETTINGS)
            else:
                self._broker.answer(self.process, letter, await answer_call(self._watched, delivery))
        finally:
            self.running.pop(task, None)
            self._broker.ended(self, letter, done)

    async def _watched(self, delivery: Delivery) -> Message | None:
        try:
            return await self._handler(delivery)
        except KilonovaError:
            raise
        except Exception as error:
            self._broker.surprise(f"{self.process.name}: {type(delivery.message).__name__}", error)
            raise

    async def drain(self, timeout: float) -> bool:
        self._leave()
        until = self._broker.loop.time() + timeout
        while self.running and self._broker.loop.time() < until:
            await self._bus.clock.sleep(0.05)
        return not self.running

    async def stop(self) -> None:
        self._leave()
        tasks = list(self.running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self) -> None:
        if self in self.queue.servers:
            self.queue.servers.remove(self)


class SimulatedBus(Bus):
    """One process's connection."""

    volatile = False

    def __init__(self, broker: Broker, process: Process, clock: SimulatedClock) -> None:
        self.process = process
        self.clock = clock
        self._broker = broker

    @property
    def connected(self) -> bool:
        return self._broker.reaches(self.process)

    async def start(self) -> None:
        self._check()

    async def close(self) -> None:
        self._broker.forget(self.process)

    async def cast(self, queue: str, message: Message, context: RequestContext) -> None:
        broker, weather = self._broker, self._broker.weather
        broker.trace.add(broker.loop.time(), self.process.name, f"> {queue}", message)
        await self.clock.sleep(weather.latency())
        self._check()
        if weather.strikes("bus.refused"):
            raise BusUnavailable("the broker refuses the message")
        broker.send(broker.queue(queue), _Letter(encode(message), context, self.clock.now()))
        await self.clock.sleep(weather.latency())
        if weather.strikes("bus.unconfirmed") or not self.connected:
            raise BusUnavailable("the broker's confirmation is lost")

    async def call(self, queue: str, message: Message, context: RequestContext, *, timeout: float) -> Message:
        broker = self._broker
        self._check()
        found = broker.queue(queue)
        if not found.servers:
            raise Unroutable(f"nobody serves {queue}")
        reply: asyncio.Future[bytes] = broker.loop.create_future()
        letter = _Letter(
            encode(message),
            msgspec.structs.replace(context, deadline=self.clock.now() + int(timeout * 1_000_000)),
            self.clock.now(),
        )

        def answered(body: bytes) -> None:
            if not reply.done() and self.connected:
                reply.set_result(body)

        def expired() -> None:
            if not reply.done():
                reply.set_exception(CallTimeout(f"no answer to {type(message).__name__} within {timeout:g} s"))

        letter.reply = answered
        letter.deadline = broker.loop.time() + timeout
        limit = broker.loop.later(timeout, expired)
        broker.send(found, letter)
        try:
            answer = open_answer(await reply)
        finally:
            limit.cancel()
        broker.trace.add(broker.loop.time(), self.process.name, "hears", answer)
        return answer

    async def fanout(self, topic: str, message: Message, context: RequestContext) -> None:
        self._check()

    async def serve(self, queue: str, handler: Handler, *, concurrency: int, durable: bool = True) -> Subscription:
        self._check()
        found = self._broker.queue(queue)
        subscription = SimulatedSubscription(self._broker, self, found, handler, concurrency, durable)
        found.servers.append(subscription)
        self._broker.dispatch(found)
        return subscription

    async def listen(self, topic: str, handler: Handler) -> Subscription:
        raise NotImplementedError("no service listens to a topic yet")

    def _check(self) -> None:
        if not self._broker.reaches(self.process):
            raise BusUnavailable("the broker cannot be reached")
