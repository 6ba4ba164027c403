"""Remote consoles over HTTP, and what their tokens stand for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import console_tokens
from kilonova.database.tables import console_tokens as table
from kilonova.hypervisor.fake.driver import FEATURES
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_host, insert_server, server_id, stands_for

ONE = server_id("s1")


def _world(connection: Connection) -> None:
    features = ["graphical-console", "serial-console"]
    insert_host(connection, 1, "one", capabilities={"features": features})
    insert_host(connection, 2, "dark", capabilities={})
    insert_server(connection, "s1", host="one")
    insert_server(connection, "s2", host="dark")
    insert_server(connection, "s3", host=None)
    insert_server(connection, "s4", host="one", project_id="p-two")
    insert_server(connection, "s5", host="one", task_state="deleting")
    insert_server(connection, "s6", host="one", vm_state="building")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def ask(api: Api, protocol: str, kind: str, version: int = 6, short: str = "s1", who: str = "member") -> Any:
    body = {"remote_console": {"protocol": protocol, "type": kind}}
    return await api(who, f"POST /servers/{server_id(short)}/remote-consoles", version, body)


def token_of(url: str) -> str:
    query = parse_qs(urlsplit(url).query)
    return (query.get("token") or query["path"])[0].removeprefix("?token=")


async def test_a_vnc_console(api: Api) -> None:
    answer = await ask(api, "vnc", "novnc")
    console = answer.json()["remote_console"]
    assert (answer.status_code, console["protocol"], console["type"]) == (200, "vnc", "novnc")
    assert console["url"].startswith("http://127.0.0.1:6080/vnc_auto.html?path=%3Ftoken%3D")
    shown = await api("admin", f"GET /os-console-auth-tokens/{token_of(console['url'])}", 31)
    found = {"instance_uuid": ONE, "host": "192.0.2.1", "port": 6100, "internal_access_path": ONE}
    assert shown.json() == {"console": found}
    shown = await api("admin", f"GET /os-console-auth-tokens/{token_of(console['url'])}", 99)
    assert shown.json() == {"console": found}


async def test_a_serial_console(api: Api) -> None:
    url = (await ask(api, "serial", "serial", 104)).json()["remote_console"]["url"]
    assert url.startswith("ws://127.0.0.1:6083/?token=")
    assert (await api("admin", f"GET /os-console-auth-tokens/{token_of(url)}", 31)).status_code == 200


@pytest.mark.parametrize(
    ("action", "kind", "status"),
    [
        ("os-getVNCConsole", "novnc", 200),
        ("os-getVNCConsole", "xvpvnc", 400),
        ("os-getVNCConsole", "serial", 400),
        ("os-getSerialConsole", "serial", 200),
        ("os-getSPICEConsole", "spice-html5", 400),
    ],
)
async def test_the_old_actions(api: Api, action: str, kind: str, status: int) -> None:
    for version, expected in ((1, status), (5, status), (6, 404)):
        answer = await api("member", f"POST /servers/{ONE}/action", version, {action: {"type": kind}})
        assert answer.status_code == expected, answer.text
        if answer.status_code == 200:
            assert answer.json()["console"]["type"] == kind
            token = token_of(answer.json()["console"]["url"])
            assert await api.database.run(console_tokens.find, token, NOW)


@pytest.mark.parametrize(
    ("protocol", "kind", "version", "status"),
    [
        ("vnc", "xvpvnc", 6, 400),
        ("vnc", "serial", 6, 400),
        ("spice", "spice-html5", 6, 400),
        ("rdp", "rdp-html5", 6, 400),
        ("mks", "webmks", 7, 400),
        ("mks", "webmks", 8, 400),
        ("spice", "spice-direct", 98, 400),
        ("spice", "spice-direct", 99, 400),
        ("vnc", "novnc", 5, 404),
    ],
)
async def test_consoles_nobody_offers(api: Api, protocol: str, kind: str, version: int, status: int) -> None:
    assert (await ask(api, protocol, kind, version)).status_code == status
    assert await count(api) == 0


@pytest.mark.parametrize(
    ("protocol", "kind", "scheme"),
    [
        ("vnc", "novnc", "http"),
        ("serial", "serial", "ws"),
        ("spice", "spice-html5", "http"),
        ("mks", "webmks", "http"),
    ],
)
async def test_an_imitated_host_offers_what_goes_through_a_proxy(
    api: Api, protocol: str, kind: str, scheme: str
) -> None:
    await api.database.run(lambda connection: insert_host(connection, 3, "fake", capabilities={"features": FEATURES}))
    await api.database.run(lambda connection: insert_server(connection, "s7", host="fake"))
    url = (await ask(api, protocol, kind, 99, "s7")).json()["remote_console"]["url"]
    assert urlsplit(url).scheme == scheme
    shown = (await api("admin", f"GET /os-console-auth-tokens/{token_of(url)}", 99)).json()["console"]
    assert (shown["instance_uuid"], shown["host"]) == (server_id("s7"), "192.0.2.3")
    for protocol, kind in (("rdp", "rdp-html5"), ("spice", "spice-direct"), ("vnc", "xvpvnc")):
        assert (await ask(api, protocol, kind, 99, "s7")).status_code == 400


async def test_the_old_actions_on_an_imitated_host(api: Api) -> None:
    await api.database.run(lambda connection: insert_host(connection, 3, "fake", capabilities={"features": FEATURES}))
    await api.database.run(lambda connection: insert_server(connection, "s7", host="fake"))
    for action, kind in (
        ("os-getVNCConsole", "novnc"),
        ("os-getSPICEConsole", "spice-html5"),
        ("os-getSerialConsole", "serial"),
    ):
        call = f"POST /servers/{server_id('s7')}/action"
        assert (await api("member", call, 1, {action: {"type": kind}})).json()["console"]["type"] == kind


async def count(api: Api) -> int:
    def ask_it(connection: Connection) -> int:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    return await api.database.run(ask_it)


@pytest.mark.parametrize(
    ("short", "who", "status"),
    [
        ("s2", "member", 400),  # its host offers none
        ("s3", "member", 409),
        ("s4", "member", 404),
        ("s4", "admin", 200),
        ("s5", "member", 409),
        ("s6", "member", 409),
        ("s1", "reader", 403),
    ],
)
async def test_servers_without_a_console(api: Api, short: str, who: str, status: int) -> None:
    assert (await ask(api, "vnc", "novnc", 6, short, who)).status_code == status
    assert await count(api) == (status == 200)


async def test_a_host_that_is_down(api: Api) -> None:
    api.clock.at = NOW + 3_600_000_000
    assert (await ask(api, "vnc", "novnc")).status_code == 409


async def test_tokens_end(api: Api) -> None:
    token = token_of((await ask(api, "vnc", "novnc")).json()["remote_console"]["url"])
    path = f"GET /os-console-auth-tokens/{token}"
    assert (await api("member", path, 31)).status_code == 403
    assert (await api("admin", path, 30)).status_code == 400
    assert (await api("admin", f"{path}x", 31)).status_code == 404
    assert (await api("admin", f"{path}?x=1", 98)).status_code == 200
    assert (await api("admin", f"{path}?x=1", 99)).status_code == 400
    api.clock.at = NOW + 599_000_000
    assert (await api("admin", path, 31)).status_code == 200
    api.clock.at = NOW + 600_000_000
    assert (await api("admin", path, 31)).status_code == 404


async def test_expired_tokens_are_forgotten(api: Api) -> None:
    def write(connection: Connection) -> None:
        old = stands_for(ONE, NOW)
        console_tokens.insert(connection, "old", old, NOW - 1)

    await api.database.run(write)
    assert await count(api) == 1
    await ask(api, "vnc", "novnc")
    assert await count(api) == 1
    assert await api.database.run(console_tokens.find, "old", NOW) is None
