"""The life of a server under its old name ``/os-volumes_boot``: every action that was there, through every sub-service."""

import asyncio
from typing import Any

from tests.simulation.moves import LARGE
from tests.simulation.world import IMAGE, Client, World, nothing_left

OLD = "/os-volumes_boot"


async def act(client: Client, server_id: str, action: str, body: Any = None, code: int = 202) -> None:
    answer = await client("POST", f"{OLD}/{server_id}/action", {action: body}, version="2.102")
    assert answer.status_code == code, answer.text


async def test_a_servers_life_under_its_old_name(world: World, client: Client) -> None:
    body = {"name": "old", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}
    made = await client("POST", OLD, {"server": body}, version="2.102")
    assert made.status_code == 202, made.text
    server_id = made.json()["server"]["id"]
    for action, value, status in (
        ("reboot", {"type": "HARD"}, "ACTIVE"),
        ("trigger_crash_dump", None, "ACTIVE"),
        ("createImage", {"name": "copy"}, "ACTIVE"),
        ("os-stop", None, "SHUTOFF"),
        ("os-start", None, "ACTIVE"),
        ("rebuild", {"imageRef": IMAGE}, "ACTIVE"),
        ("resize", {"flavorRef": LARGE}, "VERIFY_RESIZE"),
    ):
        await client.until(server_id, "SHUTOFF" if action == "os-start" else "ACTIVE")
        await act(client, server_id, action, value)
        await client.until(server_id, status)
        await asyncio.sleep(1)  # a crash dump has no task state by which its end could be seen
    await act(client, server_id, "revertResize")
    assert (await client.until(server_id, "ACTIVE"))["flavor"]["original_name"] == "m1.tiny"
    await act(client, server_id, "resize", {"flavorRef": LARGE})
    await client.until(server_id, "VERIFY_RESIZE")
    await act(client, server_id, "confirmResize", code=204)
    assert (await client.until(server_id, "ACTIVE"))["flavor"]["original_name"] == "m1.small"
    shown = await client("GET", f"{OLD}/{server_id}", version="2.102")
    assert shown.json()["server"]["name"] == "old"
    gone = await client("DELETE", f"{OLD}/{server_id}", version="2.102")
    assert gone.status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_the_old_name_is_gone_from_2_103_on(world: World, client: Client) -> None:
    assert (await client("GET", OLD, version="2.102")).status_code == 200
    assert (await client("GET", OLD, version="2.103")).status_code == 404
