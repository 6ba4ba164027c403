"""What only the fake driver has: delays, faults, and a journal that outlives a crash."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import REALISTIC_DELAYS, FakeSettings, Fault
from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestSpec, GuestState


class Stopwatch:
    """A clock that only notes how long it was asked to wait."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> int:
        return 1_000_000

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def spec(number: int = 1, **changes: Any) -> GuestSpec:
    values = {"vcpus": 1, "memory_mb": 64, "disk_gb": 1, "epoch": 1, **changes}
    return GuestSpec(server_id=f"server-{number}", name="n", hostname="h", project_id="p", user_id="u", **values)


def silent(stage: str) -> None:
    """Nobody is told."""


def driver(clock: Stopwatch | None = None, path: Path | None = None, **settings: Any) -> FakeDriver:
    return FakeDriver(clock or Stopwatch(), random.Random(1), FakeSettings(**settings), path)


async def test_delays_are_the_clocks_and_spread() -> None:
    clock = Stopwatch()
    fake = driver(clock, delays=REALISTIC_DELAYS, jitter=0.1)
    await fake.start()
    await fake.prepare(spec(), silent)
    await fake.release("server-1")
    await fake.power_off("server-1", 1.0)
    wanted = [REALISTIC_DELAYS["start"], REALISTIC_DELAYS["prepare"], REALISTIC_DELAYS["release"]]
    assert clock.slept[:3] == pytest.approx(wanted, rel=0.1)
    assert clock.slept[:3] != wanted
    assert clock.slept[3] == 1.0, "no longer than the grace"


async def test_faults_are_used_up() -> None:
    fake = driver(faults=[Fault(verb="prepare", times=2, retry=False)])
    fake.inject(Fault(verb="release", server_id="server-2", times=-1))
    await fake.start()
    for _ in range(2):
        with pytest.raises(HostFault) as caught:
            await fake.prepare(spec(), silent)
        assert not caught.value.retry
        assert await fake.list_guests() == []
    await fake.prepare(spec(1), silent)
    await fake.prepare(spec(2), silent)
    await fake.release("server-1")
    for _ in range(3):
        with pytest.raises(HostFault):
            await fake.release("server-2")


async def test_a_hanging_verb_can_be_cancelled() -> None:
    fake = driver(faults=[Fault(verb="prepare", hang=True)])
    await fake.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await fake.prepare(spec(), silent)
    await fake.prepare(spec(), silent)


async def test_the_journal_outlives_a_crash_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "guests.jsonl"
    fake = driver(path=path)
    await fake.start()
    for number in range(4):
        await fake.prepare(spec(number), silent)
    await fake.release("server-1")
    await fake.release("server-2")
    await fake.power_off("server-2", 0)
    await fake.destroy("server-3")
    with path.open("ab") as file:
        file.write(b'{"id":"server-0","gu')
    again = driver(path=path)
    await again.start()
    assert {guest.server_id: guest.state for guest in await again.list_guests()} == {
        "server-0": GuestState.PREPARED,
        "server-1": GuestState.RUNNING,
        "server-2": GuestState.OFF,
    }
    assert path.stat().st_mode & 0o077 == 0


async def test_the_journal_does_not_grow_without_bound(tmp_path: Path) -> None:
    path = tmp_path / "guests.jsonl"
    fake = driver(path=path)
    await fake.start()
    await fake.prepare(spec(), silent)
    await fake.release("server-1")
    for _ in range(3000):
        await fake.power_off("server-1", 0)
        await fake.power_on("server-1")
    assert len(path.read_bytes().splitlines()) < 1100


async def test_a_verb_costs_next_to_nothing(tmp_path: Path) -> None:
    fake = driver(path=tmp_path / "guests.jsonl")
    await fake.start()
    count = 500
    began = time.process_time()
    for number in range(count):
        await fake.prepare(spec(number), silent)
        await fake.release(f"server-{number}")
        await fake.power_off(f"server-{number}", 0)
        await fake.destroy(f"server-{number}")
    each = (time.process_time() - began) / (4 * count)
    assert each < 0.001, f"{each * 1e6:.0f} µs; measured 0.03 ms, the bound allows for a busy machine"


async def test_resources_are_what_was_said() -> None:
    fake = driver(vcpus=3, memory_mb=100, disk_gb=10)
    await fake.start()
    await fake.prepare(spec(disk_gb=4, ephemeral_gb=1), silent)
    resources = await fake.resources()
    assert (resources.vcpus, resources.memory_mb, resources.disk_gb, resources.free_disk_gb) == (3, 100, 10, 5)
