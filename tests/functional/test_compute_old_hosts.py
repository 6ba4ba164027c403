"""Hosts up to 2.42, and the usage audit, over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import membership
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_host, insert_server


def _world(connection: Connection) -> None:
    insert_host(connection, 1, "one", vcpus=4)
    insert_host(connection, 2, "two", zone="west")
    for number, binary in ((3, "nova-conductor"), (4, "nova-api")):
        uuid = f"00000000-0000-4000-8000-{number:012d}"
        membership.heartbeat(connection, binary=binary, host="con", zone="x", incarnation="i", uuid=uuid, now=NOW)
    insert_server(connection, "s1", host="one")
    insert_server(connection, "s2", host="one", project_id="p-two")
    insert_server(connection, "s3", host="one")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def hosts(api: Api, query: str = "") -> set[tuple[str, str, str]]:
    found = (await api("admin", f"GET /os-hosts{query}")).json()["hosts"]
    return {(host["host_name"], host["service"], host["zone"]) for host in found}


async def test_list(api: Api) -> None:
    all_of_them = {("one", "compute", "nova"), ("two", "compute", "west"), ("con", "conductor", "internal")}
    assert await hosts(api) == all_of_them
    assert await hosts(api, "?zone=west") == {("two", "compute", "west")}
    assert await hosts(api, "?zone=internal&x=1") == {("con", "conductor", "internal")}
    assert await hosts(api, "?zone=none") == set()


async def test_hosts_of_servers_come_first(tmp_path: Path) -> None:
    def conductor_before_compute(connection: Connection) -> None:
        uuid = "00000000-0000-4000-8000-000000000077"
        membership.heartbeat(
            connection, binary="nova-conductor", host="con", zone="x", incarnation="i", uuid=uuid, now=NOW
        )
        insert_host(connection, 1, "one")

    async with compute_api(tmp_path) as found:
        await found.database.run(conductor_before_compute)
        listed = (await found("admin", "GET /os-hosts")).json()["hosts"]
        assert [host["host_name"] for host in listed] == ["one", "con"]


async def test_show(api: Api) -> None:
    found = [entry["resource"] for entry in (await api("admin", "GET /os-hosts/one")).json()["host"]]
    assert {entry["host"] for entry in found} == {"one"}
    shown = {e["project"]: (e["cpu"], e["memory_mb"], e["disk_gb"]) for e in found}
    assert shown == {
        "(total)": (4, 16_000, 100),
        "(used_now)": (0, 0, 0),
        "(used_max)": (3, 1536, 9),
        "p-one": (2, 1024, 6),
        "p-two": (1, 512, 3),
    }
    assert len((await api("admin", "GET /os-hosts/two")).json()["host"]) == 3


async def test_switching_a_host_off_and_on(api: Api) -> None:
    answer = await api("admin", "PUT /os-hosts/one", 1, {"status": "Disable"})
    assert (answer.status_code, answer.json()) == (200, {"host": "one", "status": "disabled"})
    assert ("one", "compute", "nova") not in await hosts(api)
    answer = await api("admin", "PUT /os-hosts/one", 1, {"status": "enable"})
    assert answer.json() == {"host": "one", "status": "enabled"}
    assert ("one", "compute", "nova") in await hosts(api)


@pytest.mark.parametrize(
    ("who", "call", "version", "body", "status"),
    [
        ("member", "GET /os-hosts", 1, None, 403),
        ("admin", "GET /os-hosts", 43, None, 404),
        ("admin", "GET /os-hosts/none", 1, None, 404),
        ("admin", "GET /os-hosts/con", 1, None, 404),
        ("admin", "PUT /os-hosts/none", 1, {"status": "disable"}, 404),
        ("admin", "PUT /os-hosts/one", 1, {"status": "off"}, 400),
        ("admin", "PUT /os-hosts/one", 1, {}, 400),
        ("admin", "PUT /os-hosts/one", 1, {"status": "disable", "x": 1}, 400),
        ("admin", "PUT /os-hosts/one", 1, {"status": "disable", "maintenance_mode": "enable"}, 501),
        ("admin", "GET /os-hosts/one/startup", 1, None, 501),
        ("admin", "GET /os-hosts/one/shutdown", 42, None, 501),
        ("admin", "GET /os-hosts/one/reboot", 1, None, 501),
        ("admin", "GET /os-hosts/none/reboot", 1, None, 404),
        ("member", "GET /os-hosts/one/reboot", 1, None, 403),
    ],
)
async def test_refused(api: Api, who: str, call: str, version: int, body: Any, status: int) -> None:
    before = await hosts(api)
    assert (await api(who, call, version, body)).status_code == status
    assert await hosts(api) == before


async def test_a_silent_host_is_not_asked(api: Api) -> None:
    api.clock.at = NOW + 3_600_000_000
    assert (await api("admin", "GET /os-hosts/one/reboot")).status_code == 400
    assert (await api("admin", "PUT /os-hosts/one", 1, {"status": "disable"})).status_code == 400


async def test_the_audit_says_that_nobody_audits(api: Api) -> None:
    found = (await api("admin", "GET /os-instance_usage_audit_log")).json()["instance_usage_audit_logs"]
    assert (found["period_beginning"], found["period_ending"]) == ("2026-10-01 00:00:00", "2026-11-01 00:00:00")
    assert (found["num_hosts"], found["num_hosts_not_run"], found["hosts_not_run"]) == (0, 0, [])
    assert (found["overall_status"], found["log"]) == ("ALL hosts done. 0 errors.", {})
    for when, begin in (
        ("2024-03-31 10:00:00", "2024-02-01 00:00:00"),
        ("2024-01-01 00:00:00.5", "2023-12-01 00:00:00"),
    ):
        answer = await api("admin", f"GET /os-instance_usage_audit_log/{when}", 104)
        assert answer.json()["instance_usage_audit_log"]["period_beginning"] == begin
    for when in ("2024-03-31", "yesterday", "2024-13-01 00:00:00", "0001-01-01 00:00:00"):
        assert (await api("admin", f"GET /os-instance_usage_audit_log/{when}")).status_code == 400
    assert (await api("member", "GET /os-instance_usage_audit_log")).status_code == 403
