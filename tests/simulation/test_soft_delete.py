"""Deleted for the time being: restored, deleted for good, or reclaimed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kilonova.api.compute.submission import find
from kilonova.database import checks
from kilonova.database.flavors import seed_flavors
from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState
from tests.simulation.moves import LARGE
from tests.simulation.test_server_states import act, actions_of, guest_is, running
from tests.simulation.world import IMAGE, Client, World, nothing_left

INTERVAL = 300.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A cloud in which deleted servers can be restored for five minutes; two servers fit into the quota."""
    world = World(tmp_path, actions={"reclaim_instance_interval": INTERVAL}, quota={"instances": 2})
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world
    await world.stop()


async def deleted(client: Client, server_id: str) -> None:
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until(server_id, "SOFT_DELETED")


async def all_is_well(world: World) -> None:
    assert await world.database.run(checks.check, world.clock.now(), 0) == []


async def test_a_deleted_server_is_restored(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    assert await act(client, server_id, "restore") == 409
    await deleted(client, server_id)
    await guest_is(world, host, server_id, GuestState.OFF)
    await all_is_well(world)
    names = [server["id"] for server in (await client("GET", "/servers")).json()["servers"]]
    assert names == [], "its user takes it for gone"
    found = (await client("GET", "/servers?status=SOFT_DELETED")).json()["servers"]
    assert [server["id"] for server in found] == [server_id]
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    assert await act(client, server_id, "os-start") == 409
    assert await act(client, server_id, "restore", token="other") == 404
    assert await act(client, server_id, "restore") == 202
    server = await client.until(server_id, "ACTIVE")
    assert server["addresses"]["private"]
    await guest_is(world, host, server_id, GuestState.RUNNING)
    await all_is_well(world)
    await asyncio.sleep(INTERVAL + 10)
    await client.until(server_id, "ACTIVE")
    assert await actions_of(client, server_id) == ["restore", "delete", "create"]


async def test_what_nobody_restores_is_reclaimed(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    await deleted(client, server_id)
    await asyncio.sleep(INTERVAL - 20)
    assert (await client.show(server_id))["status"] == "SOFT_DELETED"
    await asyncio.sleep(30)
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_quota_is_given_up_and_asked_for_again(world: World, client: Client) -> None:
    first, _ = await running(world, client)
    await deleted(client, first)
    others = [await client.boot(f"s{n}") for n in range(2)]
    for server_id in others:
        await client.until(server_id, "ACTIVE")
    assert await act(client, first, "restore") == 403
    assert (await client.show(first))["status"] == "SOFT_DELETED"
    await all_is_well(world)
    await deleted(client, others[0])
    assert await act(client, first, "restore") == 202
    await client.until(first, "ACTIVE")
    await all_is_well(world)


async def test_a_forced_delete_does_not_wait(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    await deleted(client, server_id)
    assert await act(client, server_id, "lock") == 202
    assert await act(client, server_id, "forceDelete") == 409
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 409
    assert await act(client, server_id, "unlock") == 202
    assert await act(client, server_id, "forceDelete") == 202
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_a_forced_delete_ends_a_soft_one(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="power_off", after=5.0))
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    assert (await client.show(server_id))["OS-EXT-STS:task_state"] == "soft-deleting"
    assert await act(client, server_id, "forceDelete") == 202
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_what_never_ran_is_deleted_at_once(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", hang=True))
    server_id = await client.boot()
    await asyncio.sleep(1.0)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    await nothing_left(world)


async def test_a_restore_that_fails_leaves_a_server_that_is_off(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    await deleted(client, server_id)
    world.drivers[host].inject(Fault(verb="power_on"))
    assert await act(client, server_id, "restore") == 202
    await client.until(server_id, "SHUTOFF")
    await all_is_well(world)
    assert await act(client, server_id, "os-start") == 202
    await client.until(server_id, "ACTIVE")


async def test_a_restore_without_a_guest_ends_in_error(world: World, client: Client) -> None:
    """Found by seeds 102503 and 104912: it was called SHUTOFF, though nothing of it was there to be started."""
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="prepare"))
    assert await act(client, server_id, "rebuild", {"imageRef": IMAGE}) == 202
    await client.until(server_id, "ERROR")
    await deleted(client, server_id)
    assert await act(client, server_id, "restore") == 202
    server = await client.until(server_id, "ERROR")
    assert "is not on this host" in server["fault"]["message"]
    assert await act(client, server_id, "rebuild", {"imageRef": IMAGE}) == 202
    await client.until(server_id, "ACTIVE")
    await all_is_well(world)


async def test_a_reset_brings_it_back_into_the_count(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    await deleted(client, server_id)
    assert await act(client, server_id, "os-resetState", {"state": "active"}, token="admin") == 202
    await all_is_well(world)
    await client.until(server_id, "SHUTOFF")  # its guest is off, and the server follows
    await asyncio.sleep(INTERVAL + 10)
    assert (await client.show(server_id))["status"] == "SHUTOFF"


async def test_a_guest_found_running_is_shut_down(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    await deleted(client, server_id)
    await world.drivers[host].power_on(server_id)
    await asyncio.sleep(1.5 * world.config.compute.reconcile_interval)
    await guest_is(world, host, server_id, GuestState.OFF)


async def test_a_delete_while_its_host_is_down(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    await world.agents[host].abandon()
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until(server_id, "SOFT_DELETED")
    await all_is_well(world)
    capabilities = world.agents[host]._capabilities
    world.agents[host] = world.agent(host)
    await world.agents[host].start(capabilities)
    await guest_is(world, host, server_id, GuestState.OFF)


async def test_a_resize_that_overtakes_a_delete_leaves_nothing_to_restore(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulator (seed 2034575): the delete had looked, then the resize began. The server was put away with a
    move half done; what that was charged with was never given back."""
    server_id, _ = await running(world, client)
    run = world.database.run

    async def overtaken(transaction: Any, *args: Any, **kwargs: Any) -> Any:
        value = await run(transaction, *args, **kwargs)
        if transaction is find:
            monkeypatch.undo()
            assert await act(client, server_id, "resize", {"flavorRef": LARGE}) == 202
        return value

    monkeypatch.setattr(world.database, "run", overtaken)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)
    await all_is_well(world)
