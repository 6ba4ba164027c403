"""Images shared with single projects, and tags of projects, over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kilonova.database import image_members
from kilonova.model.context import Caller
from kilonova.model.errors import NotFound
from tests.functional.neighbours import Neighbours
from tests.functional.network_api import second_project

UNKNOWN = "99999999-9999-4999-8999-999999999999"


@pytest.fixture
async def admin(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token()) as client:
        yield client


@pytest.fixture
async def demo(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token("demo", "demo")) as client:
        yield client


async def ids(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"/image/v2/images?{query}")
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


# --- images ------------------------------------------------------------------------------------------------


async def test_sharing_an_image(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    other_project = await second_project(cloud)
    body = {"name": "x", "disk_format": "raw", "container_format": "bare"}
    image: str = (await demo.post("/image/v2/images", json=body)).json()["id"]
    url = f"/image/v2/images/{image}"
    members = f"{url}/members"
    async with cloud.client(await cloud.token("other", "other")) as other:
        assert (await other.get(url)).status_code == 404 and (await other.get(members)).status_code == 404
        made = await demo.post(members, json={"member": other_project})
        assert made.status_code == 200 and made.json()["status"] == "pending", made.text
        assert (await demo.post(members, json={"member": other_project})).status_code == 409
        assert (await demo.post(members, json={"member": ""})).status_code == 400
        # It may be used by whoever knows its id, and is in no list yet.
        assert (await other.get(url)).status_code == 200
        caller = Caller(user_id="u", project_id=other_project)
        assert (await cloud.images.show(caller, image)).id == image
        assert await ids(other) == [] and await ids(other, "member_status=pending") == [image]
        own = f"{members}/{other_project}"
        assert (await demo.put(own, json={"status": "accepted"})).status_code == 403
        assert (await other.put(own, json={"status": "perhaps"})).status_code == 400
        assert (await other.put(own, json={"status": "accepted"})).json()["status"] == "accepted"
        assert await ids(other) == [image] and await ids(other, "visibility=shared") == [image]
        assert await ids(other, "member_status=rejected") == [] and await ids(other, "member_status=all") == [image]
        assert (await other.get("/image/v2/images?member_status=x")).status_code == 400
        assert (await other.get(own)).json()["member_id"] == other_project
        # A member sees itself, and changes nothing else.
        assert (await demo.post(members, json={"member": "third"})).status_code == 200
        assert [entry["member_id"] for entry in (await other.get(members)).json()["members"]] == [other_project]
        assert len((await demo.get(members)).json()["members"]) == 2
        assert (await other.get(f"{members}/third")).status_code == 404
        assert (await other.post(members, json={"member": "fourth"})).status_code == 403
        assert (await other.delete(own)).status_code == 403
        assert (await other.delete(url)).status_code == 403
        assert (await demo.delete(own)).status_code == 204
        assert (await demo.delete(own)).status_code == 404
        assert (await other.get(url)).status_code == 404 and await ids(other) == []
        with pytest.raises(NotFound):
            await cloud.images.show(caller, image)


async def test_only_shared_images_have_members(admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    private = (await demo.post("/image/v2/images", json={"name": "x", "visibility": "private"})).json()["id"]
    public = (await admin.post("/image/v2/images", json={"name": "x", "visibility": "public"})).json()["id"]
    for image in (private, public):
        assert (await admin.get(f"/image/v2/images/{image}/members")).status_code == 403
        assert (await admin.post(f"/image/v2/images/{image}/members", json={"member": "p"})).status_code == 403
    for name in ("image", "images", "member", "members"):
        assert (await demo.get(f"/image/v2/schemas/{name}")).json()["name"] == name
    assert (await demo.get("/image/v2/schemas/other")).status_code == 404
    assert (await demo.get("/image/v2/tasks")).json()["tasks"] == []


async def test_members_end_with_the_image(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    image = (await demo.post("/image/v2/images", json={"name": "x"})).json()["id"]
    await demo.post(f"/image/v2/images/{image}/members", json={"member": "p"})
    assert (await demo.delete(f"/image/v2/images/{image}")).status_code == 204
    assert await cloud.database.run(image_members.members_of, image) == []


# --- projects ----------------------------------------------------------------------------------------------


async def test_project_tags(cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    project: dict[str, Any] = {"name": "tagged", "tags": ["b", "a"]}
    made = (await admin.post("/identity/v3/projects", json={"project": project})).json()["project"]
    assert made["tags"] == ["a", "b"]
    url = f"/identity/v3/projects/{made['id']}"
    assert (await admin.put(f"{url}/tags/c")).status_code == 201
    assert (await admin.get(f"{url}/tags")).json()["tags"] == ["a", "b", "c"]
    assert (await admin.get(f"{url}/tags/c")).status_code == (await admin.head(f"{url}/tags/c")).status_code == 204
    assert (await admin.delete(f"{url}/tags/c")).status_code == 204
    assert (await admin.delete(f"{url}/tags/c")).status_code == (await admin.get(f"{url}/tags/c")).status_code == 404

    async def found(query: str) -> bool:
        listed = (await admin.get(f"/identity/v3/projects?{query}")).json()["projects"]
        return made["id"] in [entry["id"] for entry in listed]

    assert await found("tags=a,b") and not await found("tags=a,c") and await found("tags-any=a,c")
    assert not await found("not-tags=a,b") and await found("not-tags=a,c") and not await found("not-tags-any=a,c")
    assert (await admin.put(f"{url}/tags", json={"tags": ["x"]})).json()["tags"] == ["x"]
    for bad in ({"tags": ["a,b"]}, {"tags": [""]}, {"tags": ["x" * 256]}, {"tags": ["a", "a"]}, {}):
        assert (await admin.put(f"{url}/tags", json=bad)).status_code == 400, bad
    changed = await admin.patch(url, json={"project": {"tags": ["y"], "description": "d"}})
    assert changed.json()["project"]["tags"] == ["y"]
    assert (await admin.delete(f"{url}/tags")).status_code == 204
    assert (await admin.get(url)).json()["project"]["tags"] == []
    own = f"/identity/v3/projects/{cloud.bootstrapped.demo_project_id}"
    assert (await demo.get(f"{own}/tags")).status_code == 200
    assert (await demo.put(f"{own}/tags/x")).status_code == 403
    assert (await demo.get(f"{url}/tags")).status_code == 403
    assert (await admin.put(f"/identity/v3/projects/{UNKNOWN}/tags/x")).status_code == 404


async def test_application_credentials_of_nobody(admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    url = f"/identity/v3/users/{UNKNOWN}/application_credentials"
    body = {"application_credential": {"name": "x"}}
    assert (await admin.get(url)).status_code == (await admin.post(url, json=body)).status_code == 404
    assert (await demo.get(url)).status_code == (await demo.post(url, json=body)).status_code == 403
