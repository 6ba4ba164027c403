"""Operations that are gone, or known by an old name."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.api.compute import gone, server_actions, servers, volumes_boot
from kilonova.web.routes import Route
from tests.functional.compute_api import Api, compute_api
from tests.functional.compute_rows import insert_server, server_id

SERVERS = [*servers.ROUTES, *server_actions.ROUTES]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path, [*gone.ROUTES, *SERVERS, *volumes_boot.aliases(SERVERS)]) as found:
        await found.database.run(insert_server, "s1")
        yield found


def url(route: Route) -> str:
    return route.path.format(id="x", server_id=server_id("s1"), domain_id="y")


async def test_what_is_gone_is_gone_for_ever(api: Api) -> None:
    routes = [route for route in gone.ROUTES if route.handler is gone.refuse]
    assert len(routes) == 53
    for route in routes:
        for version in (1, 36, 104):
            body = {route.action: {}} if route.action else None
            answer = await api("nobody", f"{route.method} {url(route)}", version, body)
            assert answer.status_code == 410, f"{route.method} {route.path} {version}: {answer.text}"
    assert (await api(None, "GET /os-cells")).status_code == 401


async def test_the_console_nobody_has(api: Api) -> None:
    call = f"POST /servers/{server_id('s1')}/action"
    for version, status in ((1, 400), (5, 400), (6, 404)):
        assert (await api("member", call, version, {"os-getRDPConsole": {}})).status_code == status


async def test_servers_by_their_old_name(api: Api) -> None:
    for path in ("", "/detail", f"/{server_id('s1')}"):
        for version in (1, 102):
            old = await api("reader", f"GET /os-volumes_boot{path}", version)
            new = await api("reader", f"GET /servers{path}", version)
            assert (old.status_code, old.json()) == (200, new.json())
        assert (await api("reader", f"GET /os-volumes_boot{path}", 103)).status_code == 404
    one = f"/os-volumes_boot/{server_id('s1')}"
    assert (await api("member", f"PUT {one}", 1, {"server": {"name": "new"}})).status_code == 200
    assert (await api("reader", f"GET {one}", 1)).json()["server"]["name"] == "new"
    assert (await api("other", f"GET {one}", 1)).status_code == 404
    page = (await api("reader", "GET /os-volumes_boot?limit=1", 1)).json()
    assert "/os-volumes_boot?" in page["servers_links"][0]["href"], json.dumps(page)


async def test_only_the_first_actions_have_the_old_name(api: Api) -> None:
    one = f"POST /os-volumes_boot/{server_id('s1')}/action"
    assert (await api("member", one, 1, {"os-start": None})).status_code == 409
    assert (await api("member", one, 1, {"os-getConsoleOutput": {}})).status_code == 400
