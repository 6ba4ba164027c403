"""The history of a server over HTTP: who sees which of it, at which microversion."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.web.moments import iso_micros
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_action, insert_server, server_id

PATH = f"/servers/{server_id('s1')}/os-instance-actions"
GONE = f"/servers/{server_id('s2')}/os-instance-actions"
MINUTE = 60_000_000


def _world(connection: Connection) -> None:
    insert_server(connection, "s1")
    insert_server(connection, "s2", vm_state="deleted", deleted_at=NOW)
    insert_action(connection, 1, "s1", "create", NOW, image="cirros")
    insert_action(connection, 2, "s1", "stop", NOW + MINUTE, traceback="line 1")
    insert_action(connection, 3, "s1", "start", NOW + 2 * MINUTE)
    insert_action(connection, 4, "s2", "delete", NOW)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def listed(api: Api, query: str = "", version: int = 66) -> list[str]:
    body: dict[str, Any] = (await api("reader", f"GET {PATH}{query}", version)).json()
    return [action["action"] for action in body["instanceActions"]]


@pytest.mark.parametrize("version", [1, 57, 58, 104])
async def test_list(api: Api, version: int) -> None:
    assert await listed(api, version=version) == ["start", "stop", "create"]
    first = (await api("reader", f"GET {PATH}", version)).json()["instanceActions"][0]
    assert ("updated_at" in first) == (version >= 58)
    assert first["request_id"] == "req-3"


async def test_pages_and_moments(api: Api) -> None:
    assert await listed(api, "?limit=1", 57) == ["start", "stop", "create"]
    assert await listed(api, "?limit=2", 58) == ["start", "stop"]
    assert await listed(api, "?limit=2&marker=req-2", 58) == ["create"]
    page = (await api("reader", f"GET {PATH}?limit=1", 58)).json()
    assert "marker=req-3" in page["links"][0]["href"]
    assert PATH in page["links"][0]["href"]
    middle = iso_micros(NOW + MINUTE)
    assert await listed(api, f"?changes-since={middle}", 58) == ["start", "stop"]
    assert await listed(api, f"?changes-before={middle}", 66) == ["stop", "create"]
    assert await listed(api, f"?changes-since={middle}&changes-before={middle}", 66) == ["stop"]


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("limit=x", 58),
        ("marker=req-none", 58),
        ("changes-since=yesterday", 58),
        ("changes-before=2026-01-01T00:00:00", 65),
        ("changes-since=2026-01-02T00:00:00&changes-before=2026-01-01T00:00:00", 66),
        ("x=1", 66),
    ],
)
async def test_bad_queries(api: Api, query: str, version: int) -> None:
    assert (await api("reader", f"GET {PATH}?{query}", version)).status_code == 400


async def test_deleted_servers_since_2_21(api: Api) -> None:
    assert (await api("reader", f"GET {GONE}", 20)).status_code == 404
    assert (await api("reader", f"GET {GONE}", 21)).status_code == 200
    assert (await api("reader", f"GET {GONE}/req-4", 20)).status_code == 404
    assert (await api("reader", f"GET {GONE}/req-4", 21)).status_code == 200


async def test_whose_servers(api: Api) -> None:
    assert (await api("other", f"GET {PATH}")).status_code == 404
    assert (await api("other", f"GET {PATH}/req-1")).status_code == 404
    assert (await api("admin", f"GET {PATH}")).status_code == 200
    assert (await api("nobody", f"GET {PATH}")).status_code == 403
    assert (await api("reader", "GET /servers/none/os-instance-actions")).status_code == 404
    assert (await api("reader", f"GET {PATH}/req-none")).status_code == 404
    assert (await api("reader", f"GET {PATH}/req-4")).status_code == 404


@pytest.mark.parametrize(
    ("who", "version", "fields"),
    [
        ("reader", 50, None),
        ("reader", 51, set()),
        ("reader", 62, {"hostId"}),
        ("reader", 84, {"hostId"}),
        ("admin", 1, {"traceback"}),
        ("admin", 51, {"traceback"}),
        ("admin", 62, {"traceback", "hostId", "host"}),
        ("admin", 84, {"traceback", "hostId", "host", "details"}),
    ],
)
async def test_events(api: Api, who: str, version: int, fields: set[str] | None) -> None:
    action = (await api(who, f"GET {PATH}/req-2", version)).json()["instanceAction"]
    assert action["action"] == "stop"
    if fields is None:
        assert "events" not in action
        return
    (event,) = action["events"]
    assert set(event) == {"event", "start_time", "finish_time", "result"} | fields
    assert event.get("traceback", "line 1") == "line 1"
    if "hostId" in fields:
        assert event["hostId"] == hashlib.sha224(b"p-oneone").hexdigest()


async def test_unknown_query_keys_of_show(api: Api) -> None:
    assert (await api("reader", f"GET {PATH}/req-1?x=1", 101)).status_code == 200
    assert (await api("reader", f"GET {PATH}/req-1?x=1", 102)).status_code == 400
