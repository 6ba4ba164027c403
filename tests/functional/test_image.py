"""Images over HTTP: their life, who sees them, what an upload may and may not leave behind, tickets."""

import errno
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kilonova.image import store
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid, NotFound
from tests.functional.neighbours import Neighbours, start

OCTETS = {"content-type": "application/octet-stream"}
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
RAW = b"\x00guest disk" * 1000


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Neighbours]:
    neighbours = await start(tmp_path, max_image_bytes=8 << 20)
    yield neighbours
    await neighbours.close()


@pytest.fixture
async def admin(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token()) as client:
        yield client


@pytest.fixture
async def demo(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token("demo", "demo")) as client:
        yield client


async def create(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post(
        "/image/v2/images", json={"name": "x", "disk_format": "raw", "container_format": "bare", **body}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def upload(client: httpx.AsyncClient, image: str, data: bytes = RAW) -> httpx.Response:
    return await client.put(f"/image/v2/images/{image}/file", content=data, headers=OCTETS)


def files(cloud: Neighbours) -> list[str]:
    return [path.name for path in (cloud.state_dir / "images").iterdir()]


async def test_a_delete_takes_the_bytes_of_an_upload_that_ends_at_the_same_moment(
    cloud: Neighbours, demo: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await create(demo)
    own = cloud.images.own

    async def meanwhile(caller: Caller, image_id: str) -> Any:
        found = await own(caller, image_id)
        monkeypatch.setattr(cloud.images, "own", own)
        assert (await upload(demo, image)).status_code == 204
        return found

    monkeypatch.setattr(cloud.images, "own", meanwhile)
    assert (await demo.delete(f"/image/v2/images/{image}")).status_code == 204
    assert files(cloud) == []


async def test_versions_need_no_token(cloud: Neighbours) -> None:
    async with cloud.client() as client:
        choices = await client.get("/image/")
        assert choices.status_code == 300
        assert choices.json()["versions"][0]["links"][0]["href"] == "http://cloud.test:8774/image/v2/"
        assert (await client.get("/image/versions")).status_code == 200
        assert (await client.get("/image/v2/images")).status_code == 401


async def test_life_of_an_image(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image = await create(demo, os_distro="debian", tags=["b", "a", "a"])
    url = f"/image/v2/images/{image}"
    assert (await demo.get(url + "/file")).status_code == 204
    assert (await upload(demo, image)).status_code == 204
    shown = (await demo.get(url)).json()
    assert shown["status"] == "active" and shown["size"] == shown["virtual_size"] == len(RAW)
    assert shown["checksum"] == hashlib.md5(RAW).hexdigest()
    assert shown["os_hash_value"] == hashlib.sha512(RAW).hexdigest()
    assert shown["tags"] == ["a", "b"] and shown["os_distro"] == "debian" and shown["visibility"] == "shared"
    got = await demo.get(url + "/file")
    assert got.content == RAW
    assert got.headers["content-md5"] == shown["checksum"] and got.headers["content-length"] == str(len(RAW))
    assert (await upload(demo, image)).status_code == 409
    assert (await demo.get(url + "/tasks")).json() == {"tasks": []}
    assert (await demo.delete(url)).status_code == 204
    assert (await demo.get(url)).status_code == 404
    assert files(cloud) == []


async def test_a_patch_as_version_2_0_writes_it(demo: httpx.AsyncClient) -> None:
    image = await create(demo)
    headers = {"content-type": "application/openstack-images-v2.0-json-patch"}
    old = [{"add": "/hw_rescue_bus", "value": "virtio"}, {"replace": "/name", "value": "y"}]
    answer = await demo.patch(f"/image/v2/images/{image}", content=json.dumps(old), headers=headers)
    assert answer.status_code == 200 and answer.json()["hw_rescue_bus"] == "virtio"
    assert answer.json()["name"] == "y"
    for wrong in ([{"value": 1}], [{"op": "add"}], [{"add": 7, "value": "x"}], [{"op": "add", "remove": "/nothing"}]):
        answer = await demo.patch(f"/image/v2/images/{image}", content=json.dumps(wrong), headers=headers)
        assert answer.status_code in (400, 409), wrong


async def test_patch(admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    image = await create(demo, hw="old")
    url = f"/image/v2/images/{image}"

    async def patch(client: httpx.AsyncClient, *operations: Any) -> httpx.Response:
        import json

        return await client.patch(url, content=json.dumps(operations), headers=PATCH)

    good = await patch(
        demo,
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/a~1b", "value": "c"},
        {"op": "remove", "path": "/hw"},
    )
    assert good.json()["name"] == "new" and good.json()["a/b"] == "c" and "hw" not in good.json()
    for status, operation in (
        (403, {"op": "replace", "path": "/status", "value": "active"}),
        (403, {"op": "replace", "path": "/visibility", "value": "public"}),
        (403, {"op": "replace", "path": "/owner", "value": "other"}),
        (403, {"op": "remove", "path": "/name"}),
        (409, {"op": "remove", "path": "/nothing"}),
        (409, {"op": "replace", "path": "/nothing", "value": "x"}),
        (400, {"op": "replace", "path": "/min_disk", "value": "big"}),
        (400, {"op": "add", "path": "/deep/er", "value": "x"}),
        (400, {"op": "add", "path": "/n", "value": 5}),
        (400, {"op": "move", "path": "/name"}),
        (400, {"op": "add", "path": "/x"}),
    ):
        name = {"op": "replace", "path": "/name", "value": "half"}
        answer = await patch(demo, name, operation)
        assert answer.status_code == status, (operation, answer.text)
    assert (await demo.get(url)).json()["name"] == "new"
    assert (await patch(admin, {"op": "replace", "path": "/visibility", "value": "public"})).status_code == 200


async def test_patch_in_its_older_form(demo: httpx.AsyncClient) -> None:
    """As Tempest writes it: images-v2.0-json-patch, where the operation is the key of the path."""
    image = await create(demo, hw="old")
    url, older = f"/image/v2/images/{image}", {"content-type": "application/openstack-images-v2.0-json-patch"}
    operations: list[dict[str, Any]] = [
        {"replace": "/name", "value": "new"},
        {"add": "/hw_rescue_bus", "value": "virtio"},
        {"remove": "/hw"},
    ]
    changed = (await demo.patch(url, json=operations, headers=older)).json()
    assert (changed["name"], changed["hw_rescue_bus"]) == ("new", "virtio") and "hw" not in changed
    for wrong in (
        {"add": "/x"},
        {"add": "/x", "remove": "/y", "value": "v"},
        {"move": "/x"},
        {"add": 1, "value": "v"},
    ):
        refused = await demo.patch(url, json=[{"replace": "/name", "value": "half"}, wrong], headers=older)
        assert refused.status_code == 400, wrong
    assert (await demo.get(url)).json()["name"] == "new"


async def test_who_sees_what(admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    ids = {
        visibility: await create(admin, visibility=visibility, name=visibility)
        for visibility in ("public", "private", "shared", "community")
    }
    seen = {image["name"] for image in (await demo.get("/image/v2/images")).json()["images"]}
    assert seen == {"public"}
    community = (await demo.get("/image/v2/images", params={"visibility": "community"})).json()["images"]
    assert [image["name"] for image in community] == ["community"]
    for visibility, image in ids.items():
        url = f"/image/v2/images/{image}"
        visible = visibility in ("public", "community")
        assert (await demo.get(url)).status_code == (200 if visible else 404)
        assert (await demo.delete(url)).status_code == (403 if visible else 404)
        assert (await upload(demo, image)).status_code == (403 if visible else 404)
        assert (await demo.put(url + "/tags/t")).status_code == (403 if visible else 404)
    answer = await demo.post("/image/v2/images", json={"name": "p", "visibility": "public"})
    assert answer.status_code == 403
    assert (await demo.post("/image/v2/images", json={"name": "p", "owner": "other"})).status_code == 403
    assert len((await admin.get("/image/v2/images")).json()["images"]) == 4


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"name": "b"}, ["b"]),
        ({"tag": "t1"}, ["a"]),
        ({"tag": ["t1", "t2"]}, ["a"]),
        ({"os_distro": "Debian"}, ["b"]),
        ({"os_distro": "debian"}, []),
        ({"os_hidden": "true"}, ["hidden"]),
        ({"status": "queued", "sort": "name:desc"}, ["c", "b", "a"]),
        ({"name": "in:a,c", "sort_key": "name", "sort_dir": "asc"}, ["a", "c"]),
        ({"member_status": "all", "protected": "false", "sort": "name:asc"}, ["a", "b", "c"]),
        ({"size_min": "1"}, []),
    ],
)
async def test_filters(demo: httpx.AsyncClient, query: Any, names: list[str]) -> None:
    await create(demo, name="a", tags=["t1", "t2"])
    await create(demo, name="b", os_distro="Debian")
    await create(demo, name="c")
    await create(demo, name="hidden", os_hidden=True)
    answer = await demo.get("/image/v2/images", params=query)
    assert [image["name"] for image in answer.json()["images"]] == names


async def test_pages_follow_one_another(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    for at in range(7):
        await create(demo, name=f"n{at % 2}")
        cloud.clock.advance(0.5)
    names: list[str] = []
    url = "/v2/images?limit=3&sort=name:asc"
    while url:
        page = (await demo.get("/image" + url)).json()
        names += [image["name"] for image in page["images"]]
        url = page.get("next", "")
    assert names == ["n0"] * 4 + ["n1"] * 3


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "marker=nope", "sort=evil", "sort=name:up", "visibility=x"])
async def test_bad_queries(demo: httpx.AsyncClient, query: str) -> None:
    assert (await demo.get(f"/image/v2/images?{query}")).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '{"name": 5}',
        '{"disk_format": "vmdk"}',
        '{"id": "x"}',
        '{"p": 5}',
        '{"tags": "t"}',
        '{"min_disk": -1}',
    ],
)
async def test_bad_creates(demo: httpx.AsyncClient, body: str) -> None:
    answer = await demo.post("/image/v2/images", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert (await demo.get("/image/v2/images")).json()["images"] == []


async def test_wrong_content_kills_the_image_and_leaves_nothing(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    for declared, data in (("raw", b"QFI\xfb" + bytes(500)), ("qcow2", RAW), ("raw", b"KDMV" + bytes(600))):
        image = await create(demo, disk_format=declared)
        answer = await upload(demo, image, data)
        assert answer.status_code == 400 and "content is" in answer.json()["message"]
        assert (await demo.get(f"/image/v2/images/{image}")).json()["status"] == "killed"
        assert files(cloud) == []


async def test_what_goes_wrong_before_the_end_gives_the_image_back(
    cloud: Neighbours, demo: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await create(demo)

    async def status() -> str:
        assert files(cloud) == []
        return (await demo.get(f"/image/v2/images/{image}")).json()["status"]

    assert (await upload(demo, image, b"x" * (9 << 20))).status_code == 413
    assert await status() == "queued"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * (1 << 20)

    answer = await demo.put(f"/image/v2/images/{image}/file", content=endless(), headers=OCTETS)
    assert answer.status_code == 413 and await status() == "queued"
    assert (await upload(demo, image, b"")).status_code == 400
    assert await status() == "queued"
    wrong = await demo.put(f"/image/v2/images/{image}/file", content=RAW, headers={"content-type": "text/html"})
    assert wrong.status_code == 415 and await status() == "queued"

    def full(self: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(store._Writer, "write", full)
    answer = await upload(demo, image)
    assert answer.status_code == 413 and "disk space" in answer.json()["message"]
    assert await status() == "queued"
    monkeypatch.undo()
    assert (await upload(demo, image)).status_code == 204


async def test_two_uploads_at_once_and_a_dead_one(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image = await create(demo)
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield RAW
        seen.append((await upload(demo, image)).status_code)
        cloud.clock.advance(200)  # the first one is silent for so long that it counts as dead
        seen.append((await upload(demo, image, RAW + b"2")).status_code)
        yield RAW

    first = await demo.put(f"/image/v2/images/{image}/file", content=body(), headers=OCTETS)
    assert seen == [409, 204] and first.status_code == 410
    assert (await demo.get(f"/image/v2/images/{image}/file")).content == RAW + b"2"
    assert len(files(cloud)) == 1


async def test_deleted_during_its_upload(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image = await create(demo)

    async def body() -> AsyncIterator[bytes]:
        yield RAW
        assert (await demo.delete(f"/image/v2/images/{image}")).status_code == 204

    answer = await demo.put(f"/image/v2/images/{image}/file", content=body(), headers=OCTETS)
    assert answer.status_code == 410 and files(cloud) == []


async def test_recovery_removes_what_no_row_names_and_spares_the_living(
    cloud: Neighbours, demo: httpx.AsyncClient
) -> None:
    good, left = await create(demo), await create(demo)
    await upload(demo, good)
    directory = cloud.state_dir / "images"
    (directory / "nobody.1").write_bytes(b"x")
    (directory / "nobody.2.part").write_bytes(b"x")
    from kilonova.database import images as queries

    await cloud.database.run(queries.claim_upload, left, "u", cloud.clock.now(), 0)
    (directory / f"{left}.u.part").write_bytes(b"x")
    assert await cloud.images.recover() == 2
    cloud.clock.advance(600)
    assert await cloud.images.recover() == 1
    assert (await demo.get(f"/image/v2/images/{left}")).json()["status"] == "queued"
    assert (await demo.get(f"/image/v2/images/{good}/file")).content == RAW


async def test_protected_images_stay(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image = await create(demo, protected=True)
    await upload(demo, image)
    assert (await demo.delete(f"/image/v2/images/{image}")).status_code == 403
    assert (await demo.get(f"/image/v2/images/{image}/file")).content == RAW


async def test_tickets(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image, other = await create(demo), await create(demo)
    with pytest.raises(Conflict):
        await cloud.images.ticket(image)
    await upload(demo, image)
    await upload(demo, other)
    ticket = await cloud.images.ticket(image)
    assert ticket.sha512 == hashlib.sha512(RAW).hexdigest() and ticket.disk_format == "raw"
    async with cloud.client() as nobody:
        assert (await nobody.get(ticket.url)).content == RAW
        assert (await nobody.get(ticket.url.replace(image, other))).status_code == 401
        assert (await nobody.get(ticket.url[:-1] + "x")).status_code == 401
        assert (await nobody.get(f"/image/v2/images/{image}/file?ticket=99999999999.é")).status_code == 401
        assert (await nobody.get(f"/image/v2/images/{image}/file")).status_code == 401
        cloud.clock.advance(3601)
        assert (await nobody.get(ticket.url)).status_code == 401
    with pytest.raises(NotFound):
        await cloud.images.ticket("nope")


async def test_registered_file(cloud: Neighbours, demo: httpx.AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "guest.raw"
    source.write_bytes(RAW)
    arguments = {"owner": "o", "disk_format": "raw", "properties": {"hw": "x"}}
    image = await cloud.images.register_file(source, "guest", **arguments)
    assert await cloud.images.register_file(source, "guest", **arguments) == image
    shown = (await demo.get("/image/v2/images", params={"name": "guest"})).json()["images"]
    assert len(shown) == 1 and shown[0]["status"] == "active" and shown[0]["hw"] == "x"
    assert (await demo.get(f"/image/v2/images/{image}/file")).content == RAW
    with pytest.raises(Invalid):
        await cloud.images.register_file(source, "bad", owner="o", disk_format="qcow2")
    assert len(files(cloud)) == 1


async def test_compute_sees_what_the_caller_may_see(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image = await create(demo, min_disk=3, hw_x="y")
    mine = Caller(user_id="u", project_id=cloud.bootstrapped.demo_project_id)
    found = await cloud.images.show(mine, image)
    assert found.min_disk_gb == 3 and found.properties == {"hw_x": "y"} and found.status == "queued"
    with pytest.raises(NotFound):
        await cloud.images.show(Caller(user_id="u", project_id="other"), image)


async def test_small_things(admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    image = await create(demo)
    url = f"/image/v2/images/{image}"
    assert (await demo.put(url + "/tags/t")).status_code == 204
    assert (await demo.delete(url + "/tags/t")).status_code == 204
    assert (await demo.delete(url + "/tags/t")).status_code == 404
    assert (await demo.get(url + "/members")).json()["members"] == []
    assert (await demo.get("/image/v2/schemas/image")).json()["name"] == "image"
    assert (await demo.get("/image/v2/info/import")).json()["import-methods"]["value"] == []
    await upload(demo, image)
    assert (await demo.post(url + "/actions/deactivate")).status_code == 403
    assert (await admin.post(url + "/actions/deactivate")).status_code == 204
    assert (await demo.get(url + "/file")).status_code == 403
    assert (await admin.post(url + "/actions/reactivate")).status_code == 204
    assert (await demo.get(url + "/file")).status_code == 200
