"""Events from other services over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import actions, servers
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_action, insert_server, server_id

UNKNOWN = "99999999-0000-4000-8000-000000000000"


def _world(connection: Connection) -> None:
    insert_server(connection, "s1", host="one")
    insert_server(connection, "s2")
    insert_server(connection, "s3", host="one", deleted_at=NOW)
    insert_server(connection, "s4", host="one", project_id="p-two")
    insert_action(connection, 1, "s4", "create", NOW)
    servers.update(connection, server_id("s4"), action_id="a1")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def tell(api: Api, *events: dict[str, Any], version: int = 104, who: str = "service") -> tuple[int, list[Any]]:
    answer = await api(who, "POST /os-server-external-events", version, {"events": list(events)})
    return answer.status_code, [event["code"] for event in answer.json().get("events", [])]


def event(short: str = "s1", name: str = "network-changed", **more: Any) -> dict[str, Any]:
    return {"name": name, "server_uuid": server_id(short), **more}


async def test_each_event_is_answered(api: Api) -> None:
    assert await tell(api, event()) == (200, [200])
    unknown = event() | {"server_uuid": UNKNOWN}
    mixed = [
        event(),
        event("s2"),
        event("s3"),
        unknown,
        event("s4", status="failed", tag="t"),
        event(name="power-update"),
    ]
    assert await tell(api, *mixed) == (207, [200, 422, 404, 404, 200, 400])
    answer = await api("admin", "POST /os-server-external-events", 1, {"events": [event(tag="x", status="failed")]})
    assert answer.json() == {"events": [event(tag="x") | {"status": "completed", "code": 200}]}


async def test_they_are_in_the_timeline_of_what_goes_on(api: Api) -> None:
    await tell(api, event("s4", name="network-vif-plugged", tag="port", status="failed"), event("s1"))
    noted = await api.database.run(actions.timeline, "a1")
    assert (noted[-1].name, noted[-1].result) == ("external.network-vif-plugged", "Error")
    assert noted[-1].details == {"status": "failed", "tag": "port"}


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("network-vif-deleted", 1),
        ("volume-extended", 51),
        ("power-update", 76),
        ("accelerator-request-bound", 82),
        ("volume-reimaged", 93),
    ],
)
async def test_names_by_version(api: Api, name: str, since: int) -> None:
    assert await tell(api, event(name=name, tag="POWER_ON"), version=since) == (200, [200])
    if since > 1:
        assert (await tell(api, event(name=name, tag="POWER_ON"), version=since - 1))[0] == 400


async def test_refused(api: Api) -> None:
    assert (await tell(api, event(), who="member"))[0] == 403
    assert (await tell(api, event(), who="manager"))[0] == 403
    for events in ([], [event(name="other")], [event(status="done")], [event() | {"server_uuid": "x"}], [event(x=1)]):
        assert (await tell(api, *events))[0] == 400
