"""Broker, conductor or answers are away for a while: what waited goes on at once when they are back, not when a clock says so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.conductor.due import Due
from kilonova.hypervisor.fake.settings import FakeSettings, Fault
from kilonova.messaging.bus import BusUnavailable, CallTimeout
from kilonova.messaging.contract import BeginStep, HostReport, Message
from kilonova.model.guest import GuestState
from kilonova.simulation.virtual_time import VirtualClock
from tests.simulation.world import Client, World, nothing_left, opened, until_running


class Road:
    """The world's bus, which can be closed: altogether, or only for what hosts ask the conductor."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = self.silent = False
        self.unanswered = 0
        self._cast, self._call = world.bus.cast, world.bus.call
        monkeypatch.setattr(world.bus, "cast", self.cast)
        monkeypatch.setattr(world.bus, "call", self.call)
        monkeypatch.setattr(type(world.bus), "connected", property(lambda bus: not self.broken))

    async def cast(self, queue: str, message: Message, context: Any) -> None:
        if self.broken:
            raise BusUnavailable("the broker is away")
        await self._cast(queue, message, context)

    async def call(self, queue: str, message: Message, context: Any, *, timeout: float) -> Message:
        if self.broken or self.silent:
            raise BusUnavailable("the broker is away")
        if self.unanswered and isinstance(message, BeginStep):
            self.unanswered -= 1
            await asyncio.sleep(timeout)
            raise CallTimeout("whoever took the question has died")
        return await self._call(queue, message, context, timeout=timeout)


@pytest.fixture
def road(world: World, monkeypatch: pytest.MonkeyPatch) -> Road:
    return Road(world, monkeypatch)


async def until_settled(world: World, client: Client, server_id: str) -> float:
    """Seconds until it is ACTIVE and its guest runs."""
    began = world.clock.monotonic()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    return world.clock.monotonic() - began


async def test_a_broker_that_was_away_for_long_is_used_as_soon_as_it_is_back(
    world: World, client: Client, road: Road
) -> None:
    """The sweep does not send while nobody takes it: each vain try made the action wait twice as long as before."""
    road.broken = True
    server_id = await client.boot()
    await asyncio.sleep(21)
    road.broken = False
    assert await until_settled(world, client, server_id) < 3


async def test_a_question_whose_taker_died_is_asked_again_soon(world: World, client: Client, road: Road) -> None:
    road.unanswered = 1
    server_id = await client.boot()
    assert await until_settled(world, client, server_id) < 5


async def test_steps_wait_for_a_conductor_that_is_restarted(world: World, client: Client, road: Road) -> None:
    """Longer than a lease: the message is held, and begun when there is an answer; it is not left to the sweep."""
    road.silent = True
    server_id = await client.boot()
    await asyncio.sleep(12)
    road.silent = False
    assert await until_settled(world, client, server_id) < 5


async def test_a_host_that_was_silent_looks_at_its_guests_when_it_is_heard_again(
    world: World, client: Client, road: Road
) -> None:
    """While it was taken for down its server was deleted without asking it; the guest must not stay until the next minute."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    road.silent = True
    await asyncio.sleep(15)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    assert await world.drivers[host].show_guest(server_id) is not None
    road.silent = False
    await asyncio.sleep(6)
    assert await world.drivers[host].show_guest(server_id) is None


async def test_a_heartbeat_without_an_answer_is_not_waited_for_until_the_lease_is_lost(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float] = []
    call = world.bus.call

    async def watched(queue: str, message: Message, context: Any, *, timeout: float) -> Message:
        if isinstance(message, HostReport):
            timeouts.append(timeout)
        return await call(queue, message, context, timeout=timeout)

    monkeypatch.setattr(world.bus, "call", watched)
    await asyncio.sleep(10)
    assert timeouts and max(timeouts) + world.config.membership.heartbeat < world.config.actions.lease


async def test_a_cloud_without_any_host_says_so_in_the_end(world: World, client: Client, road: Road) -> None:
    """Waiting for silent hosts has a bound."""
    road.silent = True
    await asyncio.sleep(15)
    began = world.clock.monotonic()
    server_id = await client.boot()
    server = await client.until(server_id, "ERROR")
    assert "ComputeFilter" in server["fault"]["message"]
    assert world.clock.monotonic() - began < 4 * world.config.membership.down_after
    again = await client.boot()
    await client.until(again, "ERROR")
    assert world.clock.monotonic() - began < 5 * world.config.membership.down_after


async def test_ports_taken_while_the_server_is_deleted_are_given_back(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network service is slow: a whole delete fits between its question and its answer."""
    allocate = world.networks.allocate

    async def slowly(*arguments: Any) -> Any:
        await asyncio.sleep(8)
        return await allocate(*arguments)

    monkeypatch.setattr(world.networks, "allocate", slowly)
    server_id = await client.boot()
    await asyncio.sleep(1)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(20)
    await nothing_left(world)


async def test_a_conductor_with_too_much_to_do_is_waited_for(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer takes 2.5 s. Impatient hosts would ask without end, be taken for dead, and have their builds moved about."""
    call = world.bus.call

    async def slow(queue: str, message: Message, context: Any, *, timeout: float) -> Message:
        if timeout < 2.5:
            await asyncio.sleep(timeout)
            raise CallTimeout("it is still in the queue")
        await asyncio.sleep(2.5)
        return await call(queue, message, context, timeout=timeout - 2.5)

    monkeypatch.setattr(world.bus, "call", slow)
    await asyncio.sleep(30)
    server_id = await client.boot()
    assert await until_settled(world, client, server_id) < 30
    [action] = (await client("GET", f"/servers/{server_id}/os-instance-actions", token="admin")).json()[
        "instanceActions"
    ]
    path = f"/servers/{server_id}/os-instance-actions/{action['request_id']}"
    shown = (await client("GET", path, token="admin")).json()["instanceAction"]
    assert "sweep.reschedule" not in [event["event"] for event in shown["events"]]


async def test_a_sweep_that_a_bug_breaks_off_is_begun_anew(
    world: World, client: Client, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row that nobody foresaw must not keep every other late action from its remedy."""
    broken = []
    look = Due._look

    def breaking(due: Due, connection: Connection, now: int) -> list[Any]:
        if len(broken) < 2:
            broken.append(now)
            raise ZeroDivisionError("a bug")
        return look(due, connection, now)

    monkeypatch.setattr(Due, "_look", breaking)
    road.broken = True
    server_id = await client.boot()
    road.broken = False
    await until_settled(world, client, server_id)
    assert len(broken) == 2


class Leaping(VirtualClock):
    """A wall clock that leaps, as that of a machine does which slept or was paused."""

    def leap(self, seconds: float) -> None:
        self._epoch += int(seconds * 1_000_000)


async def test_a_machine_that_slept_takes_nobody_for_dead(tmp_path: Path) -> None:
    """All hosts were silent for an hour, and so was everybody else: what they were doing goes on."""
    clock = Leaping()
    slow = FakeSettings(delays={"reboot": 8.0})
    rarely = {"heartbeat": 5.0}  # the sweep looks first
    async with opened(tmp_path, clock=clock, machine=slow, membership=rarely) as (_, client):
        server_id = await client.boot()
        await asyncio.sleep(15)
        answer = await client("POST", f"/servers/{server_id}/action", {"reboot": {"type": "SOFT"}})
        assert answer.status_code == 202
        await asyncio.sleep(2.1)
        clock.leap(3600)
        await asyncio.sleep(30)
        server = await client.show(server_id)
        assert (server["status"], server["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
        assert "fault" not in server
        [reboot, _] = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
        assert (reboot["action"], reboot["message"]) == ("reboot", None)


async def left_behind(world: World, client: Client) -> tuple[str, str]:
    """A deleted server whose guest is still on its host, as if the delete had gone on without that."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    guests = world.drivers[host]._guests
    kept = guests[server_id]
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(5)
    guests[server_id] = kept
    return server_id, host


async def test_a_host_that_slept_looks_at_once_what_was_decided_without_it(tmp_path: Path) -> None:
    clock = Leaping()
    async with opened(tmp_path, clock=clock) as (world, client):
        server_id, host = await left_behind(world, client)
        clock.leap(60)
        await asyncio.sleep(3 * world.config.membership.heartbeat)
        assert await world.drivers[host].show_guest(server_id) is None


# --- what a host has missed ------------------------------------------------------------------------------------


async def test_a_confirmed_guest_that_cannot_be_let_run_is_let_run_soon(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="release", message="the hypervisor is busy", times=1))
    server_id = await client.boot()
    assert await until_settled(world, client, server_id) < 4 * world.config.membership.heartbeat


async def test_a_step_lets_run_what_was_confirmed(world: World, client: Client) -> None:
    """The agent was restarted between the database's word and the guest's first instruction."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    guest = world.drivers[host]._guests[server_id]
    guest.state, guest.released = GuestState.PREPARED, False
    answer = await client("POST", f"/servers/{server_id}/action", {"reboot": {"type": "HARD"}})
    assert answer.status_code == 202
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-STS:task_state"] is None and "fault" not in server
    assert guest.state is GuestState.RUNNING


async def test_one_guest_that_cannot_be_mended_keeps_no_other_from_it(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        ids = [await client.boot() for _ in range(3)]
        for server_id in ids:
            await client.until(server_id, "ACTIVE")
            await until_running(world, "host1", server_id)
        driver = world.drivers["host1"]
        driver.inject(Fault(verb="release", server_id=ids[0], message="its disk is broken", times=100))
        for server_id in ids:
            driver._guests[server_id].state, driver._guests[server_id].released = GuestState.PREPARED, False
        await asyncio.sleep(65)
        states = [driver._guests[server_id].state for server_id in ids]
        assert states == [GuestState.PREPARED, GuestState.RUNNING, GuestState.RUNNING]


async def test_a_host_hears_with_its_heartbeat_that_something_was_decided_without_it(
    world: World, client: Client
) -> None:
    server_id, host = await left_behind(world, client)
    await asyncio.sleep(5)
    assert await world.drivers[host].show_guest(server_id) is not None  # nobody has told the host
    path = f"/os-services/{(await compute_service(client, host))['id']}"
    for forced_down in (True, False):  # as an operator who has moved its servers away does
        assert (await client("PUT", path, {"forced_down": forced_down}, token="admin")).status_code == 200
    await asyncio.sleep(3 * world.config.membership.heartbeat)
    assert await world.drivers[host].show_guest(server_id) is None


async def compute_service(client: Client, host: str) -> dict[str, Any]:
    listed = (await client("GET", f"/os-services?host={host}", token="admin")).json()["services"]
    return next(service for service in listed if service["binary"] == "nova-compute")


async def test_a_delete_without_its_host_is_told_to_it_when_it_has_ended(
    world: World, client: Client, road: Road
) -> None:
    """Seed 530: the host was heard again, and compared itself, while the delete that had gone on without it was not done yet."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    road.broken = True
    await asyncio.sleep(world.config.membership.down_after + 2)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    road.broken = False
    await client.until_gone(server_id)
    await asyncio.sleep(4 * world.config.membership.heartbeat)
    assert await world.drivers[host].show_guest(server_id) is None
