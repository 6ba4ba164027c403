"""A shelved server leaves its host, by itself or when it is told to, and comes back on any other one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.database.flavors import seed_flavors
from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState
from tests.simulation.moves import act, all_is_well, claims, comes_back, guests, used
from tests.simulation.world import IMAGE, Client, World, nothing_left, until_running

RUNNING, OFF = GuestState.RUNNING, GuestState.OFF


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[World]:
    """A world in which shelved servers leave their hosts only when they are told to."""
    world = World(tmp_path, moves={"shelved_offload_time": -1})
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world
    await world.stop()


async def shelved(world: World, client: Client) -> tuple[str, str]:
    """A server that was put on the shelf, its guest off, its snapshot there; and the host it is on."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    await act(client, server_id, "shelve")
    await client.until(server_id, "SHELVED")
    return server_id, host


def snapshots(world: World) -> list[str]:
    """The images that were made of servers and are still there."""
    return [key for key, found in world.images.shelf.images.items() if key != IMAGE and not found.deleted]


async def offloaded(world: World, client: Client) -> tuple[str, str]:
    """One that has left its host, and that host."""
    server_id, host = await shelved(world, client)
    await act(client, server_id, "shelveOffload", token="admin")
    await client.until(server_id, "SHELVED_OFFLOADED")
    return server_id, host


async def test_it_leaves_when_it_is_told_to_and_comes_back(patient: World) -> None:
    client = Client(patient)
    server_id, _ = await shelved(patient, client)
    await asyncio.sleep(10.0)
    assert (await client.show(server_id))["status"] == "SHELVED"
    await act(client, server_id, "shelveOffload", code=403)
    address = (await client.show(server_id))["addresses"]
    await act(client, server_id, "shelveOffload", token="admin")
    server = await client.until(server_id, "SHELVED_OFFLOADED")
    assert server["OS-EXT-SRV-ATTR:host"] is None
    assert await guests(patient, server_id) == {} and await claims(patient, server_id) == {}
    assert (await used(patient))["instances"] == 1
    await all_is_well(patient)
    await act(client, server_id, "unshelve")
    server = await client.until(server_id, "ACTIVE")
    assert server["addresses"] == address
    await until_running(patient, server["OS-EXT-SRV-ATTR:host"], server_id)
    assert await claims(patient, server_id) == {server["OS-EXT-SRV-ATTR:host"]: True}
    assert snapshots(patient) == []
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [action["action"] for action in actions[:2]] == ["unshelve", "shelveOffload"]
    await all_is_well(patient)


async def test_it_leaves_by_itself_at_once(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    await act(client, server_id, "shelve")
    await client.until(server_id, "SHELVED_OFFLOADED")
    assert snapshots(world)
    assert await guests(world, server_id) == {} and await claims(world, server_id) == {}
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)
    assert snapshots(world) == []


async def test_it_comes_back_in_place_while_it_is_still_there(patient: World) -> None:
    client = Client(patient)
    server_id, host = await shelved(patient, client)
    await act(client, server_id, "unshelve", {"availability_zone": "nova"}, code=409)
    await act(client, server_id, "unshelve")
    await client.until(server_id, "ACTIVE")
    assert await guests(patient, server_id) == {host: RUNNING}
    assert snapshots(patient) == []
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert actions[0]["action"] == "unshelve"


async def test_it_comes_back_where_it_is_told_to(patient: World) -> None:
    client = Client(patient)
    server_id, host = await offloaded(patient, client)
    other = "host2" if host == "host1" else "host1"
    for body, code, how in (
        ({"host": other}, 403, {}),
        ({"host": "nowhere"}, 400, {"token": "admin"}),
        ({"availability_zone": "nowhere"}, 400, {}),
        ({"availability_zone": None, "more": 1}, 400, {}),
        ({"host": other}, 400, {"token": "admin", "version": "2.90"}),
        ({}, 400, {"version": "2.77"}),
    ):
        await act(client, server_id, "unshelve", body, code=code, **how)
    assert (await client.show(server_id))["status"] == "SHELVED_OFFLOADED"
    await act(client, server_id, "unshelve", {"availability_zone": "nova", "host": other}, token="admin")
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == other and server["OS-EXT-AZ:availability_zone"] == "nova"
    answer = await client("GET", f"/servers/{server_id}", version="2.96")
    assert answer.json()["server"]["pinned_availability_zone"] == "nova"


async def test_a_host_that_fails_is_passed_over_and_then_it_stays_away(patient: World) -> None:
    client = Client(patient)
    server_id, _ = await offloaded(patient, client)
    for driver in patient.drivers.values():
        driver.inject(Fault(verb="prepare", times=-1))
    await act(client, server_id, "unshelve")
    server = await client.until(server_id, "SHELVED_OFFLOADED")
    assert server["OS-EXT-SRV-ATTR:host"] is None and await claims(patient, server_id) == {}
    assert server["addresses"]
    for driver in patient.drivers.values():
        driver._faults.clear()
    await all_is_well(patient)
    await act(client, server_id, "unshelve")
    await client.until(server_id, "ACTIVE")
    await all_is_well(patient)


async def test_a_host_that_is_down_loses_its_copy_when_it_is_back(patient: World) -> None:
    client = Client(patient)
    server_id, host = await shelved(patient, client)
    await patient.agents[host].abandon()
    await asyncio.sleep(2 * patient.config.membership.down_after)
    await act(client, server_id, "shelveOffload", token="admin")
    await client.until(server_id, "SHELVED_OFFLOADED")
    assert await guests(patient, server_id) == {host: OFF}
    await comes_back(patient, host)
    assert await guests(patient, server_id) == {}


@pytest.mark.parametrize("action", ["shelveOffload", "unshelve"])
async def test_only_what_is_shelved(patient: World, action: str) -> None:
    client = Client(patient)
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    await act(client, server_id, action, code=409, token="admin")


async def test_a_resize_is_confirmed_when_nobody_does(tmp_path: Path) -> None:
    world = World(tmp_path, moves={"resize_confirm_window": 30})
    await world.start()
    try:
        await world.database.run(seed_flavors, world.clock.now())
        client = Client(world)
        server_id = await client.boot()
        await client.until(server_id, "ACTIVE")
        await act(client, server_id, "resize", {"flavorRef": "2"})
        await client.until(server_id, "VERIFY_RESIZE")
        await asyncio.sleep(20.0)
        assert (await client.show(server_id))["status"] == "VERIFY_RESIZE"
        await client.until(server_id, "ACTIVE")
        assert len(await claims(world, server_id)) == 1
        actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
        assert actions[0]["action"] == "confirmResize"
        await all_is_well(world)
    finally:
        await world.stop()
