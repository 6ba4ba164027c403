"""Pause, suspend, lock, reset and their like, through the API, with what the hypervisor says of it."""

import asyncio
from typing import Any

import pytest

from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState
from tests.simulation.world import Client, World, nothing_left, until_running


async def act(client: Client, server_id: str, action: str, value: Any = None, **more: Any) -> int:
    """The status of one action's answer."""
    return (await client("POST", f"/servers/{server_id}/action", {action: value}, **more)).status_code


async def running(world: World, client: Client) -> tuple[str, str]:
    """A server that runs, and its host."""
    server_id = await client.boot()
    host: str = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    return server_id, host


async def guest_is(world: World, host: str, server_id: str, state: GuestState) -> None:
    guest = await world.drivers[host].show_guest(server_id)
    assert guest is not None and guest.state is state


async def actions_of(client: Client, server_id: str) -> list[str]:
    answer = await client("GET", f"/servers/{server_id}/os-instance-actions")
    return [action["action"] for action in answer.json()["instanceActions"]]


@pytest.mark.parametrize(
    ("there", "status", "state", "power", "back"),
    [
        ("pause", "PAUSED", GuestState.PAUSED, 3, "unpause"),
        ("suspend", "SUSPENDED", GuestState.SUSPENDED, 7, "resume"),
    ],
)
async def test_there_and_back(
    world: World, client: Client, there: str, status: str, state: GuestState, power: int, back: str
) -> None:
    server_id, host = await running(world, client)
    assert await act(client, server_id, back) == 409
    assert await act(client, server_id, there) == 202
    server = await client.until(server_id, status)
    assert server["OS-EXT-STS:power_state"] == power
    await guest_is(world, host, server_id, state)
    assert await act(client, server_id, there) == 409
    assert await act(client, server_id, "os-stop") == 409
    assert await act(client, server_id, back) == 202
    assert (await client.until(server_id, "ACTIVE"))["OS-EXT-STS:power_state"] == 1
    await guest_is(world, host, server_id, GuestState.RUNNING)
    said = await world.drivers[host].console_output(server_id, None)
    assert said.count("kilonova-guest ready") == 1, "it went on, it did not boot again"
    assert await actions_of(client, server_id) == [back, there, "create"]


@pytest.mark.parametrize("there", ["pause", "suspend"])
async def test_a_hard_reboot_starts_anew(world: World, client: Client, there: str) -> None:
    server_id, host = await running(world, client)
    await act(client, server_id, there)
    await client.until(server_id, {"pause": "PAUSED", "suspend": "SUSPENDED"}[there])
    assert await act(client, server_id, "reboot", {"type": "SOFT"}) == 409
    assert await act(client, server_id, "reboot", {"type": "HARD"}) == 202
    await client.until(server_id, "ACTIVE")
    assert (await world.drivers[host].console_output(server_id, None)).count("kilonova-guest ready") == 2


async def test_a_failed_pause_leaves_the_server_as_it_was(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="set_paused"))
    assert await act(client, server_id, "pause") == 202
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-STS:power_state"] == 1
    shown = await client("GET", f"/servers/{server_id}/os-instance-actions")
    assert "fake hypervisor was told to fail" in shown.json()["instanceActions"][0]["message"]


async def test_a_server_follows_a_guest_that_was_paused_behind_its_back(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    await world.drivers[host].set_paused(server_id, True)
    await client.until(server_id, "PAUSED")
    assert await act(client, server_id, "unpause") == 202
    await client.until(server_id, "ACTIVE")


async def test_what_is_done_inside_a_guest(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    assert await act(client, server_id, "trigger_crash_dump", version="2.16") == 404
    assert await act(client, server_id, "trigger_crash_dump", {"x": 1}) == 400
    assert await act(client, server_id, "trigger_crash_dump") == 202
    assert await act(client, server_id, "pause") == 409, "it is held, although no task says so"
    await asyncio.sleep(0.5)
    assert await act(client, server_id, "changePassword", {"adminPass": "correct horse"}) == 202
    assert (await client.show(server_id))["status"] == "PASSWORD"
    await client.until(server_id, "ACTIVE")
    said = await world.drivers[host].console_output(server_id, None)
    assert "non-maskable interrupt" in said and "password was changed" in said
    assert "correct horse" not in said
    rows = await world.database.run(lambda connection: connection.exec_driver_sql("SELECT * FROM actions").all())
    assert "correct horse" not in str(rows)
    await act(client, server_id, "os-stop")
    await client.until(server_id, "SHUTOFF")
    assert await act(client, server_id, "changePassword", {"adminPass": "x"}) == 409
    assert await act(client, server_id, "trigger_crash_dump") == 409


async def test_a_driver_that_cannot_is_asked_nothing(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)

    def poorer(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE hosts SET capabilities = '{\"features\": []}'")

    await world.database.run(poorer)
    for action, value, status in (
        ("pause", None, 501),
        ("suspend", None, 409),
        ("changePassword", {"adminPass": "x"}, 501),
        ("trigger_crash_dump", None, 409),
    ):
        assert await act(client, server_id, action, value) == status, action
    assert await actions_of(client, server_id) == ["create"]


async def test_a_lock_keeps_users_out(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    assert await act(client, server_id, "lock", {"locked_reason": "mine"}, version="2.73") == 202
    server = await client.show(server_id)
    assert (server["locked"], server["locked_reason"]) == (True, "mine")
    for action, value in (("pause", None), ("os-stop", None), ("reboot", {"type": "HARD"})):
        assert await act(client, server_id, action, value) == 409
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 409
    assert await act(client, server_id, "pause", token="admin") == 202
    await client.until(server_id, "PAUSED")
    assert await act(client, server_id, "lock") == 202
    assert await act(client, server_id, "unlock") == 202
    assert await act(client, server_id, "unpause") == 202
    await client.until(server_id, "ACTIVE")
    names = await actions_of(client, server_id)
    assert names == ["unpause", "unlock", "pause", "lock", "create"], "a lock on a locked server is no action"
    assert await act(client, server_id, "lock", token="other") == 404


async def test_what_an_administrator_locks_its_owner_does_not_unlock(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    assert await act(client, server_id, "lock", {"locked_reason": ""}) == 400
    assert await act(client, server_id, "lock", {"x": "y"}, version="2.72") == 202
    assert (await client.show(server_id))["locked_reason"] is None
    assert await act(client, server_id, "lock", token="admin") == 202
    assert await act(client, server_id, "unlock") == 403
    assert await act(client, server_id, "unlock", token="admin") == 202
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)


async def test_a_reset_ends_what_runs(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    assert await act(client, server_id, "os-resetState", {"state": "error"}) == 403
    assert await act(client, server_id, "os-resetState", {"state": "gone"}, token="admin") == 400
    world.drivers[host].inject(Fault(verb="set_paused", hang=True))
    assert await act(client, server_id, "pause") == 202
    await asyncio.sleep(1.0)
    assert await act(client, server_id, "os-resetState", {"state": "error"}, token="admin") == 202
    server = await client.show(server_id)
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("ERROR", None)
    assert "administrator" in server["fault"]["message"]
    assert await act(client, server_id, "os-resetState", {"state": "active"}, token="admin") == 202
    assert (await client.show(server_id))["status"] == "ACTIVE"
    await asyncio.sleep(2 * world.config.membership.heartbeat)
    assert await act(client, server_id, "pause") == 202
    await client.until(server_id, "PAUSED")
    assert (await actions_of(client, server_id))[:3] == ["pause", "resetState", "resetState"]


async def test_a_reset_of_a_build_gives_back_what_it_held(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", hang=True))
    server_id = await client.boot()
    await asyncio.sleep(1.0)
    assert await act(client, server_id, "os-resetState", {"state": "error"}, token="admin") == 202
    assert (await client.show(server_id))["OS-EXT-SRV-ATTR:host"] is None
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.sleep(2 * world.config.compute.reconcile_interval)
    await nothing_left(world)


async def test_a_reset_does_not_end_a_delete(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="destroy", after=3.0, times=1))
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    assert await act(client, server_id, "os-resetState", {"state": "active"}, token="admin") == 202
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_network_info_is_known_to_guests_already(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    assert await act(client, server_id, "injectNetworkInfo") == 403
    assert await act(client, server_id, "injectNetworkInfo", token="admin") == 202
    assert await actions_of(client, server_id) == ["create"]
