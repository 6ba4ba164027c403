"""Files that a create puts into the guest, up to 2.56: what is taken, what is refused, and that they travel."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kilonova.database import servers
from kilonova.database.outgoing import guest_spec
from tests.functional.front_door import Door, front_door
from tests.functional.test_foreign_objects import things

HELLO = base64.b64encode(b"hello").decode()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with front_door(tmp_path) as opened:
        yield opened


async def _create(door: Door, files: Any, version: int = 1) -> httpx.Response:
    image = (await things(door))["image_id"]
    server = {"name": "b", "imageRef": image, "flavorRef": "1", "personality": files}
    if version >= 37:
        server["networks"] = "auto"
    headers = {"x-auth-token": door.tokens["member"], "openstack-api-version": f"compute 2.{version}"}
    return await door.http.post("/compute/v2.1/servers", json={"server": server}, headers=headers)


@pytest.mark.parametrize("version", [1, 56])
async def test_files_are_part_of_what_the_hypervisor_is_told(door: Door, version: int) -> None:
    made = await _create(door, [{"path": "/etc/motd", "contents": HELLO}], version)
    assert made.status_code == 202, made.text
    server = await door.cloud.database.run(servers.find, made.json()["server"]["id"])
    assert server is not None
    assert [(file.path, file.contents) for file in guest_spec(server).files] == [("/etc/motd", HELLO)]


async def test_later_microversions_know_no_personality(door: Door) -> None:
    assert (await _create(door, [{"path": "/etc/motd", "contents": HELLO}], 57)).status_code == 400


@pytest.mark.parametrize(
    "files",
    [
        [{"contents": HELLO}],
        [{"path": "/x"}],
        [{"path": "", "contents": HELLO}],
        [{"path": "/x", "contents": "not base64"}],
        [{"path": "/x\0", "contents": HELLO}],
        [{"path": "/x", "contents": HELLO, "mode": "0600"}],
        {"path": "/x", "contents": HELLO},
    ],
)
async def test_what_is_no_file_is_refused(door: Door, files: Any) -> None:
    assert (await _create(door, files)).status_code == 400


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"path": f"/{n}", "contents": HELLO} for n in range(6)], "Personality file limit exceeded"),
        ([{"path": "/" + "x" * 255, "contents": HELLO}], "Personality file path exceeds maximum 255"),
        ([{"path": "/x", "contents": "aaaa" * 2561}], "Personality file content exceeds maximum 10240"),
    ],
)
async def test_a_projects_limits_hold(door: Door, files: Any, message: str) -> None:
    refused = await _create(door, files)
    assert refused.status_code == 403
    assert refused.json()["forbidden"]["message"] == message


async def test_limits_are_the_projects_own(door: Door) -> None:
    quota = f"/compute/v2.1/os-quota-sets/{door.cloud.bootstrapped.demo_project_id}"
    limits = {"quota_set": {"injected_files": 6}}
    changed = await door.http.put(quota, json=limits, headers={"x-auth-token": door.tokens["admin"]})
    assert changed.status_code == 200
    files = [{"path": f"/{n}", "contents": HELLO} for n in range(6)]
    assert (await _create(door, files)).status_code == 202
