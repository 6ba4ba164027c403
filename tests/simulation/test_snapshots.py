"""Images, backups and shelving of servers through the API: what is made, and that nothing half made stays."""

import asyncio
from typing import Any

import pytest

from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.guest import GuestState
from kilonova.simulation.images import IMAGE, Shelved
from tests.simulation.test_server_states import act, actions_of, guest_is, running
from tests.simulation.world import Client, World, nothing_left, until_running


def made(world: World) -> dict[str, Shelved]:
    """The images on the shelf but the one to boot from."""
    return {key: image for key, image in world.images.shelf.images.items() if key != IMAGE and not image.deleted}


async def image_of(client: Client, server_id: str, version: str = "2.100", **more: Any) -> str:
    body = {"createImage": {"name": "snap", **more}}
    answer = await client("POST", f"/servers/{server_id}/action", body, version=version)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["image_id"])


async def backup(client: Client, server_id: str, rotation: int, kind: str = "daily") -> str:
    body = {"createBackup": {"name": "b", "backup_type": kind, "rotation": rotation}}
    answer = await client("POST", f"/servers/{server_id}/action", body)
    assert answer.status_code == 202, answer.text
    await client.until(server_id, "ACTIVE")
    return str(answer.json()["image_id"])


async def test_an_image_of_a_running_server(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    image_id = await image_of(client, server_id, metadata={"a": "b"})
    assert (await client.show(server_id))["OS-EXT-STS:task_state"] == "image_snapshot_pending"
    assert image_id in made(world), "it can be looked at from the first moment"
    await client.until(server_id, "ACTIVE")
    image = made(world)[image_id]
    assert image.uploaded and image.image.name == "snap" and image.image.owner == "p1"
    assert image.image.visibility == "private" and image.image.min_disk_gb == 1
    expected = {
        "image_type": "snapshot",
        "instance_uuid": server_id,
        "user_id": "u1",
        "base_image_ref": IMAGE,
        "a": "b",
    }
    assert image.image.properties == expected
    await guest_is(world, host, server_id, GuestState.RUNNING)
    assert await actions_of(client, server_id) == ["createImage", "create"]
    body = {"name": "again", "imageRef": image_id, "flavorRef": "1", "networks": "auto"}
    again = (await client("POST", "/servers", {"server": body})).json()["server"]["id"]
    await client.until(again, "ACTIVE")


async def test_its_task_is_told_on_the_way(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    server_id, host = await running(world, client)
    seen: list[str] = []
    snapshot = world.drivers[host].snapshot

    async def watched(server: str, upload: Any, stage: Any) -> None:
        async def told(name: str) -> None:
            await stage(name)
            seen.append((await client.show(server_id))["OS-EXT-STS:task_state"])

        seen.append((await client.show(server_id))["OS-EXT-STS:task_state"])
        await snapshot(server, upload, told)

    monkeypatch.setattr(world.drivers[host], "snapshot", watched)
    await image_of(client, server_id)
    await client.until(server_id, "ACTIVE")
    assert seen == ["image_snapshot", "image_pending_upload", "image_uploading"]


@pytest.mark.parametrize(("there", "status"), [("os-stop", "SHUTOFF"), ("pause", "PAUSED"), ("suspend", "SUSPENDED")])
async def test_from_other_states(world: World, client: Client, there: str, status: str) -> None:
    server_id, _ = await running(world, client)
    await act(client, server_id, there)
    await client.until(server_id, status)
    image_id = await image_of(client, server_id)
    await client.until(server_id, status)
    assert made(world)[image_id].uploaded


async def test_the_answer_below_2_45(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    body = {"createImage": {"name": "snap"}}
    answer = await client("POST", f"/servers/{server_id}/action", body, version="2.44")
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["location"].rsplit("/", 1)[1] in made(world)
    await client.until(server_id, "ACTIVE")
    body = {"createBackup": {"name": "b", "backup_type": "daily", "rotation": 0}}
    answer = await client("POST", f"/servers/{server_id}/action", body, version="2.44")
    assert answer.status_code == 202 and "location" not in answer.headers
    await client.until(server_id, "ACTIVE")
    assert len(made(world)) == 1, "with a rotation of nothing, the new backup goes as well"


async def test_what_is_refused_leaves_no_image(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    many = {f"k{n}": "v" for n in range(200)}
    for action, value, version, status in (
        ("createImage", {"name": "x", "metadata": many}, "2.38", 403),
        ("createImage", {"name": ""}, "2.100", 400),
        ("createImage", {}, "2.100", 400),
        ("createBackup", {"name": "x", "backup_type": "d", "rotation": -1}, "2.100", 400),
        ("createBackup", {"name": "x", "backup_type": "d", "rotation": 1, "metadata": many}, "2.1", 403),
    ):
        assert await act(client, server_id, action, value, version=version) == status, value
    assert await act(client, server_id, "createImage", {"name": "x"}, token="other") == 404
    await act(client, server_id, "rescue")
    await client.until(server_id, "RESCUE")
    for action, value in (
        ("createImage", {"name": "x"}),
        ("createBackup", {"name": "x", "backup_type": "d", "rotation": 1}),
        ("shelve", None),
    ):
        assert await act(client, server_id, action, value) == 409
    assert made(world) == {}


async def test_a_failure_leaves_no_image(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot"))
    await image_of(client, server_id)
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-STS:power_state"] == 1
    assert made(world) == {}
    shown = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"][0]
    assert (shown["action"], "told to fail" in shown["message"]) == ("createImage", True)
    assert await act(client, server_id, "lock") == 202
    await image_of(client, server_id)  # a lock does not forbid it
    await client.until(server_id, "ACTIVE")
    assert len(made(world)) == 1


async def test_a_host_that_dies_over_it_leaves_no_image(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot", hang=True))
    await image_of(client, server_id)
    await asyncio.sleep(1.0)
    assert len(made(world)) == 1
    await world.agents[host].abandon()
    await client.until(server_id, "ACTIVE")
    assert made(world) == {}


async def test_a_delete_in_between_leaves_no_image(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot", hang=True))
    await image_of(client, server_id)
    await asyncio.sleep(1.0)
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    assert made(world) == {}
    await nothing_left(world)


async def test_a_reset_in_between_leaves_no_image(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot", hang=True))
    await image_of(client, server_id)
    await asyncio.sleep(1.0)
    assert await act(client, server_id, "os-resetState", {"state": "active"}, token="admin") == 202
    assert made(world) == {}


async def test_backups_rotate_by_type(world: World, client: Client) -> None:
    server_id, _ = await running(world, client)
    first = await backup(client, server_id, 2)
    weekly = await backup(client, server_id, 1, "weekly")
    second = await backup(client, server_id, 2)
    assert set(made(world)) == {first, weekly, second}
    third = await backup(client, server_id, 2)
    assert set(made(world)) == {weekly, second, third}
    assert made(world)[third].image.properties["backup_type"] == "daily"
    assert (await actions_of(client, server_id))[0] == "createBackup"


async def test_a_shelved_server_is_off_and_an_image(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    assert await act(client, server_id, "shelve") == 202
    server = await client.until(server_id, "SHELVED")
    assert server["OS-EXT-STS:power_state"] == 4 and server["OS-EXT-SRV-ATTR:host"] == host
    await guest_is(world, host, server_id, GuestState.OFF)
    ((image_id, image),) = made(world).items()
    assert image.uploaded and image.image.name == "web-shelved"
    row = await world.database.run(
        lambda connection: connection.exec_driver_sql("SELECT shelved_image_id FROM servers").scalar()
    )
    assert row == image_id
    assert await act(client, server_id, "shelve") == 409


async def test_a_guest_that_cannot_be_shut_down_is_not_shelved(world: World, client: Client) -> None:
    """Seed 5: the step failed before it came to the image, whose record stayed."""
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="power_off"))
    assert await act(client, server_id, "shelve") == 202
    await client.until(server_id, "ACTIVE")
    assert made(world) == {}
    shown = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"][0]
    assert "told to fail" in shown["message"]


async def test_an_image_that_its_user_deletes_meanwhile(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot", hang=True))
    image_id = await image_of(client, server_id)
    await asyncio.sleep(1.0)
    await world.images.discard(image_id)
    await world.agents[host].abandon()
    await client.until(server_id, "ACTIVE")
    assert made(world) == {}


async def test_a_shelve_that_fails_leaves_a_server_that_runs(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot"))
    assert await act(client, server_id, "shelve") == 202
    await client.until(server_id, "ACTIVE")
    assert made(world) == {}
    await until_running(world, host, server_id)


async def test_after_a_failed_shelve_the_server_follows_a_guest_that_stays_off(world: World, client: Client) -> None:
    server_id, host = await running(world, client)
    world.drivers[host].inject(Fault(verb="snapshot"))
    world.drivers[host].inject(Fault(verb="power_on"))
    assert await act(client, server_id, "shelve") == 202
    began = world.clock.monotonic()
    await client.until(server_id, "SHUTOFF")
    assert world.clock.monotonic() - began < 5 * world.config.membership.heartbeat
    assert await act(client, server_id, "os-start") == 202
    await client.until(server_id, "ACTIVE")
    await until_running(world, host, server_id)
