"""What a bus over a broker promises besides: the broker, or a process that served, dies, hangs or is changed."""

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import Iterator

import msgspec
import pytest

from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.messaging.bus import BusUnavailable, CallTimeout
from kilonova.messaging.contract import Ping, ReportProgress
from kilonova.messaging.rabbitmq import RabbitBus
from kilonova.model.clock import SystemClock
from tests.contract.recorder import CONTEXT, DEADLINE, SETTINGS, Recorder, until

# --- the broker dies ---------------------------------------------------------------------------------------


@pytest.fixture
def mortal_broker(rabbitmq_server: RabbitMQ) -> Iterator[RabbitMQ]:
    """The session's broker, for a test that kills it; running again afterwards."""
    yield rabbitmq_server
    rabbitmq_server.start()


@pytest.mark.distributed
async def test_broker_killed_and_back(mortal_broker: RabbitMQ, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    bus = RabbitBus(mortal_broker.url, SystemClock(), random.Random(1), SETTINGS)
    await bus.start()
    recorder, listener, held = Recorder(), Recorder(), Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    await bus.listen(queue, listener)
    await bus.cast(f"{queue}.later", Ping(text="kept"), CONTEXT)
    await bus.serve(f"{queue}.held", Recorder(lambda _: asyncio.Event().wait()), concurrency=1)  # type: ignore[arg-type, return-value]
    waiting = asyncio.create_task(bus.call(f"{queue}.held", Ping(), CONTEXT, timeout=60))
    await bus.cast(queue, Ping(text="before"), CONTEXT)
    await recorder.wait_for(1)

    await asyncio.to_thread(mortal_broker.kill)
    with pytest.raises((CallTimeout, BusUnavailable)):
        async with asyncio.timeout(5):
            await waiting
    await until(lambda: not bus.connected)
    refused = 0
    async with asyncio.timeout(1):
        for _ in range(100):
            with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1"):
                await bus.cast(queue, Ping(text="between"), CONTEXT)
            refused += 1
    assert refused == 100

    await asyncio.to_thread(mortal_broker.start)
    await until(lambda: bus.connected)
    await bus.cast(queue, Ping(text="after"), CONTEXT)
    # "before" may come again: its acknowledgement may have died with the broker.
    await until(lambda: "after" in recorder.texts)
    assert set(recorder.texts) == {"before", "after"}
    await bus.serve(f"{queue}.later", held, concurrency=1)
    assert (await held.wait_for(1))[0].message == Ping(text="kept")
    # The listener hears again as soon as its own queue is bound again.
    for _ in itertools.count():
        await bus.fanout(queue, Ping(text="hint"), CONTEXT)
        if listener.deliveries:
            break
        await SystemClock().sleep(0.01)
    await bus.close()
    assert mortal_broker.password not in caplog.text


@pytest.mark.distributed
async def test_queue_that_an_operator_deletes_is_made_and_served_again(rabbitmq_server: RabbitMQ, queue: str) -> None:
    import aiormq

    bus = RabbitBus(rabbitmq_server.url, SystemClock(), random.Random(1), SETTINGS)
    await bus.start()
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    operator = await aiormq.connect(rabbitmq_server.url)
    channel = await operator.channel()
    await channel.queue_delete(queue)
    await bus.cast(queue, Ping(text="again"), CONTEXT)
    await recorder.wait_for(1)
    await operator.close()
    await bus.close()


@pytest.mark.distributed
async def test_broker_that_hangs_is_given_up_in_time(mortal_broker: RabbitMQ, queue: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, publish_timeout=0.3)
    bus = RabbitBus(mortal_broker.url, SystemClock(), random.Random(1), settings)
    await bus.start()
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    assert mortal_broker.process is not None
    mortal_broker.process.signal_group(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(BusUnavailable, match="in time"):
                await bus.cast(queue, Ping(), CONTEXT)
            with pytest.raises(BusUnavailable, match="in time"):
                await bus.call(queue, Ping(), CONTEXT, timeout=60)
    finally:
        mortal_broker.process.signal_group(signal.SIGCONT)
    await bus.cast(queue, Ping(text="after"), CONTEXT)
    # The sender could not know that the broker took the first one after all: at least once, not exactly.
    await until(lambda: "after" in recorder.texts)
    await bus.close()


@pytest.mark.distributed
async def test_queue_made_with_other_limits_is_used_as_it_is(
    rabbitmq_server: RabbitMQ, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = RabbitBus(rabbitmq_server.url, SystemClock(), random.Random(1), SETTINGS)
    changed = msgspec.structs.replace(SETTINGS, delivery_limit=9)
    new = RabbitBus(rabbitmq_server.url, SystemClock(), random.Random(1), changed)
    await old.start()
    await new.start()
    await old.cast(queue, Ping(text="old"), CONTEXT)
    await new.cast(queue, Ping(text="new"), CONTEXT)
    recorder = Recorder()
    await new.serve(queue, recorder, concurrency=1)
    await recorder.wait_for(2)
    assert recorder.texts == ["old", "new"]
    assert "keeps the limits it was made with" in caplog.text
    await old.close()
    await new.close()


_HOLDER = """
import asyncio, os, random, sys
from kilonova.messaging.rabbitmq import RabbitBus
from kilonova.model.clock import SystemClock

async def main():
    bus = RabbitBus(os.environ["BROKER"], SystemClock(), random.Random(1))
    await bus.start()
    async def hold(delivery):
        print("held", flush=True)
        await asyncio.Event().wait()
    await bus.serve(sys.argv[1], hold, concurrency=1)
    print("serving", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.distributed
async def test_what_a_killed_process_held_comes_again(rabbitmq_server: RabbitMQ, queue: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _HOLDER,
        queue,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BROKER": rabbitmq_server.url},
    )
    assert process.stdout is not None
    bus = RabbitBus(rabbitmq_server.url, SystemClock(), random.Random(1), SETTINGS)
    try:
        await bus.start()
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"serving\n"
            await bus.cast(queue, ReportProgress(action_id="a", epoch=1, task_state="x"), CONTEXT)
            assert await process.stdout.readline() == b"held\n"
    finally:
        process.kill()
        await process.wait()
    recorder = Recorder()
    await bus.serve(queue, recorder, concurrency=1)
    delivery = (await recorder.wait_for(1))[0]
    assert delivery.message == ReportProgress(action_id="a", epoch=1, task_state="x")
    assert delivery.attempt == 2
    await bus.close()


@pytest.mark.distributed
async def test_unreachable_broker_is_named_without_its_password() -> None:
    url = "amqp://kilonova:hush-hush@127.0.0.1:1/kilonova"
    bus = RabbitBus(url, SystemClock(), random.Random(1), SETTINGS)
    with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:1") as caught:
        await bus.start()
    assert "hush" not in caught.value.message
    assert not bus.connected


@pytest.mark.distributed
async def test_wrong_password_is_said_so(rabbitmq_server: RabbitMQ) -> None:
    url = rabbitmq_server.url.replace(rabbitmq_server.password, "wrong-word")
    bus = RabbitBus(url, SystemClock(), random.Random(1), SETTINGS)
    with pytest.raises(BusUnavailable, match="ACCESS_REFUSED") as caught:
        await bus.start()
    assert "wrong-word" not in caught.value.message
