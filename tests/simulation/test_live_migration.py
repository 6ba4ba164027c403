"""Live migration: the guest is on one host or the other, never on both, however it ends."""

import asyncio
from typing import Any

import pytest

from kilonova.hypervisor.fake.settings import FakeSettings, Fault
from kilonova.messaging.bus import BusUnavailable
from kilonova.messaging.contract import FinishStep
from kilonova.model.guest import GuestState
from tests.simulation.moves import act, all_is_well, claims, comes_back, guests, history
from tests.simulation.world import Client, World, nothing_left, until_running

RUNNING, PAUSED = GuestState.RUNNING, GuestState.PAUSED
AUTO = {"block_migration": "auto", "host": None}


async def booted(world: World, client: Client) -> tuple[str, str, str]:
    """A server that runs, its host and the other one."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    return server_id, host, "host2" if host == "host1" else "host1"


def slow(world: World, host: str, seconds: float) -> None:
    """To hand a guest over takes so long there."""
    world.drivers[host]._settings = FakeSettings(delays={"move": seconds})


async def migrate(client: Client, server_id: str, code: int = 202, version: str = "2.100", **asked: Any) -> None:
    await act(client, server_id, "os-migrateLive", {**AUTO, **asked}, code=code, token="admin", version=version)


async def under_way(client: Client, server_id: str, status: str) -> dict[str, Any]:
    """The live migration of the server, once it has come so far."""
    async with asyncio.timeout(60):
        while True:
            found = (await client("GET", f"/servers/{server_id}/migrations", token="admin")).json()["migrations"]
            if found and found[0]["status"] == status:
                return dict(found[0])
            await asyncio.sleep(0.1)


async def test_a_guest_goes_on_elsewhere(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    slow(world, source, 3.0)
    await migrate(client, server_id)
    assert (await client.show(server_id))["status"] == "MIGRATING"
    await under_way(client, server_id, "running")
    assert await guests(world, server_id) == {source: RUNNING, destination: GuestState.PREPARED}
    assert await claims(world, server_id) == {source: True, destination: False}
    await all_is_well(world)
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == destination
    assert await guests(world, server_id) == {destination: RUNNING}
    assert await claims(world, server_id) == {destination: True}
    assert await history(client, server_id) == [("live-migration", "completed")]
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert actions[0]["action"] == "live-migration"
    await all_is_well(world)


async def test_a_paused_guest_stays_paused(world: World, client: Client) -> None:
    server_id, _, destination = await booted(world, client)
    await act(client, server_id, "pause")
    await client.until(server_id, "PAUSED")
    await migrate(client, server_id)
    server = await client.until(server_id, "PAUSED")
    assert server["OS-EXT-SRV-ATTR:host"] == destination
    assert await guests(world, server_id) == {destination: PAUSED}
    await act(client, server_id, "unpause")
    await client.until(server_id, "ACTIVE")
    await all_is_well(world)


async def test_an_operator_aborts_it(world: World, client: Client) -> None:
    server_id, source, _ = await booted(world, client)
    slow(world, source, 60.0)
    await migrate(client, server_id)
    move = await under_way(client, server_id, "running")
    path = f"/servers/{server_id}/migrations/{move['id']}"
    assert (await client("DELETE", path, token="admin")).status_code == 202
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == source
    assert (await guests(world, server_id))[source] is RUNNING
    assert await claims(world, server_id) == {source: True}
    assert await history(client, server_id) == [("live-migration", "cancelled")]
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [action["action"] for action in actions[:2]] == ["live_migration_cancel", "live-migration"]
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {source: RUNNING}
    await all_is_well(world)


async def test_an_operator_forces_it_to_end(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    slow(world, source, 600.0)
    await migrate(client, server_id)
    move = await under_way(client, server_id, "running")
    path = f"/servers/{server_id}/migrations/{move['id']}/action"
    assert (await client("POST", path, {"force_complete": None}, token="admin")).status_code == 202
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == destination
    await until_running(world, destination, server_id)
    assert await history(client, server_id) == [("live-migration", "completed")]


@pytest.mark.parametrize("verb", ["prepare", "move"])
async def test_a_failure_leaves_it_where_it_was(world: World, client: Client, verb: str) -> None:
    server_id, source, destination = await booted(world, client)
    world.drivers[destination if verb == "prepare" else source].inject(Fault(verb=verb, times=-1))
    await migrate(client, server_id)
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == source
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {source: RUNNING}
    assert await claims(world, server_id) == {source: True}
    assert await history(client, server_id) == [("live-migration", "failed")]
    await all_is_well(world)


async def test_a_word_that_is_lost_after_the_hand_over(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source has handed over and cannot say so: nobody runs until somebody knows, and then exactly one."""
    server_id, source, destination = await booted(world, client)
    call, deaf = world.bus.call, True

    async def half_deaf(queue: str, message: Any, context: Any, *, timeout: float) -> Any:
        if deaf and isinstance(message, FinishStep) and message.step == "transfer":
            raise BusUnavailable("the question is lost")
        return await call(queue, message, context, timeout=timeout)

    monkeypatch.setattr(world.bus, "call", half_deaf)
    await migrate(client, server_id)
    await asyncio.sleep(3.0)
    assert await guests(world, server_id) == {source: GuestState.MOVED, destination: GuestState.PREPARED}
    deaf = False
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == destination
    assert await guests(world, server_id) == {destination: RUNNING}


async def test_a_source_that_dies_after_the_hand_over_lets_it_go_on_when_it_is_back(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_id, source, _ = await booted(world, client)
    call = world.bus.call

    async def mute(queue: str, message: Any, context: Any, *, timeout: float) -> Any:
        if isinstance(message, FinishStep) and message.step == "transfer":
            raise BusUnavailable("the question is lost")
        return await call(queue, message, context, timeout=timeout)

    monkeypatch.setattr(world.bus, "call", mute)
    await migrate(client, server_id)
    await asyncio.sleep(2.0)
    await world.agents[source].abandon()
    monkeypatch.setattr(world.bus, "call", call)
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == source
    assert (await guests(world, server_id))[source] is GuestState.MOVED
    await comes_back(world, source)
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {source: RUNNING}
    await all_is_well(world)


async def test_a_delete_ends_it_on_both_hosts(world: World, client: Client) -> None:
    server_id, source, _ = await booted(world, client)
    slow(world, source, 60.0)
    await migrate(client, server_id)
    await under_way(client, server_id, "running")
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(1.0)
    await nothing_left(world)


async def test_what_is_refused_at_once(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    old = {"block_migration": False, "disk_over_commit": False}
    for version, body, code in (
        ("2.1", {**old, "host": source}, 400),
        ("2.1", {**old, "host": "nowhere"}, 400),
        ("2.100", {**AUTO, "host": "nowhere"}, 400),
        ("2.30", {**AUTO, "force": True}, 400),
        ("2.68", {**AUTO, "force": True, "host": destination}, 400),
        ("2.1", {"host": None}, 400),
        ("2.25", {**old, "host": None}, 400),
    ):
        await act(client, server_id, "os-migrateLive", body, code=code, token="admin", version=version)
    await act(client, server_id, "os-migrateLive", AUTO, code=403)
    await act(client, server_id, "os-stop")
    await client.until(server_id, "SHUTOFF")
    await migrate(client, server_id, code=409)
    assert await history(client, server_id) == []


async def test_a_host_that_cannot_be_one_is_found_out_later_from_2_34_on(world: World, client: Client) -> None:
    server_id, source, _ = await booted(world, client)
    await migrate(client, server_id, host=source)
    assert (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] == source
    assert await history(client, server_id) == [("live-migration", "error")]
    assert await guests(world, server_id) == {source: RUNNING}
    await all_is_well(world)
