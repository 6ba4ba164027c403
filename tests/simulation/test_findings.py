"""What a host finds and may not mend by itself is kept where an operator sees it, for as long as it is so."""

import asyncio

import msgspec

from kilonova.database import findings
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState, Nic
from tests.simulation.world import Client, World, until_running


async def active(world: World, client: Client) -> tuple[str, str, FakeDriver]:
    """A server that runs, its host and the host's driver."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    return server_id, host, world.drivers[host]


async def reported(world: World) -> list[tuple[str, str, str]]:
    return [(one.kind, one.host, one.subject) for one in await world.database.run(findings.listing)]


async def test_a_guest_of_nobody_is_shown_until_it_is_gone(world: World, client: Client) -> None:
    server_id, host, driver = await active(world, client)
    stray = "99999999-9999-4999-8999-999999999999"
    mine = driver._guests[server_id]
    driver._guests[stray] = msgspec.structs.replace(mine, spec=msgspec.structs.replace(mine.spec, server_id=stray))
    await asyncio.sleep(65)
    [first] = await world.database.run(findings.listing)
    assert (first.kind, first.host, first.subject) == ("guest_of_nobody", host, stray)
    assert await driver.show_guest(stray) is not None  # removing it is policy
    await asyncio.sleep(60)
    [again] = await world.database.run(findings.listing)
    assert again.first_seen_at == first.first_seen_at and again.last_seen_at > first.last_seen_at
    await driver.destroy(stray)
    await asyncio.sleep(60)
    assert await reported(world) == []


async def test_a_guest_that_vanished_is_shown_until_its_server_is_deleted(world: World, client: Client) -> None:
    server_id, host, driver = await active(world, client)
    await driver.destroy(server_id)
    await asyncio.sleep(65)
    assert await reported(world) == [("guest_gone", host, server_id)]
    assert (await client.show(server_id))["status"] == "SHUTOFF"
    await asyncio.sleep(60)
    assert await reported(world) == [("guest_gone", host, server_id)]
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(60)
    assert await reported(world) == []


async def test_a_guest_that_ended_behind_our_back(world: World, client: Client) -> None:
    server_id, host, driver = await active(world, client)
    driver._become(driver._guests[server_id], GuestState.OFF)  # no event: the agent was not there to hear it
    await asyncio.sleep(65)
    assert await reported(world) == [("guest_changed", host, server_id)]
    await client.until(server_id, "SHUTOFF")
    await asyncio.sleep(60)
    assert await reported(world) == []


async def test_a_new_incarnation_forgets_what_is_not_so_any_more(world: World, client: Client) -> None:
    server_id, host, driver = await active(world, client)
    await driver.destroy(server_id)
    await asyncio.sleep(65)
    await world.agents[host].abandon()
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    world.agents[host] = world.agent(host)
    await world.agents[host].start()
    assert await reported(world) == []


async def given_a_card_of_nobody(driver: FakeDriver, server_id: str) -> list[Nic]:
    """The cards that are its own."""
    own = driver.nics(server_id)
    left = msgspec.structs.replace(own[0], port_id="99999999-9999-4999-8999-999999999999")
    await driver.change_nics(server_id, [*own, left])
    return own


async def test_a_card_of_nobody_is_pulled_out(world: World, client: Client) -> None:
    """An attach ended without the host that was plugging the card in; its port may be another server's by now."""
    server_id, _, driver = await active(world, client)
    own = await given_a_card_of_nobody(driver, server_id)
    await asyncio.sleep(65)
    assert driver.nics(server_id) == own
    assert await reported(world) == []


async def test_a_card_that_a_guest_does_not_let_go_is_shown(world: World, client: Client) -> None:
    server_id, host, driver = await active(world, client)
    own = await given_a_card_of_nobody(driver, server_id)
    driver.inject(Fault(verb="change_nics", message="it does not let go of its card", times=1))
    await asyncio.sleep(65)
    assert await reported(world) == [("guest_cards", host, server_id)]
    await asyncio.sleep(60)
    assert driver.nics(server_id) == own
    assert await reported(world) == []
