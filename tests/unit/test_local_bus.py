"""What only the in-process bus promises: determinism, the clock's time, fair turns."""

import asyncio

import pytest

from kilonova.messaging.bus import DEAD_LETTER, BusUnavailable, CallTimeout, Delivery
from kilonova.messaging.contract import Message, Ping
from kilonova.messaging.local import LocalBus
from kilonova.messaging.settings import BusSettings
from kilonova.model.context import RequestContext

CONTEXT = RequestContext(request_id="req-1")


class StillClock:
    """Time that passes only when all that sleep are the next to run: ``sleep`` moves it at once."""

    def __init__(self) -> None:
        self.micros = 1_000_000
        self.slept: list[float] = []

    def now(self) -> int:
        return self.micros

    def monotonic(self) -> float:
        return self.micros / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)
        self.micros += int(seconds * 1_000_000)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def text(delivery: Delivery) -> str:
    assert isinstance(delivery.message, Ping)
    return delivery.message.text


@pytest.fixture
async def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def bus(clock: StillClock) -> LocalBus:
    bus = LocalBus(
        clock, BusSettings(delivery_limit=4, redelivery_delay=1.0, redelivery_delay_max=2.0, queue_limit=3)
    )
    await bus.start()
    return bus


async def test_pauses_before_redelivery_double_up_to_their_bound(bus: LocalBus, clock: StillClock) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError

    await bus.serve("q", fail, concurrency=1)
    await bus.cast("q", Ping(), CONTEXT)
    await settle()
    assert clock.slept == [1.0, 2.0, 2.0]


async def test_call_times_out_on_the_clock_not_on_the_wall(bus: LocalBus, clock: StillClock) -> None:
    async def never(_: Delivery) -> None:
        await asyncio.Event().wait()

    await bus.serve("q", never, concurrency=1)
    with pytest.raises(CallTimeout, match="3600"):
        await bus.call("q", Ping(), CONTEXT, timeout=3600)
    assert clock.slept == [3600]
    await bus.close()


async def test_message_is_copied_on_its_way(bus: LocalBus) -> None:
    seen: list[Message] = []

    async def keep(delivery: Delivery) -> None:
        seen.append(delivery.message)

    sent = Ping(text="x")
    await bus.serve("q", keep, concurrency=1)
    await bus.cast("q", sent, CONTEXT)
    await settle()
    assert seen == [sent]
    assert seen[0] is not sent


async def test_free_server_takes_all_while_another_is_busy(bus: LocalBus) -> None:
    seen: list[tuple[str, str]] = []

    async def stuck(delivery: Delivery) -> None:
        seen.append(("stuck", text(delivery)))
        await asyncio.Event().wait()

    async def quick(delivery: Delivery) -> None:
        seen.append(("quick", text(delivery)))

    for letter in "abc":
        await bus.cast("q", Ping(text=letter), CONTEXT)
    await bus.serve("q", stuck, concurrency=1)
    await bus.serve("q", quick, concurrency=8)
    await bus.cast("q", Ping(text="d"), CONTEXT)
    await settle()
    assert seen == [("stuck", "a"), ("quick", "b"), ("quick", "c"), ("quick", "d")]
    await bus.close()


async def test_two_runs_are_alike() -> None:
    async def run() -> list[str]:
        bus = LocalBus(_Frozen(), BusSettings(redelivery_delay=0))
        await bus.start()
        log: list[str] = []

        def server(name: str) -> object:
            async def work(delivery: Delivery) -> Message:
                log.append(f"{name}{text(delivery)}{delivery.attempt}")
                await asyncio.sleep(0)
                if delivery.attempt == 1 and text(delivery) in "bd":
                    raise ValueError
                return delivery.message

            return work

        for name in "xyz":
            await bus.serve("q", server(name), concurrency=2)  # type: ignore[arg-type]
        for letter in "abcdefgh":
            await bus.cast("q", Ping(text=letter), CONTEXT)
        await asyncio.gather(*(bus.call("q", Ping(text=letter), CONTEXT, timeout=1e6) for letter in "ijk"))
        await settle()
        await bus.close()
        return log

    first = await run()
    assert len(first) == 13
    assert await run() == first


async def test_dead_letters_push_out_the_oldest_and_failing_there_ends_them(bus: LocalBus) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError

    await bus.serve("q", fail, concurrency=1)
    for letter in "abcd":
        await bus.cast("q", Ping(text=letter), CONTEXT)
        await settle()
    seen: list[str] = []

    async def fail_too(delivery: Delivery) -> None:
        seen.append(f"{text(delivery)}{delivery.attempt}")
        raise ValueError

    await bus.serve(DEAD_LETTER, fail_too, concurrency=1)
    await settle()
    assert seen == [f"{letter}{attempt}" for letter in "bcd" for attempt in (1, 2, 3, 4)]


async def test_call_in_work_at_a_server_that_stops_is_not_waited_for(bus: LocalBus) -> None:
    started = asyncio.Event()

    async def never(_: Delivery) -> None:
        started.set()
        await asyncio.Event().wait()

    subscription = await bus.serve("q", never, concurrency=1)

    async def stop() -> None:
        await started.wait()
        await subscription.stop()

    # A clock that stands still, so that only the stop can end the call.
    bus.clock = _Frozen()
    stopping = asyncio.create_task(stop())
    with pytest.raises((CallTimeout, BusUnavailable)):
        await bus.call("q", Ping(), CONTEXT, timeout=60)
    await stopping


class _Frozen:
    def now(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()
