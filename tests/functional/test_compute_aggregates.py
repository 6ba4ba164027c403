"""Host aggregates over HTTP, and the zones that come of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, membership, servers
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_host, insert_server, server_id


def _world(connection: Connection) -> None:
    insert_host(connection, 1, "one")
    insert_host(connection, 2, "two")
    aggregates.insert(connection, uuid="50000000-0000-4000-8000-000000000001", name="fast", zone=None, now=NOW)
    aggregates.insert(connection, uuid="50000000-0000-4000-8000-000000000002", name="east", zone="east", now=NOW)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def act(api: Api, number: int, action: str, argument: Any) -> tuple[int, Any]:
    answer = await api("admin", f"POST /os-aggregates/{number}/action", 1, {action: argument})
    return answer.status_code, answer.json().get("aggregate", answer.json())


async def add(api: Api, number: int, host: str) -> int:
    return (await act(api, number, "add_host", {"host": host}))[0]


async def remove(api: Api, number: int, host: str) -> int:
    return (await act(api, number, "remove_host", {"host": host}))[0]


async def put_server(api: Api, host: str) -> None:
    await api.database.run(insert_server, "s1", host=host)


async def zones(api: Api) -> dict[str, set[str]]:
    found = (await api("admin", "GET /os-availability-zone/detail")).json()["availabilityZoneInfo"]
    return {zone["zoneName"]: set(zone["hosts"] or {}) for zone in found}


@pytest.mark.parametrize("version", [1, 40, 41, 104])
async def test_by_version(api: Api, version: int) -> None:
    body = {"aggregate": {"name": "new", "availability_zone": "north"}}
    answer = await api("admin", "POST /os-aggregates", version, body)
    made = answer.json()["aggregate"]
    assert (answer.status_code, made["id"], made["availability_zone"], made["deleted"]) == (200, 3, "north", False)
    assert "hosts" not in made and "metadata" not in made
    assert ("uuid" in made) == (version >= 41)
    shown = (await api("admin", "GET /os-aggregates/3", version)).json()["aggregate"]
    assert shown == made | {"hosts": [], "metadata": {"availability_zone": "north"}}
    found = (await api("admin", "GET /os-aggregates", version)).json()["aggregates"]
    assert [aggregate["name"] for aggregate in found] == ["fast", "east", "new"]
    assert found[2] == shown
    answer = await api("admin", "DELETE /os-aggregates/3", version)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await api("admin", "GET /os-aggregates/3", version)).status_code == 404


async def test_update(api: Api) -> None:
    answer = await api(
        "admin", "PUT /os-aggregates/2", 1, {"aggregate": {"name": " west ", "availability_zone": "w"}}
    )
    view = answer.json()["aggregate"]
    assert (view["name"], view["availability_zone"], view["metadata"]) == ("west", "w", {"availability_zone": "w"})
    assert view["updated_at"] is not None


async def test_metadata_is_merged(api: Api) -> None:
    status, view = await act(api, 1, "set_metadata", {"metadata": {"ssd": "true", "pinned": "no"}})
    assert (status, view["metadata"]) == (200, {"ssd": "true", "pinned": "no"})
    status, view = await act(api, 1, "set_metadata", {"metadata": {"ssd": None, "availability_zone": "north"}})
    assert view["metadata"] == {"pinned": "no", "availability_zone": "north"}
    assert view["availability_zone"] == "north"


async def test_hosts_come_and_go(api: Api) -> None:
    assert (await act(api, 1, "add_host", {"host": "one"}))[1]["hosts"] == ["one"]
    assert (await act(api, 1, "add_host", {"host": "two"}))[1]["hosts"] == ["one", "two"]
    assert await add(api, 1, "two") == 409
    assert (await api("admin", "DELETE /os-aggregates/1")).status_code == 400
    assert (await act(api, 1, "remove_host", {"host": "one"}))[1]["hosts"] == ["two"]
    assert await remove(api, 1, "one") == 404


async def test_a_zone_is_an_aggregates(api: Api) -> None:
    assert await zones(api) == {"nova": {"one", "two"}}
    assert await add(api, 2, "one") == 200
    assert await zones(api) == {"nova": {"two"}, "east": {"one"}}
    found = (await api("admin", "GET /os-services", 53)).json()["services"]
    assert {service["host"]: service["zone"] for service in found} == {"one": "east", "two": "nova"}
    hosts = await api.database.run(membership.list_hosts)
    assert {host.host: host.availability_zone for host in hosts} == {"one": "east", "two": "nova"}
    await act(api, 2, "set_metadata", {"metadata": {"availability_zone": "south"}})
    assert await zones(api) == {"nova": {"two"}, "south": {"one"}}
    assert await remove(api, 2, "one") == 200
    assert await zones(api) == {"nova": {"one", "two"}}


async def test_a_host_is_in_one_zone(api: Api) -> None:
    await add(api, 2, "one")
    await add(api, 1, "one")
    assert (await act(api, 1, "set_metadata", {"metadata": {"availability_zone": "west"}}))[0] == 400
    assert (await act(api, 1, "set_metadata", {"metadata": {"availability_zone": "east"}}))[0] == 200
    await api("admin", "POST /os-aggregates", 1, {"aggregate": {"name": "west", "availability_zone": "west"}})
    assert await add(api, 3, "one") == 409
    assert await add(api, 3, "two") == 200


async def test_a_servers_zone_stays(api: Api) -> None:
    await put_server(api, "one")
    assert await add(api, 2, "one") == 409
    assert await add(api, 1, "one") == 200  # no zone, so nothing changes
    assert (await act(api, 1, "set_metadata", {"metadata": {"availability_zone": "north"}}))[0] == 400
    answer = await api("admin", "PUT /os-aggregates/1", 1, {"aggregate": {"availability_zone": "north"}})
    assert answer.status_code == 400
    assert (await act(api, 1, "set_metadata", {"metadata": {"availability_zone": "nova"}}))[0] == 200
    assert await remove(api, 1, "one") == 200  # from nova to nova
    await api.database.run(_gone)
    assert await add(api, 2, "one") == 200
    await api.database.run(_back)
    assert await remove(api, 2, "one") == 409
    assert await zones(api) == {"nova": {"two"}, "east": {"one"}}


def _gone(connection: Connection) -> None:
    servers.update(connection, server_id("s1"), deleted_at=NOW)


def _back(connection: Connection) -> None:
    servers.update(connection, server_id("s1"), deleted_at=None)


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        ("POST /os-aggregates", {"aggregate": {"name": "fast"}}, 409),
        ("POST /os-aggregates", {"aggregate": {"name": ""}}, 400),
        ("POST /os-aggregates", {"aggregate": {"name": "x" * 256}}, 400),
        ("POST /os-aggregates", {"aggregate": {"name": "x", "availability_zone": "a:b"}}, 400),
        ("POST /os-aggregates", {"aggregate": {"name": "x", "metadata": {}}}, 400),
        ("PUT /os-aggregates/1", {"aggregate": {}}, 400),
        ("PUT /os-aggregates/1", {"aggregate": {"name": "east"}}, 409),
        ("PUT /os-aggregates/1", {"aggregate": {"name": "x", "availability_zone": None}}, 400),
        ("PUT /os-aggregates/9", {"aggregate": {"name": "x"}}, 404),
        ("PUT /os-aggregates/x", {"aggregate": {"name": "x"}}, 400),
        ("GET /os-aggregates/x", None, 400),
        ("GET /os-aggregates/9", None, 404),
        ("GET /os-aggregates/-1", None, 404),
        (f"GET /os-aggregates/{'9' * 40}", None, 404),
        ("DELETE /os-aggregates/x", None, 400),
        ("DELETE /os-aggregates/9", None, 404),
        ("POST /os-aggregates/9/action", {"add_host": {"host": "one"}}, 404),
        ("POST /os-aggregates/x/action", {"add_host": {"host": "one"}}, 400),
        ("POST /os-aggregates/1/action", {"add_host": {"host": "none"}}, 404),
        ("POST /os-aggregates/1/action", {"add_host": {"host": "o n e"}}, 400),
        ("POST /os-aggregates/1/action", {"remove_host": {"host": "one"}}, 404),
        ("POST /os-aggregates/9/action", {"set_metadata": {"metadata": {}}}, 404),
        ("POST /os-aggregates/1/action", {"set_metadata": {"metadata": {"k": "v" * 256}}}, 400),
        ("POST /os-aggregates/2/action", {"set_metadata": {"metadata": {"availability_zone": None}}}, 400),
        ("POST /os-aggregates/2/action", {"set_metadata": {"metadata": {"availability_zone": ""}}}, 400),
    ],
)
async def test_refused(api: Api, call: str, body: Any, status: int) -> None:
    before = (await api("admin", "GET /os-aggregates", 41)).json()
    assert (await api("member", call, 1, body)).status_code in (400, 403)
    assert (await api("admin", call, 1, body)).status_code == status
    assert (await api("admin", "GET /os-aggregates", 41)).json() == before


async def test_a_service_that_goes_takes_its_host_along(api: Api) -> None:
    await add(api, 1, "one")
    found = (await api("admin", "GET /os-services?host=one", 53)).json()["services"]
    assert (await api("admin", f"DELETE /os-services/{found[0]['id']}", 53)).status_code == 204
    assert (await api("admin", "GET /os-aggregates/1")).json()["aggregate"]["hosts"] == []


@pytest.mark.parametrize(("number", "status"), [("-1", 404), ("0", 404), ("x", 400), ("--1", 400), ("-", 400)])
async def test_what_can_be_no_aggregates_number(tmp_path: Path, number: str, status: int) -> None:
    async with compute_api(tmp_path) as api:
        for method in ("GET", "DELETE"):
            assert (await api("admin", f"{method} /os-aggregates/{number}")).status_code == status, method
