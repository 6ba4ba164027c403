"""Images through Compute, as old clients reach them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.functional.compute_api import record
from tests.functional.front_door import UNKNOWN, Door, front_door


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with front_door(tmp_path) as opened:
        yield opened


async def ask(door: Door, who: str, call: str, version: int = 1, body: Any = None) -> httpx.Response:
    method, path = call.split(" ", 1)
    headers = {"x-auth-token": door.tokens[who], "openstack-api-version": f"compute 2.{version}"}
    answer = await door.http.request(method, f"/compute/v2.1{path}", json=body, headers=headers)
    record(method, f"/v2.1{path}", version, body, answer)
    return answer


async def new_image(door: Door, who: str = "member", **values: Any) -> str:
    body: dict[str, Any] = {"name": "mine", "disk_format": "raw", "container_format": "bare", **values}
    headers = {"x-auth-token": door.tokens[who]}
    answer = await door.http.post("/image/v2/images", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def upload(door: Door, image: str, who: str = "member") -> None:
    headers = {"x-auth-token": door.tokens[who], "content-type": "application/octet-stream"}
    assert (await door.http.put(f"/image/v2/images/{image}/file", content=b"\0" * 512, headers=headers)).is_success


async def listed(door: Door, query: str = "", who: str = "member") -> list[str]:
    answer = await ask(door, who, f"GET /images{query}")
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json()["images"]]


async def test_show(door: Door) -> None:
    image = await new_image(door, min_ram=64, min_disk=1, instance_uuid=UNKNOWN, auto_disk_config="true")
    found = (await ask(door, "member", f"GET /images/{image}", 35)).json()["image"]
    assert (found["name"], found["status"], found["progress"], found["OS-EXT-IMG-SIZE:size"]) == (
        "mine",
        "SAVING",
        25,
        0,
    )
    assert (found["minRam"], found["minDisk"], found["OS-DCF:diskConfig"]) == (64, 1, "AUTO")
    assert found["metadata"] == {"instance_uuid": UNKNOWN, "auto_disk_config": "true"}
    assert found["server"]["id"] == UNKNOWN
    assert found["links"][2]["href"].endswith(f"/image/images/{image}")
    await upload(door, image)
    found = (await ask(door, "reader", f"GET /images/{image}")).json()["image"]
    assert (found["status"], found["progress"], found["OS-EXT-IMG-SIZE:size"]) == ("ACTIVE", 100, 512)
    for who, path, version in (
        ("stranger", image, 1),
        ("member", UNKNOWN, 1),
        ("member", "x", 1),
        ("member", image, 36),
    ):
        assert (await ask(door, who, f"GET /images/{path}", version)).status_code == 404
    assert (await ask(door, "stranger", f"DELETE /images/{image}")).status_code == 404
    assert (await ask(door, "member", f"DELETE /images/{image}")).status_code == 204
    assert (await ask(door, "member", f"GET /images/{image}")).status_code == 404


async def test_others_images_are_only_seen(door: Door) -> None:
    image = await new_image(door, "admin", visibility="public")
    assert (await ask(door, "member", f"GET /images/{image}")).status_code == 200
    assert (await ask(door, "member", f"DELETE /images/{image}")).status_code == 403
    body = {"metadata": {"a": "b"}}
    assert (await ask(door, "member", f"POST /images/{image}/metadata", 1, body)).status_code == 403
    protected = await new_image(door, protected=True)
    assert (await ask(door, "member", f"DELETE /images/{protected}")).status_code == 403


async def test_lists(door: Door) -> None:
    one = await new_image(door, name="one", image_type="snapshot", min_ram=64)
    await upload(door, one)
    door.cloud.clock.advance(60)
    await new_image(door, name="two", instance_uuid=UNKNOWN)
    await new_image(door, "stranger", name="theirs")
    assert await listed(door) == ["two", "one"]
    for query, expected in (
        ("?name=one", ["one"]),
        ("?status=active", ["one"]),
        ("?status=ACTIVE&name=two", []),
        ("?type=snapshot", ["one"]),
        (f"?server={UNKNOWN}", ["two"]),
        (f"?server=http://cloud/servers/{UNKNOWN}", ["two"]),
        (f"?property-instance_uuid={UNKNOWN}", ["two"]),
        ("?minRam=64", ["one"]),
        ("?minDisk=1", []),
        (f"?minDisk={'9' * 30}", []),
        (f"?minRam={2**31}", []),
        ("?limit=1", ["two"]),
        ("?whatever=1", ["two", "one"]),
    ):
        assert await listed(door, query) == expected, query
    two = (await ask(door, "member", "GET /images/detail?name=two")).json()["images"][0]
    assert two["minRam"] == 0
    assert await listed(door, f"?changes-since={two['updated']}") == ["two"]
    page = (await ask(door, "member", "GET /images?limit=1")).json()
    assert f"marker={two['id']}" in page["images_links"][0]["href"]
    assert await listed(door, f"?marker={two['id']}") == ["one"]
    for query in ("limit=-1", f"marker={UNKNOWN}", "minRam=x", "minDisk=-1", "changes-since=x"):
        assert (await ask(door, "member", f"GET /images?{query}")).status_code == 400, query


async def test_metadata(door: Door) -> None:
    image = await new_image(door, a="1")
    path = f"/images/{image}/metadata"
    assert (await ask(door, "reader", f"GET {path}", 38)).json() == {"metadata": {"a": "1"}}
    assert (await ask(door, "reader", f"GET {path}", 39)).status_code == 404
    merged = await ask(door, "member", f"POST {path}", 1, {"metadata": {"b": "2"}})
    assert (merged.status_code, merged.json()) == (200, {"metadata": {"a": "1", "b": "2"}})
    assert (await ask(door, "member", f"PUT {path}/c", 1, {"meta": {"c": "3"}})).json() == {"meta": {"c": "3"}}
    assert (await ask(door, "member", f"GET {path}/c")).json() == {"meta": {"c": "3"}}
    assert (await ask(door, "member", f"DELETE {path}/a")).status_code == 204
    assert (await ask(door, "member", f"GET {path}")).json() == {"metadata": {"b": "2", "c": "3"}}
    replaced = await ask(door, "member", f"PUT {path}", 1, {"metadata": {"x": "y"}})
    assert replaced.json() == {"metadata": {"x": "y"}}
    for who, call, body, status in (
        ("member", f"GET {path}/none", None, 404),
        ("member", f"DELETE {path}/none", None, 404),
        ("member", f"PUT {path}/c", {"meta": {"d": "3"}}, 400),
        ("member", f"PUT {path}/c", {"meta": {"c": "3", "d": "4"}}, 400),
        ("member", f"POST {path}", {"metadata": {"c": 3}}, 400),
        ("member", f"POST {path}", {"metadata": {str(n): "" for n in range(129)}}, 403),
        ("stranger", f"POST {path}", {"metadata": {"c": "3"}}, 404),
        ("stranger", f"DELETE {path}/x", None, 404),
        ("member", f"GET /images/{UNKNOWN}/metadata", None, 404),
    ):
        assert (await ask(door, who, call, 1, body)).status_code == status, (who, call)
    assert (await ask(door, "member", f"GET {path}")).json() == {"metadata": {"x": "y"}}
