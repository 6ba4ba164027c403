"""The buses under test: every implementation, made and left in order."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import pytest

from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.messaging.bus import Bus
from kilonova.messaging.local import LocalBus
from kilonova.messaging.rabbitmq import RabbitBus
from kilonova.messaging.settings import BusSettings
from kilonova.model.clock import SystemClock
from tests.contract.recorder import SETTINGS, MakeBus, until


@pytest.fixture(params=["local", pytest.param("rabbitmq", marks=pytest.mark.distributed)])
async def make_bus(request: pytest.FixtureRequest) -> AsyncIterator[MakeBus]:
    """Makes started buses that reach each other: several processes on one broker, or one shared local bus."""
    buses: list[Bus] = []

    async def make(settings: BusSettings = SETTINGS) -> Bus:
        if request.param == "local":
            if buses:
                return buses[0]
            bus: Bus = LocalBus(SystemClock(), settings)
        else:
            server: RabbitMQ = request.getfixturevalue("rabbitmq_server")
            bus = RabbitBus(server.url, SystemClock(), random.Random(1), settings)
        await bus.start()
        buses.append(bus)
        return bus

    yield make
    for bus in buses:
        await bus.close()
    # aiormq ends its own tasks a moment after it said that it is closed.
    await until(lambda: not asyncio.all_tasks() - {asyncio.current_task()})


@pytest.fixture
async def bus(make_bus: MakeBus) -> Bus:
    return await make_bus()


@pytest.fixture
def queue() -> str:
    return f"test.{uuid.uuid4().hex[:12]}"
