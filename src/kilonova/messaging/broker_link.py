"""The one connection of a process to its RabbitMQ broker, and its coming back.

aio-pika's robust connection is not used: it restores consumers from weak references, does not notice a consumer
that the broker cancelled, and after a stuck connection restores nothing (see decision 0020). Here a lost
connection is thrown away whole, and everyone who needs it builds anew on the next one.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiormq
from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from kilonova.messaging.bus import DEAD_LETTER, BusUnavailable, CallTimeout, Unroutable
from kilonova.messaging.settings import BusSettings, doubled
from kilonova.model.clock import Clock
from kilonova.model.errors import Misconfigured

log = logging.getLogger(__name__)

REPLY_QUEUE = "amq.rabbitmq.reply-to"

# What aiormq raises when a connection, or a channel of it, ends under a caller.
BROKEN = (aiormq.AMQPError, OSError, RuntimeError, TimeoutError)


class RandomSource(Protocol):
    """The part of ``random.Random`` that backoff needs."""

    def random(self) -> float: ...


def call_queue(queue: str) -> str:
    """Where calls to ``queue`` wait: beside it, because a question that nobody answers in time is worth nothing."""
    return f"call.{queue}"


def exchange(topic: str) -> str:
    """The exchange that copies what is said on ``topic`` to everybody who listens."""
    return f"topic.{topic}"


class BrokerAddress:
    """``amqp://user:password@host[:port][,host[:port]…]/vhost``: the nodes of one cluster, tried in turn.

    Raises ``Misconfigured`` for anything else. Its text form has no password.
    """

    def __init__(self, url: str) -> None:
        match = re.fullmatch(r"(amqps?)://(?:([^@/]*)@)?([^@/?]+)(/[^?]*)?(?:\?(.*))?", url)
        if match is None:
            raise Misconfigured("messaging.url must look like amqp://user:password@host:5672/vhost")
        self._scheme, self._login, hosts, self._vhost, self._query = match.groups()
        self.hosts = hosts.split(",")
        if not all(re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", host) for host in self.hosts):
            raise Misconfigured(
                f"messaging.url names {hosts!r}; it must be host:port, or several with commas between"
            )

    def __str__(self) -> str:
        return ", ".join(self.hosts)

    def url(self, number: int, settings: BusSettings) -> str:
        """The URL of the node to try as the ``number``-th, counted round."""
        login = f"{self._login}@" if self._login else ""
        query = f"{self._query}&" if self._query else ""
        host = self.hosts[number % len(self.hosts)]
        own = f"heartbeat={settings.heartbeat}&name={settings.name}"
        return f"{self._scheme}://{login}{host}{self._vhost or '/'}?{query}{own}"

    def redacted(self, text: object) -> str:
        """``text`` without our password, should a library have put it there."""
        password = urlsplit(self.url(0, BusSettings())).password
        shown = str(text)
        for secret in {password, unquote(password)} if password else ():
            shown = shown.replace(secret, "***")
        return shown


@contextlib.asynccontextmanager
async def translated(doing: str, address: BrokerAddress) -> AsyncIterator[None]:
    """Raise ``BusUnavailable`` for whatever aiormq raises when the connection fails while ``doing``.

    aiormq also cancels what waits on a connection that it closes, as if the waiting task were cancelled.
    """
    try:
        yield
    except TimeoutError:
        raise BusUnavailable(f"RabbitMQ at {address} gave no answer in time while {doing}") from None
    except BROKEN as error:
        raise BusUnavailable(f"RabbitMQ at {address} failed while {doing}: {address.redacted(error)}") from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BusUnavailable(f"The connection to RabbitMQ at {address} was lost while {doing}") from None


class Session:
    """One connection while it lasts. ``lost`` is set when it is over, for whatever reason."""

    def __init__(self, connection: aiormq.Connection, channel: Channel, settings: BusSettings) -> None:
        self.connection = connection
        self.channel = channel
        self.lost = asyncio.Event()
        self._settings = settings
        self._declared: set[str] = set()
        self._calls: dict[str, asyncio.Future[bytes]] = {}
        self._declaring = asyncio.Lock()
        watch(connection, self.lost)
        watch(channel, self.lost)

    # --- declarations ------------------------------------------------------------------------------------

    async def declare_queue(self, queue: str) -> None:
        """Make the durable queue, and the one for dead letters. Once per connection."""
        if queue in self._declared:
            return
        if queue != DEAD_LETTER:
            await self.declare_queue(DEAD_LETTER)
        async with self._declaring:
            if queue not in self._declared:
                await self._declare_queue(queue)
                self._declared.add(queue)

    def forget(self, name: str) -> None:
        """Somebody removed it: declare it again when it is next needed."""
        self._declared.discard(name)

    async def _declare_queue(self, queue: str) -> None:
        arguments = queue_arguments(queue, self._settings)
        try:
            async with self._short_channel() as channel:
                await channel.queue_declare(queue, durable=True, arguments=arguments)
        except aiormq.ChannelPreconditionFailed as error:
            # Made by a release or a configuration with other limits. It works; only its limits are the old ones.
            async with self._short_channel() as channel:
                await channel.queue_declare(queue, passive=True)
            log.warning("The queue %r keeps the limits it was made with (delete it to change them): %s", queue, error)

    async def declare_exchange(self, topic: str) -> None:
        """Make the exchange of a topic. Once per connection."""
        name = exchange(topic)
        if name not in self._declared:
            async with self._short_channel() as channel:
                await channel.exchange_declare(name, exchange_type="fanout")
            self._declared.add(name)

    @contextlib.asynccontextmanager
    async def _short_channel(self) -> AsyncIterator[Channel]:
        """A channel of its own: a refused declaration closes the channel it came on."""
        channel = await open_channel(self.connection)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                await channel.close()

    # --- answers -----------------------------------------------------------------------------------------

    async def receive_answers(self) -> None:
        """Begin to take answers from the broker's pseudo-queue; must be the channel that asks."""
        await self.channel.basic_consume(REPLY_QUEUE, self._on_answer, no_ack=True)

    async def _on_answer(self, message: DeliveredMessage) -> None:
        waiting = self._calls.get(str(message.header.properties.correlation_id))
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    @contextlib.contextmanager
    def expecting(self, number: str) -> "Iterator[asyncio.Future[bytes]]":
        """The future of the answer to call ``number``."""
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = waiting
        try:
            yield waiting
        finally:
            del self._calls[number]

    def abandon(self) -> None:
        """The connection is over: nobody will hear the answers to what was asked on it."""
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(
                    CallTimeout("The connection was lost before the answer came; the work may have been done")
                )

    async def publish(
        self, body: bytes, *, to: str, via: str = "", properties: spec.Basic.Properties, mandatory: bool = True
    ) -> None:
        """Send, and wait until the broker has it. Raises what aiormq raises, ``Unroutable`` if nobody takes it."""
        try:
            await self.channel.basic_publish(
                body, exchange=via, routing_key=to, properties=properties, mandatory=mandatory, wait=False
            )
        except aiormq.PublishError:
            raise Unroutable(f"Nobody serves the queue {to.removeprefix('call.')!r}") from None
        except aiormq.DeliveryError:
            raise BusUnavailable(f"RabbitMQ refuses more messages for {to!r}: the queue is full") from None


def queue_arguments(queue: str, settings: BusSettings) -> dict[str, Any]:
    """How RabbitMQ shall keep a durable queue."""
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-max-length": settings.queue_limit,
        # RabbitMQ counts the repetitions, not the attempts.
        "x-delivery-limit": settings.delivery_limit - 1,
    }
    if queue == DEAD_LETTER:
        return arguments
    return arguments | {
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DEAD_LETTER,
        # The dead letter leaves this queue only when the other has it.
        "x-dead-letter-strategy": "at-least-once",
    }


async def open_channel(connection: aiormq.Connection, *, publisher_confirms: bool = False) -> Channel:
    """A new channel; with ``publisher_confirms`` each message sent on it waits for the broker's word."""
    channel = await connection.channel(publisher_confirms=publisher_confirms)
    assert isinstance(channel, Channel)
    return channel


def watch(resource: aiormq.Connection | Channel, event: asyncio.Event) -> None:
    """Set ``event`` when ``resource`` is closed by whomever."""
    resource.closing.add_done_callback(lambda _: event.set())


class BrokerLink:
    """Keeps a ``Session`` alive: connects, and when it is lost connects again, for as long as it is open."""

    def __init__(self, url: str, clock: Clock, rng: RandomSource, settings: BusSettings) -> None:
        self.address = BrokerAddress(url)
        self.settings = settings
        self.clock = clock
        self._rng = rng
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._attempts = 0

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._session.lost.is_set()

    def session(self) -> Session:
        """The connection. Raises ``BusUnavailable`` at once if there is none now."""
        if self._session is None or self._session.lost.is_set():
            raise BusUnavailable(f"RabbitMQ at {self.address} is not connected; it is tried again all the time")
        return self._session

    async def next_session(self) -> Session:
        """The connection, when there is one again."""
        while not self.connected:
            self._connected.clear()
            await self._connected.wait()
        return self.session()

    async def open(self) -> None:
        """Connect, to any of the nodes. Raises ``BusUnavailable`` within the connect timeout."""
        _quieten_libraries()
        if self._keeper is not None:
            return
        reason: object = "no answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.connect_timeout):
                for _ in self.address.hosts:
                    try:
                        self._session = await self._connect()
                        break
                    except BROKEN as error:
                        reason = str(error) or reason
        if self._session is None:
            raise BusUnavailable(
                f"Cannot connect to RabbitMQ at {self.address}: {self.address.redacted(reason)}; "
                "is it running, and is messaging.url right?"
            )
        self._connected.set()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(self._session))

    async def close(self) -> None:
        """Leave. What was not acknowledged is delivered again, to others."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._session is not None:
            session, self._session = self._session, None
            session.lost.set()
            session.abandon()
            await _discard(session.connection)

    async def pause(self, failures: int) -> None:
        """Wait before the next try, the longer the more have failed; never two of us equally long."""
        longest = doubled(self.settings.reconnect_delay, self.settings.reconnect_delay_max, failures)
        await self.clock.sleep(longest * (0.5 + self._rng.random() / 2))

    async def _keep(self, session: Session) -> None:
        while True:
            await session.lost.wait()
            session.abandon()
            log.warning("The connection to RabbitMQ at %s is lost; trying again", self.address)
            await _discard(session.connection)
            session = await self._reconnect()
            self._session = session
            self._connected.set()
            log.warning("Connected to RabbitMQ at %s again", self.address)

    async def _reconnect(self) -> Session:
        failures = 0
        while True:
            await self.pause(failures)
            try:
                return await self._connect()
            except Exception as error:  # whatever it is: to give up here would be to stay deaf for ever
                failures += 1
                # The first and then ever more rarely: a broker may be away for a night.
                if failures & (failures - 1) == 0:
                    log.warning(
                        "Try %d to reach RabbitMQ at %s failed: %s",
                        failures,
                        self.address,
                        self.address.redacted(error) or type(error).__name__,
                    )

    async def _connect(self) -> Session:
        number, self._attempts = self._attempts, self._attempts + 1
        connection = aiormq.Connection(self.address.url(number, self.settings))
        try:
            async with asyncio.timeout(self.settings.connect_timeout / len(self.address.hosts)):
                await connection.connect()
                channel = await open_channel(connection, publisher_confirms=True)
                session = Session(connection, channel, self.settings)
                await session.receive_answers()
                return session
        except asyncio.CancelledError:
            await _discard(connection)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise OSError("the connection was closed during the greeting") from None
        except BaseException:
            await _discard(connection)
            raise


async def _discard(connection: aiormq.Connection) -> None:
    """Close without caring how: the connection may be dead, half open or never opened."""
    with contextlib.suppress(*BROKEN, AttributeError):
        async with asyncio.timeout(2.0):
            await connection.close()


def _quieten_libraries() -> None:
    """What aiormq reports about a lost connection, traceback included, we say ourselves in one line."""
    logger = logging.getLogger("aiormq")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
