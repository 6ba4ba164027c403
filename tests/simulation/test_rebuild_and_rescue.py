"""A server made anew from an image, and one that boots a rescue system, through the API."""

from typing import Any

import pytest

from kilonova.database import checks
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestSpec, GuestState
from tests.simulation.test_server_states import act, actions_of, guest_is, running
from tests.simulation.world import IMAGE, Client, World, nothing_left, until_running

NOWHERE = "22222222-2222-4222-8222-222222222222"


async def rebuilt(client: Client, server_id: str, version: str = "2.100", **settings: Any) -> dict[str, Any]:
    """What a rebuild answers."""
    body = {"rebuild": {"imageRef": IMAGE, **settings}}
    answer = await client("POST", f"/servers/{server_id}/action", body, version=version)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"].endswith(server_id)
    server: dict[str, Any] = answer.json()["server"]
    return server


def spec_of(world: World, host: str, server_id: str) -> GuestSpec:
    driver = world.drivers[host]
    assert isinstance(driver, FakeDriver)
    return driver._guests[server_id].spec


async def test_a_rebuild_keeps_host_and_addresses(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    before = await client.show(server_id)
    old = spec_of(world, host, server_id)
    answer = await rebuilt(
        client, server_id, name="new", description="d", metadata={"a": "b"}, hostname="fresh", adminPass="secret"
    )
    assert (answer["status"], answer["name"], answer["adminPass"]) == ("REBUILD", "new", "secret")
    after = await client.until(server_id, "ACTIVE")
    await until_running(world, host, server_id)
    same = ("id", "addresses", "OS-EXT-SRV-ATTR:host", "flavor", "created")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert (after["name"], after["metadata"], after["OS-EXT-SRV-ATTR:hostname"]) == ("new", {"a": "b"}, "fresh")
    new = spec_of(world, host, server_id)
    assert new.epoch > old.epoch and new.hostname == "fresh" and new.admin_password == "secret"
    said = await world.drivers[host].console_output(server_id, None)
    assert said.count("kilonova-guest ready") == 1, "another guest, with a console of its own"
    assert await actions_of(client, server_id) == ["rebuild", "create"]
    assert await world.database.run(checks.check, world.clock.now(), 0) == []
    rows = await world.database.run(lambda connection: connection.exec_driver_sql("SELECT * FROM actions").all())
    assert "secret" not in str(rows)


async def test_a_stopped_server_stays_stopped(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    await act(client, server_id, "os-stop")
    await client.until(server_id, "SHUTOFF")
    assert (await rebuilt(client, server_id))["status"] == "REBUILD"
    await client.until(server_id, "SHUTOFF")
    await guest_is(world, host, server_id, GuestState.OFF)
    assert await world.drivers[host].console_output(server_id, None) == "", "it has not run"
    assert await act(client, server_id, "os-start") == 202
    await client.until(server_id, "ACTIVE")


async def test_files_reach_the_new_guest(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    await rebuilt(client, server_id, "2.56", personality=[{"path": "/etc/motd", "contents": "aGVsbG8="}])
    await client.until(server_id, "ACTIVE")
    assert [file.path for file in spec_of(world, host, server_id).files] == ["/etc/motd"]
    await rebuilt(client, server_id)
    await client.until(server_id, "ACTIVE")
    assert spec_of(world, host, server_id).files == []


async def test_the_answer_by_microversion(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    for version, has, lacks in (
        ("2.1", {"adminPass", "progress"}, {"key_name", "user_data", "OS-EXT-STS:task_state", "locked"}),
        ("2.54", {"key_name", "tags", "description"}, {"user_data", "OS-EXT-AZ:availability_zone"}),
        ("2.57", {"key_name", "user_data"}, {"trusted_image_certificates", "config_drive"}),
        ("2.75", {"key_name", "user_data", "config_drive", "OS-EXT-STS:task_state"}, {"OS-EXT-SRV-ATTR:user_data"}),
    ):
        answer = await rebuilt(client, server_id, version)
        assert has <= set(answer) and not lacks & set(answer), version
        await client.until(server_id, "ACTIVE")


@pytest.mark.parametrize(
    ("version", "settings", "status"),
    [
        ("2.100", {"imageRef": NOWHERE}, 400),
        ("2.100", {"imageRef": "no-uuid"}, 400),
        ("2.18", {"description": "d"}, 400),
        ("2.53", {"key_name": "k"}, 400),
        ("2.54", {"key_name": "unknown"}, 400),
        ("2.56", {"user_data": "YQ=="}, 400),
        ("2.57", {"user_data": "not base64"}, 400),
        ("2.57", {"personality": []}, 400),
        ("2.1", {"personality": [{"path": "/a", "contents": "not base64"}]}, 400),
        ("2.1", {"personality": [{"path": f"/{n}", "contents": "YQ=="} for n in range(9)]}, 403),
        ("2.100", {"preserve_ephemeral": True}, 400),
        ("2.100", {"metadata": {f"k{n}": "v" for n in range(200)}}, 403),
    ],
)
async def test_what_is_refused_changes_nothing(
    world: World, client: Client, version: str, settings: dict[str, Any], status: int
) -> None:
    server_id, _ = await running(world, client)
    before = await client.show(server_id)
    assert await act(client, server_id, "rebuild", {"imageRef": IMAGE, **settings}, version=version) == status
    assert await client.show(server_id) == before


async def test_a_rebuild_that_fails_says_so_and_can_be_tried_again(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="prepare"))
    await rebuilt(client, server_id)
    server = await client.until(server_id, "ERROR")
    assert "told to fail" in server["fault"]["message"]
    assert await world.drivers[host].list_guests() == []
    await rebuilt(client, server_id)
    await client.until(server_id, "ACTIVE")
    await until_running(world, host, server_id)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_there_is_no_rebuild_of_a_paused_server(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    await act(client, server_id, "pause")
    await client.until(server_id, "PAUSED")
    assert await act(client, server_id, "rebuild", {"imageRef": IMAGE}) == 409
    assert await act(client, server_id, "rescue") == 409


async def test_rescue_and_back(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    assert await act(client, server_id, "unrescue") == 409
    assert await act(client, server_id, "rescue", {"rescue_image_ref": NOWHERE}) == 400
    answer = await client("POST", f"/servers/{server_id}/action", {"rescue": {"adminPass": "secret"}})
    assert (answer.status_code, answer.json()) == (200, {"adminPass": "secret"})
    await client.until(server_id, "RESCUE")
    guest = await world.drivers[host].show_guest(server_id)
    assert guest is not None and guest.rescued and guest.state is GuestState.RUNNING
    for action, value in (("reboot", {"type": "HARD"}), ("os-stop", None), ("rescue", None)):
        assert await act(client, server_id, action, value) == 409
    assert await act(client, server_id, "unrescue") == 202
    await client.until(server_id, "ACTIVE")
    guest = await world.drivers[host].show_guest(server_id)
    assert guest is not None and not guest.rescued and guest.state is GuestState.RUNNING
    assert await actions_of(client, server_id) == ["unrescue", "rescue", "create"]


async def test_a_rescue_that_fails_is_mended_by_a_hard_reboot(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="power_on"))
    answer = await client("POST", f"/servers/{server_id}/action", {"rescue": None})
    assert answer.status_code == 200 and answer.json()["adminPass"]
    assert (await client.until(server_id, "ERROR"))["fault"]["message"]
    assert await act(client, server_id, "reboot", {"type": "HARD"}) == 202
    await client.until(server_id, "ACTIVE")
    await until_running(world, host, server_id)


async def test_a_rebuild_puts_its_files_into_the_new_guest(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    files = [{"path": "/etc/motd", "contents": "aGVsbG8="}]
    answer = await rebuilt(client, server_id, version="2.56", personality=files, accessIPv6="::babe:220.12.22.2")
    assert answer["accessIPv6"] == "::babe:dc0c:1602"
    await client.until(server_id, "ACTIVE")
    assert [file.path for file in spec_of(world, host, server_id).files] == ["/etc/motd"]
    body = {"rebuild": {"imageRef": IMAGE, "personality": files * 6}}
    refused = await client("POST", f"/servers/{server_id}/action", body, version="2.56")
    assert refused.status_code == 403
    assert (await client.show(server_id))["status"] == "ACTIVE"
