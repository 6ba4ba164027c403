"""Evacuation: a host is dead or said to be, its servers are made anew elsewhere, and it comes back."""

import asyncio

import pytest

from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState
from tests.simulation.moves import act, all_is_well, claims, comes_back, guests, history, used
from tests.simulation.world import Client, World, nothing_left, until_running

RUNNING, OFF = GuestState.RUNNING, GuestState.OFF


async def on_a_dead_host(world: World, client: Client) -> tuple[str, str, str]:
    """A server whose host's agent is gone and silent for long, that host and the other one."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    await world.agents[host].abandon()
    await asyncio.sleep(2 * world.config.membership.down_after)
    return server_id, host, "host2" if host == "host1" else "host1"


async def evacuate(client: Client, server_id: str, code: int = 200, version: str = "2.94", **body: object) -> None:
    await act(client, server_id, "evacuate", body, code=code, token="admin", version=version)


async def test_a_server_is_made_anew_and_its_old_host_tidies_up(world: World, client: Client) -> None:
    server_id, source, destination = await on_a_dead_host(world, client)
    address = (await client.show(server_id))["addresses"]
    await evacuate(client, server_id)
    assert (await client.show(server_id))["status"] == "REBUILD"
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == destination and server["addresses"] == address
    await until_running(world, destination, server_id)
    assert await claims(world, server_id) == {destination: True}
    assert await history(client, server_id) == [("evacuation", "done")]
    assert await used(world) == {"instances": 1, "cores": 1, "ram": 512}
    await all_is_well(world)
    await comes_back(world, source)
    assert await guests(world, server_id) == {destination: RUNNING}
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    assert await history(client, server_id) == [("evacuation", "completed")]


@pytest.mark.parametrize(
    ("stopped", "version", "becomes"),
    [(False, "2.95", "SHUTOFF"), (True, "2.94", "SHUTOFF"), (True, "2.95", "SHUTOFF"), (False, "2.13", "ACTIVE")],
)
async def test_what_it_becomes(world: World, client: Client, stopped: bool, version: str, becomes: str) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    if stopped:
        await act(client, server_id, "os-stop")
        await client.until(server_id, "SHUTOFF")
    found = (await client("GET", "/os-services?binary=nova-compute", token="admin")).json()["services"]
    service = next(one["id"] for one in found if one["host"] == host)
    await world.agents[host].abandon()
    down = await client("PUT", f"/os-services/{service}", {"forced_down": True}, token="admin")
    assert down.status_code == 200, down.text
    body = {"onSharedStorage": False} if version == "2.13" else {}
    answer = await act(client, server_id, "evacuate", body, code=200, token="admin", version=version)
    assert (version == "2.13") == bool(answer and answer["adminPass"])
    server = await client.until(server_id, becomes)
    assert server["OS-EXT-SRV-ATTR:host"] != host
    await asyncio.sleep(2.5 * world.config.compute.reconcile_interval)
    there = (await guests(world, server_id))[server["OS-EXT-SRV-ATTR:host"]]
    assert there is (RUNNING if becomes == "ACTIVE" else OFF)
    await all_is_well(world)


async def test_only_a_host_that_is_down_is_evacuated(world: World, client: Client) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await evacuate(client, server_id, code=400)
    await act(client, server_id, "evacuate", {}, code=403)
    await world.agents[host].abandon()
    await asyncio.sleep(2 * world.config.membership.down_after)
    await evacuate(client, server_id, code=400, host=host)
    await evacuate(client, server_id, code=404, host="nowhere")
    await evacuate(client, server_id, code=400, version="2.60", force=True)
    await evacuate(client, server_id, code=400, version="2.94", force=True, host="host1")
    assert await history(client, server_id) == []
    assert (await client.show(server_id))["status"] == "ACTIVE"


async def test_a_named_host_may_be_forced(world: World, client: Client) -> None:
    server_id, _, destination = await on_a_dead_host(world, client)
    await evacuate(client, server_id, version="2.60", host=destination, force=True)
    assert (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] == destination


async def test_a_host_that_comes_back_meanwhile_keeps_its_guest_off(world: World, client: Client) -> None:
    server_id, source, destination = await on_a_dead_host(world, client)
    world.drivers[destination].inject(Fault(verb="prepare", hang=True))
    await evacuate(client, server_id)
    await asyncio.sleep(1.0)
    await comes_back(world, source)
    assert (await guests(world, server_id))[source] is OFF
    await world.agents[destination].abandon()
    await comes_back(world, destination)
    await client.until(server_id, "ACTIVE")
    await until_running(world, destination, server_id)
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {destination: RUNNING}
    await all_is_well(world)


async def test_no_host_can_take_it(world: World, client: Client) -> None:
    server_id, source, destination = await on_a_dead_host(world, client)
    world.drivers[destination].inject(Fault(verb="prepare", times=-1))
    await evacuate(client, server_id)
    server = await client.until(server_id, "ERROR")
    assert server["OS-EXT-SRV-ATTR:host"] == source and "No other host could take it" in server["fault"]["message"]
    assert await claims(world, server_id) == {source: True}
    assert await history(client, server_id) == [("evacuation", "error")]
    await all_is_well(world)
    world.drivers[destination]._faults.clear()
    await evacuate(client, server_id)
    await client.until(server_id, "ACTIVE")
    await all_is_well(world)


async def test_a_delete_ends_an_evacuation(world: World, client: Client) -> None:
    server_id, source, destination = await on_a_dead_host(world, client)
    world.drivers[destination].inject(Fault(verb="prepare", hang=True))
    await evacuate(client, server_id)
    await asyncio.sleep(1.0)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await comes_back(world, source)
    await asyncio.sleep(1.0)
    await nothing_left(world)
