"""Everything the ``Bus`` docstring promises, on every implementation."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest

from kilonova.messaging.bus import (
    DEAD_LETTER,
    Bus,
    BusUnavailable,
    CallTimeout,
    Delivery,
    RemoteFailure,
    Unreadable,
    Unroutable,
)
from kilonova.messaging.contract import Acknowledged, Message, Ping, Verdict
from kilonova.messaging.local import LocalBus
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import SystemClock
from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import Conflict, HostFault
from tests.contract.recorder import CONTEXT, DEADLINE, Alien, MakeBus, Recorder


async def buried(bus: Bus, queue: str) -> Delivery:
    """The next dead letter that came from ``queue``."""
    found: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

    async def look(delivery: Delivery) -> None:
        if delivery.dead_queue == queue and not found.done():
            found.set_result(delivery)

    subscription = await bus.serve(DEAD_LETTER, look, concurrency=10)
    async with asyncio.timeout(DEADLINE):
        delivery = await found
    await subscription.drain(DEADLINE)
    return delivery


# --- casts -------------------------------------------------------------------------------------------------


async def test_cast_is_delivered_once_and_acknowledged(bus: Bus, queue: str) -> None:
    first, second = Recorder(), Recorder()
    subscription = await bus.serve(queue, first, concurrency=4)
    await bus.cast(queue, Ping(text="a"), CONTEXT)
    await first.wait_for(1)
    assert await subscription.drain(DEADLINE)
    # Anything unacknowledged would come to the next server before what is cast now.
    await bus.serve(queue, second, concurrency=1)
    await bus.cast(queue, Ping(text="b"), CONTEXT)
    await second.wait_for(1)
    assert (first.texts, second.texts) == (["a"], ["b"])
    assert first.deliveries[0].attempt == 1
    assert first.deliveries[0].dead_reason is None


async def test_cast_before_anybody_ever_served_waits(bus: Bus, queue: str) -> None:
    await bus.cast(queue, Ping(text="early"), CONTEXT)
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    assert (await recorder.wait_for(1))[0].message == Ping(text="early")


async def test_context_and_times_arrive(bus: Bus, queue: str) -> None:
    clock = SystemClock()
    context = RequestContext(
        request_id="req-42",
        caller=Caller(user_id="u", project_id="p", roles=frozenset({"member", "reader"}), user_name="änne"),
        global_request_id="req-7",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        deadline=clock.now() + 60_000_000,
    )
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    before = clock.now()
    await bus.cast(queue, Ping(), context)
    delivery = (await recorder.wait_for(1))[0]
    assert delivery.context == context
    assert delivery.queue == queue
    assert before <= delivery.sent_at <= delivery.received_at <= clock.now()


async def test_casts_keep_their_order_with_one_at_a_time(bus: Bus, queue: str) -> None:
    recorder = Recorder()
    texts = [str(number) for number in range(50)]
    for text in texts[:25]:
        await bus.cast(queue, Ping(text=text), CONTEXT)
    await bus.serve(queue, recorder, concurrency=1)
    for text in texts[25:]:
        await bus.cast(queue, Ping(text=text), CONTEXT)
    await recorder.wait_for(50)
    assert recorder.texts == texts


async def test_failed_cast_comes_again_and_is_then_dead_with_its_reason(bus: Bus, queue: str) -> None:
    async def fail(delivery: Delivery) -> None:
        raise ValueError("no")

    recorder = Recorder(fail)
    await bus.serve(queue, recorder, concurrency=1)
    await bus.cast(queue, Ping(text="poison"), RequestContext(request_id="req-poison"))
    dead = await buried(bus, queue)
    assert [delivery.attempt for delivery in recorder.deliveries] == [1, 2, 3]
    assert dead.message == Ping(text="poison")
    assert dead.context.request_id == "req-poison"
    assert (dead.dead_reason, dead.queue, dead.attempt) == ("delivery_limit", DEAD_LETTER, 1)


async def test_cast_that_fails_once_is_done_the_second_time(bus: Bus, queue: str) -> None:
    async def fail_once(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            raise Conflict("not yet")

    recorder = Recorder(fail_once)
    await bus.serve(queue, recorder, concurrency=1)
    await bus.cast(queue, Ping(text="a"), CONTEXT)
    await bus.cast(queue, Ping(text="b"), CONTEXT)
    await recorder.wait_for(4)
    assert sorted(recorder.texts) == ["a", "a", "b", "b"]


async def test_message_that_does_not_decode_is_dead_at_once(bus: Bus, queue: str) -> None:
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    await bus.cast(queue, Alien(text="from tomorrow"), CONTEXT)
    dead = await buried(bus, queue)
    assert dead.dead_reason == "rejected"
    assert isinstance(dead.message, Unreadable)
    assert "from tomorrow" in dead.message.text
    assert recorder.deliveries == []


async def test_full_queue_refuses(make_bus: MakeBus, queue: str) -> None:
    bus = await make_bus(BusSettings(queue_limit=5))
    accepted = 0
    with pytest.raises(BusUnavailable, match="full"):
        for _ in range(100):
            await bus.cast(queue, Ping(), CONTEXT)
            accepted += 1
    # A broker may let some pass before its word about the bound reaches the sender's channel.
    assert 5 <= accepted < 50
    recorder = Recorder()
    subscription = await bus.serve(queue, recorder, concurrency=10)
    await recorder.wait_for(accepted)
    await subscription.drain(DEADLINE)


async def test_concurrency_is_bounded_and_used(bus: Bus, queue: str) -> None:
    running = highest = 0
    release = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await release.wait()
        running -= 1

    recorder = Recorder(work)
    await bus.serve(queue, recorder, concurrency=3)
    for _ in range(10):
        await bus.cast(queue, Ping(), CONTEXT)
    calls = [asyncio.create_task(bus.call(queue, Ping(), CONTEXT, timeout=DEADLINE)) for _ in range(10)]
    await recorder.wait_for(3)
    release.set()
    await recorder.wait_for(20)
    await asyncio.gather(*calls)
    assert highest == 3


async def test_two_servers_share_a_queue(make_bus: MakeBus, queue: str) -> None:
    sender, one, two = await make_bus(), await make_bus(), await make_bus()
    both = asyncio.Event()
    seen: dict[str, list[str]] = {"one": [], "two": []}
    total = asyncio.Event()

    def server(name: str) -> Callable[[Delivery], Awaitable[None]]:
        async def work(delivery: Delivery) -> None:
            assert isinstance(delivery.message, Ping)
            seen[name].append(delivery.message.text)
            if seen["one"] and seen["two"]:
                both.set()
            if sum(map(len, seen.values())) == 20:
                total.set()
            await both.wait()

        return work

    await one.serve(queue, server("one"), concurrency=1)
    await two.serve(queue, server("two"), concurrency=1)
    for number in range(20):
        await sender.cast(queue, Ping(text=str(number)), CONTEXT)
    async with asyncio.timeout(DEADLINE):
        await total.wait()
    assert sorted(seen["one"] + seen["two"], key=int) == [str(number) for number in range(20)]


async def test_large_message_arrives_whole(bus: Bus, queue: str) -> None:
    async def echo(delivery: Delivery) -> Message:
        return delivery.message

    large = Ping(text="ä☃" * 200_000)
    recorder = Recorder(echo)
    await bus.serve(queue, recorder, concurrency=1)
    await bus.cast(queue, large, CONTEXT)
    assert (await recorder.wait_for(1))[0].message == large
    assert await bus.call(queue, large, CONTEXT, timeout=DEADLINE) == large


# --- calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
async def test_call_is_answered(bus: Bus, queue: str, durable: bool) -> None:
    async def work(delivery: Delivery) -> Message:
        return Verdict(accepted=True, reason=f"heard {delivery.message}")

    await bus.serve(queue, work, concurrency=2, durable=durable)
    answer = await bus.call(queue, Ping(text="x"), CONTEXT, timeout=DEADLINE)
    assert answer == Verdict(accepted=True, reason="heard Ping(text='x')")


async def test_answer_to_a_call_of_nothing_is_acknowledged(bus: Bus, queue: str) -> None:
    await bus.serve(queue, Recorder(), concurrency=1)
    assert await bus.call(queue, Ping(), CONTEXT, timeout=DEADLINE) == Acknowledged()


async def test_many_calls_get_their_own_answers(bus: Bus, queue: str) -> None:
    async def echo(delivery: Delivery) -> Message:
        return delivery.message

    await bus.serve(queue, echo, concurrency=7)
    asked = [Ping(text=str(number)) for number in range(100)]
    assert await asyncio.gather(*(bus.call(queue, ping, CONTEXT, timeout=DEADLINE) for ping in asked)) == asked


async def test_call_to_nobody_is_unroutable_at_once(bus: Bus, queue: str) -> None:
    async with asyncio.timeout(2):
        with pytest.raises(Unroutable, match=queue):
            await bus.call(queue, Ping(), CONTEXT, timeout=60)


async def test_call_is_unroutable_when_the_last_server_left(bus: Bus, queue: str) -> None:
    subscription = await bus.serve(queue, Recorder(), concurrency=1)
    await bus.cast(queue, Ping(), CONTEXT)
    assert await subscription.drain(DEADLINE)
    async with asyncio.timeout(2):
        with pytest.raises(Unroutable):
            await bus.call(queue, Ping(), CONTEXT, timeout=60)


async def test_known_error_crosses_as_itself(bus: Bus, queue: str) -> None:
    async def refuse(delivery: Delivery) -> None:
        raise HostFault("The disk is full", details="/dev/vda: 0 left", retry=False)

    await bus.serve(queue, refuse, concurrency=1)
    with pytest.raises(HostFault, match="The disk is full") as caught:
        await bus.call(queue, Ping(), CONTEXT, timeout=DEADLINE)
    assert type(caught.value) is HostFault
    assert (caught.value.message, caught.value.details, caught.value.retry) == (
        "The disk is full",
        "/dev/vda: 0 left",
        False,
    )
    assert str(caught.value) == "The disk is full"


async def test_unexpected_error_is_a_remote_failure_without_its_text(bus: Bus, queue: str) -> None:
    async def crash(delivery: Delivery) -> None:
        raise KeyError("secret-password")

    recorder = Recorder(crash)
    await bus.serve(queue, recorder, concurrency=1)
    with pytest.raises(RemoteFailure, match="req-1") as caught:
        await bus.call(queue, Ping(), CONTEXT, timeout=DEADLINE)
    assert "secret" not in repr(caught.value) + caught.value.details
    assert len(recorder.deliveries) == 1


async def test_call_that_does_not_decode_fails_at_once(bus: Bus, queue: str) -> None:
    await bus.serve(queue, Recorder(), concurrency=1)
    with pytest.raises(RemoteFailure, match="older release"):
        await bus.call(queue, Alien(text="?"), CONTEXT, timeout=DEADLINE)


async def test_call_times_out_and_the_late_answer_harms_nobody(bus: Bus, queue: str) -> None:
    release = asyncio.Event()

    async def slow(delivery: Delivery) -> Message:
        if delivery.message == Ping(text="slow"):
            await release.wait()
        return delivery.message

    recorder = Recorder(slow)
    await bus.serve(queue, recorder, concurrency=2)
    with pytest.raises(CallTimeout, match="Ping"):
        await bus.call(queue, Ping(text="slow"), CONTEXT, timeout=0.1)
    release.set()
    assert await bus.call(queue, Ping(text="next"), CONTEXT, timeout=DEADLINE) == Ping(text="next")


async def test_call_carries_the_deadline_of_its_caller(bus: Bus, queue: str) -> None:
    clock = SystemClock()
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    before = clock.now()
    await bus.call(queue, Ping(), CONTEXT, timeout=10)
    sooner = RequestContext(request_id="req-2", deadline=before + 5_000_000)
    await bus.call(queue, Ping(), sooner, timeout=10)
    first, second = (delivery.context.deadline for delivery in recorder.deliveries)
    assert first is not None
    assert before + 10_000_000 <= first <= clock.now() + 10_000_000
    assert second == sooner.deadline


async def test_call_that_waited_past_its_deadline_is_dropped(bus: Bus, queue: str) -> None:
    release = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        await release.wait()

    recorder = Recorder(work)
    await bus.serve(queue, recorder, concurrency=1)
    first = asyncio.create_task(bus.call(queue, Ping(text="first"), CONTEXT, timeout=DEADLINE))
    await recorder.wait_for(1)
    with pytest.raises(CallTimeout):
        await bus.call(queue, Ping(text="late"), CONTEXT, timeout=0.1)
    release.set()
    await first
    await bus.call(queue, Ping(text="last"), CONTEXT, timeout=DEADLINE)
    assert recorder.texts == ["first", "last"]


async def test_cancelled_call_leaves_no_trace(bus: Bus, queue: str) -> None:
    release = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        await release.wait()

    recorder = Recorder(work)
    await bus.serve(queue, recorder, concurrency=1)
    call = asyncio.create_task(bus.call(queue, Ping(), CONTEXT, timeout=DEADLINE))
    await recorder.wait_for(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    await bus.call(queue, Ping(), CONTEXT, timeout=DEADLINE)


async def test_calls_do_not_wait_behind_casts_of_a_queue_that_only_answers(bus: Bus, queue: str) -> None:
    await bus.cast(queue, Ping(text="nobody takes casts here"), CONTEXT)
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1, durable=False)
    await bus.call(queue, Ping(text="call"), CONTEXT, timeout=DEADLINE)
    assert recorder.texts == ["call"]


# --- fanout ------------------------------------------------------------------------------------------------


async def test_fanout_reaches_everybody_who_listens_in_order(make_bus: MakeBus) -> None:
    sender, one, two = await make_bus(), await make_bus(), await make_bus()
    topic = uuid.uuid4().hex

    async def fail(delivery: Delivery) -> None:
        raise ValueError("a listener that fails loses one message, no more")

    first, second = Recorder(), Recorder(fail)
    await sender.fanout(topic, Ping(text="nobody"), CONTEXT)
    alien = Alien(text="dropped by all, and what follows is heard")
    await one.listen(topic, first)
    subscription = await two.listen(topic, second)
    await sender.fanout(topic, alien, CONTEXT)
    for text in "abc":
        await sender.fanout(topic, Ping(text=text), RequestContext(request_id="req-f"))
    await first.wait_for(3)
    await second.wait_for(3)
    assert first.texts == second.texts == ["a", "b", "c"]
    assert first.deliveries[0].context.request_id == "req-f"
    await subscription.stop()
    await sender.fanout(topic, Ping(text="d"), CONTEXT)
    await first.wait_for(4)
    assert second.texts == ["a", "b", "c"]


# --- leaving -----------------------------------------------------------------------------------------------


async def test_drain_waits_for_what_runs_and_leaves_the_rest(bus: Bus, queue: str) -> None:
    release = asyncio.Event()
    ended: list[str] = []

    async def work(delivery: Delivery) -> None:
        await release.wait()
        assert isinstance(delivery.message, Ping)
        ended.append(delivery.message.text)

    recorder = Recorder(work)
    subscription = await bus.serve(queue, recorder, concurrency=2)
    for text in "abcd":
        await bus.cast(queue, Ping(text=text), CONTEXT)
    await recorder.wait_for(2)
    assert not await subscription.drain(0.05)
    assert ended == []
    release.set()
    assert await subscription.drain(DEADLINE)
    assert sorted(ended) == ["a", "b"]
    second = Recorder()
    await bus.serve(queue, second, concurrency=1)
    await second.wait_for(2)
    assert second.texts == ["c", "d"]
    assert len(recorder.deliveries) == 2


async def test_stop_gives_unfinished_messages_to_the_next_server(bus: Bus, queue: str) -> None:
    cancelled: list[str] = []

    async def work(delivery: Delivery) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert isinstance(delivery.message, Ping)
            cancelled.append(delivery.message.text)
            raise

    recorder = Recorder(work)
    subscription = await bus.serve(queue, recorder, concurrency=3)
    for text in "abcd":
        await bus.cast(queue, Ping(text=text), CONTEXT)
    await recorder.wait_for(3)
    await subscription.stop()
    assert sorted(cancelled) == ["a", "b", "c"]
    second = Recorder()
    await bus.serve(queue, second, concurrency=1)
    await second.wait_for(4)
    assert sorted(second.texts) == ["a", "b", "c", "d"]
    assert {delivery.attempt for delivery in second.deliveries} == {1, 2}
    await subscription.stop()


async def test_closed_bus_refuses(bus: Bus, queue: str) -> None:
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    assert bus.connected
    await bus.close()
    assert not bus.connected
    for attempt in (
        bus.cast(queue, Ping(), CONTEXT),
        bus.call(queue, Ping(), CONTEXT, timeout=1),
        bus.fanout(queue, Ping(), CONTEXT),
        bus.serve(queue, recorder, concurrency=1),
        bus.listen(queue, recorder),
    ):
        with pytest.raises(BusUnavailable):
            await attempt
    await bus.close()


async def test_volatile_says_whether_messages_die_with_the_process(bus: Bus) -> None:
    assert bus.volatile == isinstance(bus, LocalBus)
