"""What operators say of a host counts: a disabled one gets nothing new, one that is forced down loses what it works on."""

import asyncio

import pytest

from kilonova.hypervisor.fake.settings import Fault
from tests.simulation.test_faults import host_at_work
from tests.simulation.world import Client, World, nothing_left, until_running


async def say(client: Client, host: str, **said: object) -> None:
    """What an operator says of the nova-compute of a host."""
    services = (await client("GET", "/os-services?binary=nova-compute", token="admin")).json()["services"]
    service_id = next(service["id"] for service in services if service["host"] == host)
    answer = await client("PUT", f"/os-services/{service_id}", said, token="admin")
    assert answer.status_code == 200, answer.text


async def hosts_of_new_servers(client: Client, count: int) -> set[str]:
    ids = [await client.boot(f"s{number}") for number in range(count)]
    return {(await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] for server_id in ids}


async def test_a_disabled_host_gets_nothing_new(world: World, client: Client) -> None:
    await say(client, "host1", status="disabled", disabled_reason="memory is exchanged")
    await asyncio.sleep(2)
    assert await hosts_of_new_servers(client, 4) == {"host2"}
    await say(client, "host1", status="enabled")
    await asyncio.sleep(2)
    assert "host1" in await hosts_of_new_servers(client, 4)


@pytest.mark.parametrize("said", [{"status": "disabled"}, {"forced_down": True}], ids=["disabled", "forced down"])
async def test_what_an_operator_says_counts_at_once(world: World, client: Client, said: dict[str, object]) -> None:
    """Although the scheduler has just looked at its hosts."""
    await client.until(await client.boot("before"), "ACTIVE")
    await say(client, "host1", **said)
    assert await hosts_of_new_servers(client, 4) == {"host2"}


async def test_a_host_that_is_forced_down_gets_nothing_new(world: World, client: Client) -> None:
    await say(client, "host2", forced_down=True)
    await asyncio.sleep(2)
    assert await hosts_of_new_servers(client, 4) == {"host1"}
    await say(client, "host2", forced_down=False)
    await asyncio.sleep(2)
    assert "host2" in await hosts_of_new_servers(client, 4)


async def test_a_disabled_host_finishes_what_it_has(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1, hang=True))
    server_id = await client.boot()
    host = await host_at_work(world, client, server_id)
    await say(client, host, status="disabled")
    await asyncio.sleep(30)
    assert (await client.show(server_id))["OS-EXT-SRV-ATTR:host"] == host
    assert world.agents[host]._workplace.running()


async def test_work_of_a_host_that_is_forced_down_is_taken_back(world: World, client: Client) -> None:
    """Although it lives and says so: the operator knows better, it may be cut off from its storage."""
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1, hang=True))
    server_id = await client.boot()
    host = await host_at_work(world, client, server_id)
    other = next(name for name in world.drivers if name != host)
    world.drivers[other]._faults.clear()
    began = world.clock.monotonic()
    await say(client, host, forced_down=True)
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == other
    assert world.clock.monotonic() - began < world.config.membership.down_after + 2 * world.config.actions.lease
    await until_running(world, other, server_id)
    assert await world.drivers[host].list_guests() == []
    assert not world.agents[host]._workplace.running()
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_a_server_of_a_host_that_is_forced_down_can_be_deleted(world: World, client: Client) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    await say(client, host, forced_down=True)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(65)  # the next comparison
    await nothing_left(world)
