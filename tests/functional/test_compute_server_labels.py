"""What is written beside a server over HTTP: metadata, tags, addresses, names and zones."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.api.compute import servers as servers_module
from kilonova.database import quotas, servers
from tests.functional.compute_api import Api, all_routes, compute_api
from tests.functional.compute_rows import insert_server, server_id

ONE = f"/servers/{server_id('s1')}"
THEIRS = f"/servers/{server_id('s2')}"
NIC = {
    "port_id": "p",
    "network_id": "n",
    "network_name": "private",
    "mac": "fa:16:3e:00:00:01",
    "address": "192.0.2.7",
    "cidr": "192.0.2.0/24",
}


def _world(connection: Connection) -> None:
    addresses = [NIC, NIC | {"network_name": "blue sky", "address": "2001:db8::7"}]
    insert_server(connection, "s1", metadata={"a": "1"}, tags=["blue"], addresses=addresses, availability_zone="east")
    insert_server(connection, "s2", project_id="p-two")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path, [*all_routes(), *servers_module.ROUTES]) as found:
        await found.database.run(_world)
        yield found


async def change(api: Api, short: str = "s1", **values: Any) -> None:
    def write(connection: Connection) -> None:
        servers.update(connection, server_id(short), **values)

    await api.database.run(write)


async def metadata(api: Api) -> Any:
    return (await api("reader", f"GET {ONE}/metadata")).json()["metadata"]


async def test_metadata(api: Api) -> None:
    answer = await api("member", f"POST {ONE}/metadata", 1, {"metadata": {"b": "2", "a": "0"}})
    assert (answer.status_code, answer.json()) == (200, {"metadata": {"a": "0", "b": "2"}})
    answer = await api("member", f"PUT {ONE}/metadata/c d", 1, {"meta": {"c d": ""}})
    assert (answer.status_code, answer.json()) == (200, {"meta": {"c d": ""}})
    assert (await api("reader", f"GET {ONE}/metadata/c d")).json() == {"meta": {"c d": ""}}
    assert await metadata(api) == {"a": "0", "b": "2", "c d": ""}
    answer = await api("member", f"DELETE {ONE}/metadata/b")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await metadata(api) == {"a": "0", "c d": ""}
    answer = await api("member", f"PUT {ONE}/metadata", 104, {"metadata": {"x": "y"}})
    assert answer.json() == {"metadata": {"x": "y"}}
    assert await metadata(api) == {"x": "y"}


async def test_metadata_written_at_once_is_all_there(api: Api) -> None:
    await asyncio.gather(*(api("member", f"POST {ONE}/metadata", 1, {"metadata": {f"k{n}": "v"}}) for n in range(8)))
    assert set(await metadata(api)) == {"a", *(f"k{n}" for n in range(8))}


LONG = "k" * 256


@pytest.mark.parametrize(
    ("who", "call", "body", "status"),
    [
        ("reader", f"POST {ONE}/metadata", {"metadata": {"b": "2"}}, 403),
        ("other", f"POST {ONE}/metadata", {"metadata": {"b": "2"}}, 404),
        ("member", f"POST {THEIRS}/metadata", {"metadata": {"b": "2"}}, 404),
        ("member", f"GET {THEIRS}/metadata", None, 404),
        ("member", f"GET {ONE}/metadata/none", None, 404),
        ("member", f"DELETE {ONE}/metadata/none", None, 404),
        ("member", f"POST {ONE}/metadata", {"metadata": {LONG: "2"}}, 400),
        ("member", f"POST {ONE}/metadata", {"metadata": {"k": LONG}}, 400),
        ("member", f"POST {ONE}/metadata", {"metadata": {"k": None}}, 400),
        ("member", f"POST {ONE}/metadata", {"metadata": {"ä": "x"}}, 400),
        ("member", f"POST {ONE}/metadata", {"metadata": {"b": "2"}, "x": 1}, 400),
        ("member", f"PUT {ONE}/metadata/b", {"meta": {"c": "2"}}, 400),
        ("member", f"PUT {ONE}/metadata/b", {"meta": {"b": "2", "c": "2"}}, 400),
        ("member", f"PUT {ONE}/metadata/b", {"meta": {}}, 400),
    ],
)
async def test_metadata_refused(api: Api, who: str, call: str, body: Any, status: int) -> None:
    assert (await api(who, call, 1, body)).status_code == status
    assert await metadata(api) == {"a": "1"}


async def test_metadata_quota(api: Api) -> None:
    await api.database.run(quotas.set_limits, "p-one", {"metadata_items": 2})
    assert (await api("member", f"POST {ONE}/metadata", 1, {"metadata": {"b": "", "c": ""}})).status_code == 403
    assert (await api("member", f"PUT {ONE}/metadata", 1, {"metadata": {"b": "", "c": ""}})).status_code == 200
    assert (await api("member", f"PUT {ONE}/metadata/d", 1, {"meta": {"d": ""}})).status_code == 403
    assert await metadata(api) == {"b": "", "c": ""}


async def test_neither_locked_nor_unsettled_servers_change(api: Api) -> None:
    await change(api, locked=True)
    assert (await api("member", f"DELETE {ONE}/metadata/a")).status_code == 409
    assert (await api("admin", f"PUT {ONE}/metadata/b", 1, {"meta": {"b": ""}})).status_code == 200
    await change(api, locked=False, vm_state="rescued")
    assert (await api("member", f"DELETE {ONE}/metadata/a")).status_code == 409
    assert (await api("member", f"PUT {ONE}/tags/new", 26)).status_code == 409
    assert (await api("member", f"PUT {ONE}/tags", 26, {"tags": []})).status_code == 409
    assert (await api("member", f"DELETE {ONE}/tags/blue", 26)).status_code == 409
    assert (await api("member", f"DELETE {ONE}/tags", 26)).status_code == 409
    assert (await api("reader", f"GET {ONE}/tags", 26)).json() == {"tags": ["blue"]}


async def test_tags(api: Api) -> None:
    answer = await api("member", f"PUT {ONE}/tags/sky high%0a", 26)
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"{ONE}/tags/sky%20high%0A")
    assert (await api("member", f"PUT {ONE}/tags/blue", 26)).status_code == 204
    assert (await api("reader", f"GET {ONE}/tags", 26)).json() == {"tags": ["blue", "sky high\n"]}
    assert (await api("reader", f"GET {ONE}/tags/blue", 104)).status_code == 204
    assert (await api("reader", f"GET {ONE}/tags/red", 26)).status_code == 404
    assert (await api("member", f"DELETE {ONE}/tags/blue", 26)).status_code == 204
    assert (await api("member", f"DELETE {ONE}/tags/blue", 26)).status_code == 404
    answer = await api("member", f"PUT {ONE}/tags", 26, {"tags": ["two", "one", "two"]})
    assert (answer.status_code, answer.json()) == (200, {"tags": ["one", "two"]})
    assert (await api("member", f"DELETE {ONE}/tags", 26)).status_code == 204
    assert (await api("reader", f"GET {ONE}/tags", 26)).json() == {"tags": []}


@pytest.mark.parametrize(
    ("who", "call", "version", "body", "status"),
    [
        ("reader", f"GET {ONE}/tags", 25, None, 404),
        ("reader", f"PUT {ONE}/tags/x", 26, None, 403),
        ("member", f"PUT {THEIRS}/tags/x", 26, None, 404),
        ("member", f"PUT {ONE}/tags/a,b", 26, None, 400),
        ("member", f"PUT {ONE}/tags/{'x' * 61}", 26, None, 400),
        ("member", f"PUT {ONE}/tags/x", 26, {}, 400),
        ("member", f"PUT {ONE}/tags", 26, {"tags": [str(n) for n in range(51)]}, 400),
        ("member", f"PUT {ONE}/tags", 26, {"tags": ["a/b"]}, 400),
        ("member", f"PUT {ONE}/tags", 26, {"tags": "a"}, 400),
    ],
)
async def test_tags_refused(api: Api, who: str, call: str, version: int, body: Any, status: int) -> None:
    assert (await api(who, call, version, body)).status_code == status
    assert (await api("reader", f"GET {ONE}/tags", 26)).json() == {"tags": ["blue"]}


async def test_fifty_tags_are_enough(api: Api) -> None:
    await api("member", f"PUT {ONE}/tags", 26, {"tags": [f"t{n}" for n in range(50)]})
    assert (await api("member", f"PUT {ONE}/tags/new", 26)).status_code == 400
    assert len((await api("reader", f"GET {ONE}/tags", 26)).json()["tags"]) == 50


async def test_tags_find_servers(api: Api) -> None:
    await api("member", f"PUT {ONE}/tags", 26, {"tags": ["one", "two"]})
    for query, found in (
        ("tags=one,two", True),
        ("tags=one,three", False),
        ("tags-any=one,three", True),
        ("not-tags=one,three", True),
        ("not-tags=one,two", False),
        ("not-tags-any=three", True),
        ("not-tags-any=one,three", False),
    ):
        listed = (await api("reader", f"GET /servers?{query}", 26)).json()["servers"]
        assert bool(listed) is found, query


@pytest.mark.parametrize("version", [1, 104])
async def test_ips(api: Api, version: int) -> None:
    private = [{"version": 4, "addr": "192.0.2.7"}]
    sky = [{"version": 6, "addr": "2001:db8::7"}]
    answer = await api("reader", f"GET {ONE}/ips", version)
    assert answer.json() == {"addresses": {"private": private, "blue sky": sky}}
    assert (await api("reader", f"GET {ONE}/ips/blue sky", version)).json() == {"blue sky": sky}
    assert (await api("reader", f"GET {ONE}/ips/green", version)).status_code == 404
    assert (await api("reader", f"GET {THEIRS}/ips", version)).status_code == 404


async def update(api: Api, version: int, **values: Any) -> int:
    return (await api("member", f"PUT {ONE}", version, {"server": values})).status_code


async def test_update(api: Api) -> None:
    values = {"name": "new", "accessIPv4": "192.0.2.1", "accessIPv6": "2001:db8::1", "OS-DCF:diskConfig": "AUTO"}
    assert await update(api, 94, **values, description=None, hostname="a.b") == 200
    found = (await api("reader", f"GET {ONE}", 96)).json()["server"]
    assert {key: found[key] for key in values} == values
    assert (found["description"], found["OS-EXT-SRV-ATTR:hostname"]) == (None, "a.b")


@pytest.mark.parametrize(
    ("version", "values"),
    [
        (1, {"name": " new"}),
        (1, {"name": "new\u0000"}),
        (1, {"name": ""}),
        (1, {"OS-DCF:diskConfig": "auto"}),
        (1, {"accessIPv4": "300.0.0.1"}),
        (1, {"accessIPv6": "192.0.2.1"}),
        (18, {"description": "x"}),
        (19, {"description": "x\u0000"}),
        (89, {"hostname": "abc"}),
        (90, {"hostname": "a.b"}),
        (90, {"hostname": "-"}),
        (94, {"hostname": "a b"}),
        (103, {"pinned_availability_zone": None}),
        (104, {"pinned_availability_zone": ""}),
    ],
)
async def test_update_refused(api: Api, version: int, values: dict[str, Any]) -> None:
    before = (await api("reader", f"GET {ONE}", 96)).json()
    assert await update(api, version, **values) == 400
    assert (await api("reader", f"GET {ONE}", 96)).json() == before


async def test_pinning_to_the_zone_it_is_in(api: Api) -> None:
    assert await update(api, 104, pinned_availability_zone="west") == 409
    assert await update(api, 104, pinned_availability_zone="east") == 200
    assert await update(api, 104, pinned_availability_zone="west", name="other") == 409
    found = (await api("reader", f"GET {ONE}", 96)).json()["server"]
    assert (found["pinned_availability_zone"], found["name"]) == ("east", "s1")
    assert await update(api, 104, pinned_availability_zone="east") == 200
    assert await update(api, 104, pinned_availability_zone=None) == 200
    assert (await api("reader", f"GET {ONE}", 96)).json()["server"]["pinned_availability_zone"] is None
