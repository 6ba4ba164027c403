"""Resize and cold migration through every sub-service: who runs where, what is claimed and charged, and every way back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kilonova.database import console_tokens, servers, user_quotas
from kilonova.database.flavors import seed_flavors
from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState
from tests.functional.compute_rows import stands_for
from tests.simulation.moves import LARGE, act, all_is_well, claims, comes_back, guests, history, used
from tests.simulation.world import Client, World, nothing_left, until_running

RUNNING, OFF = GuestState.RUNNING, GuestState.OFF


async def booted(world: World, client: Client) -> tuple[str, str, str]:
    """A server that runs, its host and the other one."""
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    return server_id, host, "host2" if host == "host1" else "host1"


async def resized(world: World, client: Client) -> tuple[str, str, str]:
    """A server that awaits confirmation, the host it came from and the one it is on."""
    server_id, source, destination = await booted(world, client)
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await client.until(server_id, "VERIFY_RESIZE")
    await until_running(world, destination, server_id)
    return server_id, source, destination


async def test_a_resize_keeps_the_way_back_until_it_is_confirmed(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    assert await used(world) == {"instances": 1, "cores": 1, "ram": 512}
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    assert (await client.show(server_id))["status"] == "RESIZE"
    assert (await used(world))["ram"] == 2048
    server = await client.until(server_id, "VERIFY_RESIZE")
    assert server["OS-EXT-SRV-ATTR:host"] == destination
    assert server["flavor"]["original_name"] == "m1.small"
    await until_running(world, destination, server_id)
    assert await guests(world, server_id) == {source: OFF, destination: RUNNING}
    assert await claims(world, server_id) == {source: False, destination: True}
    await asyncio.sleep(2.5 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {source: OFF, destination: RUNNING}
    await all_is_well(world)
    await act(client, server_id, "confirmResize", code=204)
    server = await client.until(server_id, "ACTIVE")
    assert server["flavor"]["ram"] == 2048
    assert await guests(world, server_id) == {destination: RUNNING}
    assert await claims(world, server_id) == {destination: True}
    assert await history(client, server_id) == [("resize", "confirmed")]
    await all_is_well(world)


async def test_a_resize_is_reverted(world: World, client: Client) -> None:
    server_id, source, _ = await resized(world, client)
    await act(client, server_id, "revertResize")
    assert (await client.show(server_id))["status"] == "REVERT_RESIZE"
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == source and server["flavor"]["original_name"] == "m1.tiny"
    assert await guests(world, server_id) == {source: RUNNING}
    assert await claims(world, server_id) == {source: True}
    assert (await used(world))["ram"] == 512
    assert await history(client, server_id) == [("resize", "reverted")]
    await all_is_well(world)


async def test_a_smaller_flavor_is_charged_as_the_larger_until_it_is_confirmed(world: World, client: Client) -> None:
    server_id = await client.boot(flavorRef=LARGE)
    await client.until(server_id, "ACTIVE")
    await act(client, server_id, "resize", {"flavorRef": "1"})
    await client.until(server_id, "VERIFY_RESIZE")
    assert (await used(world))["ram"] == 2048
    await all_is_well(world)
    await act(client, server_id, "confirmResize", code=204)
    await client.until(server_id, "ACTIVE")
    assert (await used(world))["ram"] == 512
    await all_is_well(world)


@pytest.mark.parametrize("end", ["confirmResize", "revertResize"])
async def test_a_stopped_server_stays_stopped(world: World, client: Client, end: str) -> None:
    server_id, source, destination = await booted(world, client)
    await act(client, server_id, "os-stop")
    await client.until(server_id, "SHUTOFF")
    await act(client, server_id, "migrate", token="admin")
    server = await client.until(server_id, "VERIFY_RESIZE")
    assert server["OS-EXT-STS:power_state"] == 4
    await asyncio.sleep(2.5 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {source: OFF, destination: OFF}
    await act(client, server_id, end, code=204 if end == "confirmResize" else 202)
    server = await client.until(server_id, "SHUTOFF")
    stays = destination if end == "confirmResize" else source
    assert await guests(world, server_id) == {stays: OFF}
    await act(client, server_id, "os-start")
    await client.until(server_id, "ACTIVE")
    assert await guests(world, server_id) == {stays: RUNNING}
    await all_is_well(world)


async def test_a_migration_goes_to_the_host_that_was_named(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    admin = {"token": "admin", "code": 400}
    await act(client, server_id, "migrate", {"host": source}, **admin)
    await act(client, server_id, "migrate", {"host": "nowhere"}, **admin)
    await act(client, server_id, "migrate", {"host": destination}, code=403)
    await act(client, server_id, "migrate", {"host": destination}, token="admin")
    assert (await client.until(server_id, "VERIFY_RESIZE"))["OS-EXT-SRV-ATTR:host"] == destination
    assert await history(client, server_id) == [("migration", "finished")]
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [action["action"] for action in actions] == ["migrate", "create"]


@pytest.mark.parametrize("moment", ["scheduled", "departing", "arriving", "resized", "confirming", "reverting"])
async def test_a_delete_leaves_nothing_on_either_host(world: World, client: Client, moment: str) -> None:
    server_id, source, destination = await booted(world, client)
    slow = {"departing": (source, "power_off"), "arriving": (destination, "prepare")}
    slow |= {"confirming": (source, "destroy"), "reverting": (destination, "power_off")}
    for_good = Fault(verb=slow[moment][1], hang=True) if moment in slow else None
    if moment in ("departing", "arriving") and for_good is not None:
        world.drivers[slow[moment][0]].inject(for_good)
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    if moment in ("resized", "confirming", "reverting"):
        await client.until(server_id, "VERIFY_RESIZE")
        if for_good is not None:
            world.drivers[slow[moment][0]].inject(for_good)
            confirming = moment == "confirming"
            action, code = ("confirmResize", 204) if confirming else ("revertResize", 202)
            await act(client, server_id, action, code=code)
    if moment != "scheduled":
        await asyncio.sleep(1.0)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(1.0)
    await nothing_left(world)
    assert not [status for _, status in await history(client, server_id) if status not in ("error", "confirmed")]


async def test_a_host_that_fails_is_passed_over_and_the_guest_goes_on(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    world.drivers[destination].inject(Fault(verb="prepare", times=-1))
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == source and server["flavor"]["original_name"] == "m1.tiny"
    assert await guests(world, server_id) == {source: RUNNING}
    assert await claims(world, server_id) == {source: True}
    assert await history(client, server_id) == [("resize", "error")]
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert "No other host could take it" in actions[0]["message"]
    await all_is_well(world)


async def test_no_host_has_room(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    found = (await client("GET", "/os-services?binary=nova-compute", token="admin")).json()["services"]
    other = next(service["id"] for service in found if service["host"] == destination)
    await client("PUT", f"/os-services/{other}", {"status": "disabled"}, token="admin")
    await asyncio.sleep(world.config.scheduler.refresh + 0.5)
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await client.until(server_id, "ACTIVE")
    assert await guests(world, server_id) == {source: RUNNING}
    assert (await used(world))["ram"] == 512
    await all_is_well(world)


async def test_a_source_that_dies_on_the_way_is_waited_for(world: World, client: Client) -> None:
    server_id, source, destination = await booted(world, client)
    world.drivers[source].inject(Fault(verb="power_off", hang=True))
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await asyncio.sleep(1.0)
    await world.agents[source].abandon()
    await comes_back(world, source)
    await client.until(server_id, "VERIFY_RESIZE")
    await until_running(world, destination, server_id)
    assert await guests(world, server_id) == {source: OFF, destination: RUNNING}


async def test_a_source_that_is_gone_for_good_ends_the_move(world: World, client: Client) -> None:
    server_id, source, _ = await booted(world, client)
    world.drivers[source].inject(Fault(verb="power_off", hang=True))
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await asyncio.sleep(1.0)
    await world.agents[source].abandon()
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == source
    assert await claims(world, server_id) == {source: True}
    await all_is_well(world)
    await comes_back(world, source)


async def test_a_revert_whose_destination_is_gone_may_be_asked_for_again(world: World, client: Client) -> None:
    server_id, source, destination = await resized(world, client)
    await world.agents[destination].abandon()
    await act(client, server_id, "revertResize")
    await asyncio.sleep(2 * world.config.membership.down_after + world.config.actions.dispatch)
    await client.until(server_id, "VERIFY_RESIZE")
    assert await history(client, server_id) == [("resize", "finished")]
    await all_is_well(world)
    await comes_back(world, destination)
    await act(client, server_id, "revertResize")
    await client.until(server_id, "ACTIVE")
    await asyncio.sleep(1.0)
    assert await guests(world, server_id) == {source: RUNNING}
    await all_is_well(world)


async def test_a_reset_gives_the_way_back_up(world: World, client: Client) -> None:
    server_id, _, destination = await resized(world, client)
    await act(client, server_id, "os-resetState", {"state": "active"}, token="admin")
    assert (await client.show(server_id))["status"] == "ACTIVE"
    assert await claims(world, server_id) == {destination: True}
    await all_is_well(world)
    await asyncio.sleep(2.5 * world.config.compute.reconcile_interval)
    assert await guests(world, server_id) == {destination: RUNNING}
    assert await history(client, server_id) == [("resize", "error")]
    await act(client, server_id, "resize", {"flavorRef": "1"})
    await client.until(server_id, "VERIFY_RESIZE")


async def test_what_is_refused_changes_nothing(world: World, client: Client) -> None:
    server_id, source, _ = await booted(world, client)
    for body, code in (
        ({"flavorRef": "1"}, 400),
        ({"flavorRef": "nothing"}, 400),
        ({"flavorRef": "7"}, 400),
        ({}, 400),
        ({"flavorRef": LARGE, "more": 1}, 400),
        ({"flavorRef": "5"}, 403),
    ):
        if body.get("flavorRef") == "5":
            limit = {"quota_set": {"ram": 8192}}
            assert (await client("PUT", "/os-quota-sets/p1", limit, token="admin")).status_code == 200
        await act(client, server_id, "resize", body, code=code)
    await act(client, server_id, "resize", {"flavorRef": LARGE}, code=404, token="other")
    await act(client, server_id, "confirmResize", code=409)
    await act(client, server_id, "revertResize", code=409)
    await act(client, server_id, "migrate", code=403)
    server = await client.show(server_id)
    assert (server["status"], server["flavor"]["original_name"]) == ("ACTIVE", "m1.tiny")
    assert await used(world) == {"instances": 1, "cores": 1, "ram": 512}
    assert await history(client, server_id) == []
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await act(client, server_id, "resize", {"flavorRef": LARGE}, code=409)
    await client.until(server_id, "VERIFY_RESIZE")
    await act(client, server_id, "resize", {"flavorRef": "1"}, code=409)
    await world.agents[source].abandon()
    await asyncio.sleep(2 * world.config.membership.down_after)
    await act(client, server_id, "confirmResize", code=409)
    await comes_back(world, source)
    await act(client, server_id, "confirmResize", code=204)
    await client.until(server_id, "ACTIVE")
    await all_is_well(world)


async def test_a_hypervisor_that_cannot_says_so_before_anything_changes(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kilonova.api.compute import server_moves

    server_id, _, _ = await booted(world, client)

    monkeypatch.setattr(server_moves.features, "has", lambda *given: False)
    await act(client, server_id, "resize", {"flavorRef": LARGE}, code=409)
    await act(client, server_id, "migrate", code=409, token="admin")
    assert await used(world) == {"instances": 1, "cores": 1, "ram": 512}
    assert (await client.show(server_id))["status"] == "ACTIVE"


async def test_a_lost_word_on_the_arrival_runs_nothing_twice(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of arrive is recorded and its answer lost: reconcile lets the guest run, and the source's copy stays off."""
    from kilonova.messaging.bus import BusUnavailable
    from kilonova.messaging.contract import FinishStep

    server_id, source, destination = await booted(world, client)
    call = world.bus.call

    async def half_deaf(queue: str, message: Any, context: Any, *, timeout: float) -> Any:
        answer = await call(queue, message, context, timeout=timeout)
        if isinstance(message, FinishStep) and message.step == "arrive":
            raise BusUnavailable("the answer is lost")
        return answer

    monkeypatch.setattr(world.bus, "call", half_deaf)
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await client.until(server_id, "VERIFY_RESIZE")
    await until_running(world, destination, server_id)
    assert await guests(world, server_id) == {source: OFF, destination: RUNNING}
    await all_is_well(world)


async def alone(tmp_path: Path) -> tuple[World, Client, str]:
    """A world of one host, where a server may be resized, and a server that runs there."""
    world = World(tmp_path, hosts=1, moves={"allow_resize_to_same_host": True})
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    client = Client(world)
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    await until_running(world, "host1", server_id)
    return world, client, server_id


async def memory(world: World, server_id: str) -> int:
    """MiB of the guest on the one host."""
    return world.drivers["host1"]._guests[server_id].spec.memory_mb


@pytest.mark.parametrize(("end", "code", "ram"), [("confirmResize", 204, 2048), ("revertResize", 202, 512)])
async def test_a_resize_may_stay_on_its_host(tmp_path: Path, end: str, code: int, ram: int) -> None:
    world, client, server_id = await alone(tmp_path)
    try:
        await act(client, server_id, "resize", {"flavorRef": LARGE})
        await client.until(server_id, "VERIFY_RESIZE")
        await until_running(world, "host1", server_id)
        assert await memory(world, server_id) == 2048
        await asyncio.sleep(2.5 * world.config.compute.reconcile_interval)
        assert await guests(world, server_id) == {"host1": RUNNING}
        await all_is_well(world)
        await act(client, server_id, end, code=code)
        await client.until(server_id, "ACTIVE")
        assert await guests(world, server_id) == {"host1": RUNNING}
        assert (await memory(world, server_id), (await used(world))["ram"]) == (ram, ram)
        await all_is_well(world)
        assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
        await client.until_gone(server_id)
        await nothing_left(world)
    finally:
        await world.stop()


async def test_a_resize_in_place_that_fails_destroys_nothing(tmp_path: Path) -> None:
    world, client, server_id = await alone(tmp_path)
    try:
        world.drivers["host1"].inject(Fault(verb="prepare"))
        await act(client, server_id, "resize", {"flavorRef": LARGE})
        await client.until(server_id, "ACTIVE")
        await until_running(world, "host1", server_id)
        assert await memory(world, server_id) == 512
        assert await claims(world, server_id) == {"host1": True}
        await all_is_well(world)
    finally:
        await world.stop()


async def test_consoles_of_the_old_host_open_no_more(world: World, client: Client) -> None:
    """A token names the host the guest was on; whoever is there next is not the token owner's to see."""
    server_id, *_ = await booted(world, client)
    token = stands_for(server_id, world.clock.now() + 600_000_000)

    async def opens(token: str) -> bool:
        return await world.database.run(console_tokens.find, token, world.clock.now()) is not None

    await world.database.run(console_tokens.insert, "before", token, world.clock.now())
    assert await opens("before")
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await client.until(server_id, "VERIFY_RESIZE")
    assert not await opens("before")
    await world.database.run(console_tokens.insert, "between", token, world.clock.now())
    await act(client, server_id, "revertResize")
    await client.until(server_id, "ACTIVE")
    assert not await opens("between")


async def test_a_users_own_limit_holds_for_a_resize(world: World, client: Client) -> None:
    server_id, *_ = await booted(world, client)
    server = await world.database.run(servers.find, server_id)
    assert server is not None
    limit = {"ram": 1024}
    await world.database.run(
        lambda connection: user_quotas.set_limits(
            connection, server.project_id, server.user_id, limit, {}, force=False
        )
    )
    before = await used(world)
    await act(client, server_id, "resize", {"flavorRef": LARGE}, code=403)
    assert await used(world) == before
    assert (await client.show(server_id))["status"] == "ACTIVE"
    await all_is_well(world)
