"""Services, hypervisors and availability zones over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import membership, server_migrations, servers
from kilonova.database.tables import actions
from kilonova.model.migration import MigrationStatus, MigrationType
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_action, insert_server, server_id

UUIDS = {name: f"00000000-0000-4000-8000-00000000000{number}" for number, name in enumerate(("one", "two", "con"))}
HOST_UUIDS = {"one": "10000000-0000-4000-8000-000000000001", "two": "10000000-0000-4000-8000-000000000002"}
NOT_THERE = "99999999-0000-4000-8000-000000000000"


def _world(connection: Connection) -> None:
    for host, zone in (("one", "east"), ("two", "west")):
        membership.heartbeat(
            connection,
            binary="nova-compute",
            host=host,
            zone=zone,
            incarnation="i",
            uuid=UUIDS[host],
            now=NOW - (0 if host == "one" else 60_000_000),
        )
        values: dict[str, Any] = {
            "address": "192.0.2.1",
            "availability_zone": zone,
            "hypervisor_type": "QEMU",
            "hypervisor_version": 7002022,
            "capabilities": {"architecture": "x86_64", "cpu_model": "max", "features": ["kvm"]},
            "vcpus": 8,
            "memory_mb": 16_000,
            "disk_gb": 100,
            "free_disk_gb": 90,
            "vcpus_capacity": 32,
            "memory_mb_capacity": 15_000,
            "disk_gb_capacity": 100,
        }
        membership.describe_host(connection, host, uuid=HOST_UUIDS[host], now=NOW, values=values)
    membership.heartbeat(
        connection,
        binary="nova-conductor",
        host="con",
        zone="whatever",
        incarnation="i",
        uuid=UUIDS["con"],
        now=NOW,
    )
    insert_server(connection, "s1", host="one", name="web", task_state="rebooting")
    for number, at_work in enumerate(
        ({"on_host": "one", "lease_until": NOW}, {"lease_until": NOW}, {"on_host": "two"})
    ):
        insert_action(connection, number, "s1", "reboot", NOW)  # on host one; the control plane's; over
        connection.execute(actions.update().where(actions.c.id == f"a{number}").values(**at_work))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def service(api: Api, host: str, version: int = 53) -> dict[str, Any]:
    found: list[dict[str, Any]] = (await api("admin", f"GET /os-services?host={host}", version)).json()["services"]
    return found[0]


@pytest.mark.parametrize("version", [1, 10, 11, 52, 53, 69, 104])
async def test_services_by_version(api: Api, version: int) -> None:
    found = (await api("admin", "GET /os-services", version)).json()["services"]
    assert [(s["host"], s["state"], s["zone"]) for s in found] == [
        ("one", "up", "east"),
        ("two", "down", "west"),
        ("con", "up", "internal"),
    ]
    assert isinstance(found[0]["id"], int) == (version < 53)
    assert ("forced_down" in found[0]) == (version >= 11)


async def test_services_filters(api: Api) -> None:
    assert len((await api("admin", "GET /os-services?binary=nova-compute")).json()["services"]) == 2
    assert (await api("admin", "GET /os-services?host=none")).json() == {"services": []}
    assert (await api("admin", "GET /os-services?x=1", 74)).status_code == 200
    assert (await api("admin", "GET /os-services?x=1", 75)).status_code == 400


async def test_silence_brings_a_service_down(api: Api) -> None:
    api.clock.at = NOW + 3_600_000_000
    assert (await service(api, "one"))["state"] == "down"


async def test_words_change_a_service(api: Api) -> None:
    body = {"host": "one", "binary": "nova-compute"}
    answer = await api("admin", "PUT /os-services/disable", 1, body)
    assert answer.json() == {"service": body | {"status": "disabled"}}
    assert (await service(api, "one"))["status"] == "disabled"
    reason = body | {"disabled_reason": "maintenance"}
    assert (await api("admin", "PUT /os-services/disable-log-reason", 1, reason)).status_code == 200
    assert (await service(api, "one"))["disabled_reason"] == "maintenance"
    assert (await api("admin", "PUT /os-services/enable", 1, body)).status_code == 200
    assert (await service(api, "one"))["disabled_reason"] is None
    down = body | {"forced_down": True}
    assert (await api("admin", "PUT /os-services/force-down", 11, down)).json() == {"service": down}
    assert (await service(api, "one"))["state"] == "down"


@pytest.mark.parametrize(
    ("call", "version", "body", "status"),
    [
        ("PUT /os-services/explode", 1, {"host": "one", "binary": "nova-compute"}, 404),
        ("PUT /os-services/disable", 1, {"host": "none", "binary": "nova-compute"}, 404),
        ("PUT /os-services/disable", 1, {"host": "one"}, 400),
        ("PUT /os-services/disable-log-reason", 1, {"host": "one", "binary": "nova-compute"}, 400),
        ("PUT /os-services/force-down", 10, {"host": "one", "binary": "nova-compute", "forced_down": True}, 400),
        ("PUT /os-services/force-down", 11, {"host": "one", "binary": "nova-compute"}, 400),
        ("PUT /os-services/disable", 53, {"status": "disabled"}, 400),
        (f"PUT /os-services/{NOT_THERE}", 53, {"status": "disabled"}, 404),
        (f"PUT /os-services/{UUIDS['one']}", 53, {}, 400),
        (f"PUT /os-services/{UUIDS['one']}", 53, {"disabled_reason": "x"}, 400),
        (f"PUT /os-services/{UUIDS['one']}", 53, {"status": "enabled", "disabled_reason": "x"}, 400),
        (f"PUT /os-services/{UUIDS['one']}", 53, {"status": "sleepy"}, 400),
        (f"PUT /os-services/{UUIDS['one']}", 53, {"forced_down": "perhaps"}, 400),
        (f"PUT /os-services/{UUIDS['con']}", 53, {"status": "disabled"}, 400),
        ("DELETE /os-services/x", 1, None, 400),
        ("DELETE /os-services/999", 1, None, 404),
        ("DELETE /os-services/1", 53, None, 400),
        (f"DELETE /os-services/{NOT_THERE}", 53, None, 404),
        (f"DELETE /os-services/{UUIDS['one']}", 53, None, 409),
    ],
)
async def test_refused_changes_change_nothing(api: Api, call: str, version: int, body: Any, status: int) -> None:
    before = (await api("admin", "GET /os-services", 53)).json()
    assert (await api("admin", call, version, body)).status_code == status
    assert (await api("admin", "GET /os-services", 53)).json() == before


async def test_a_host_with_guests_left_behind_stays_down(api: Api) -> None:
    """Servers were evacuated from it, and it was not back since: forced up, it could run what runs elsewhere."""

    def evacuated(connection: Connection, status: MigrationStatus) -> None:
        server_migrations.insert(
            connection,
            uuid=NOT_THERE,
            action_id=None,
            server=servers.get(connection, server_id("s1"), None),
            migration_type=MigrationType.EVACUATION,
            status=status,
            now=NOW,
            dest_compute="two",
        )

    await api.database.run(evacuated, MigrationStatus.DONE)
    assert (await api("admin", f"PUT /os-services/{UUIDS['one']}", 53, {"forced_down": True})).status_code == 200
    up = await api("admin", f"PUT /os-services/{UUIDS['one']}", 53, {"forced_down": False})
    assert (up.status_code, "one" in up.text) == (400, True)
    by_name = {"host": "one", "binary": "nova-compute", "forced_down": False}
    assert (await api("admin", "PUT /os-services/force-down", 11, by_name)).status_code == 400
    assert (await service(api, "one"))["forced_down"] is True
    await api.database.run(server_migrations.left_behind, "one", [], NOW)
    assert (await api("admin", "PUT /os-services/force-down", 11, by_name)).status_code == 200
    assert (await service(api, "one"))["forced_down"] is False


async def test_update_by_uuid(api: Api) -> None:
    body = {"status": "disabled", "disabled_reason": "old", "forced_down": "yes"}
    view = (await api("admin", f"PUT /os-services/{UUIDS['one']}", 53, body)).json()["service"]
    assert (view["status"], view["disabled_reason"], view["forced_down"]) == ("disabled", "old", True)
    view = (await api("admin", f"PUT /os-services/{UUIDS['one']}", 104, {"status": "enabled"})).json()["service"]
    assert (view["status"], view["disabled_reason"]) == ("enabled", None)


async def test_delete_forgets_the_host(api: Api) -> None:
    number = (await service(api, "two", 1))["id"]
    assert (await api("admin", f"DELETE /os-services/{number}", 1)).status_code == 204
    assert (await api("admin", f"GET /os-hypervisors/{HOST_UUIDS['two']}", 53)).status_code == 404
    assert (await api("admin", f"DELETE /os-services/{UUIDS['con']}", 53)).status_code == 204


@pytest.mark.parametrize(
    "call",
    [
        "GET /os-services",
        "DELETE /os-services/1",
        "GET /os-hypervisors",
        "GET /os-hypervisors/detail",
        "GET /os-hypervisors/statistics",
        "GET /os-hypervisors/1",
        "GET /os-hypervisors/one/search",
        "GET /os-hypervisors/one/servers",
        "GET /os-hypervisors/1/uptime",
        "GET /os-availability-zone/detail",
    ],
)
async def test_hosts_are_for_administrators(api: Api, call: str) -> None:
    assert (await api("member", call)).status_code == 403


@pytest.mark.parametrize("version", [1, 27, 28, 33, 52, 53, 75, 87, 88, 104])
async def test_hypervisors_by_version(api: Api, version: int) -> None:
    listed = (await api("admin", "GET /os-hypervisors", version)).json()["hypervisors"]
    assert [(h["hypervisor_hostname"], h["state"], h["status"]) for h in listed] == [
        ("one", "up", "enabled"),
        ("two", "down", "enabled"),
    ]
    first = (await api("admin", "GET /os-hypervisors/detail", version)).json()["hypervisors"][0]
    shown = (await api("admin", f"GET /os-hypervisors/{listed[0]['id']}", version)).json()["hypervisor"]
    assert shown == first
    assert isinstance(shown["id"], int) == (version < 53)
    assert ("uptime" in shown) == (version >= 88)
    assert "servers" not in shown
    if version < 88:
        cpu = shown["cpu_info"] if version >= 28 else json.loads(shown["cpu_info"])
        assert (cpu["arch"], shown["vcpus"], shown["current_workload"]) == ("x86_64", 8, 1)
    else:
        assert not {"cpu_info", "vcpus", "running_vms", "free_ram_mb", "local_gb"} & set(shown)


async def test_hypervisors_with_servers(api: Api) -> None:
    for call in ("GET /os-hypervisors?with_servers=true", "GET /os-hypervisors/detail?with_servers=1"):
        early, late = [(await api("admin", call, version)).json()["hypervisors"] for version in (53, 75)]
        assert [server["name"] for server in early[0]["servers"]] == ["web"]
        assert "servers" not in early[1]
        assert late[1]["servers"] == []
    shown = (await api("admin", f"GET /os-hypervisors/{HOST_UUIDS['one']}?with_servers=true", 88)).json()
    assert len(shown["hypervisor"]["servers"]) == 1


async def test_hypervisors_search(api: Api) -> None:
    assert len((await api("admin", "GET /os-hypervisors/o/search", 52)).json()["hypervisors"]) == 2
    found = (await api("admin", "GET /os-hypervisors/one/servers", 52)).json()["hypervisors"]
    assert found[0]["servers"][0]["name"] == "web"
    assert (await api("admin", "GET /os-hypervisors/zzz/search", 52)).status_code == 404
    assert (await api("admin", "GET /os-hypervisors/one/search", 53)).status_code == 404
    path = "GET /os-hypervisors?hypervisor_hostname_pattern="
    assert len((await api("admin", f"{path}tw", 53)).json()["hypervisors"]) == 1
    assert (await api("admin", f"{path}zzz", 53)).status_code == 404
    assert (await api("admin", f"{path}tw&limit=1", 53)).status_code == 400


async def test_hypervisors_pages(api: Api) -> None:
    for version, ids in ((33, ["1", "2"]), (53, list(HOST_UUIDS.values()))):
        page = (await api("admin", "GET /os-hypervisors?limit=1", version)).json()
        assert [str(h["id"]) for h in page["hypervisors"]] == ids[:1]
        assert f"marker={ids[0]}" in page["hypervisors_links"][0]["href"]
        page = (await api("admin", f"GET /os-hypervisors/detail?marker={ids[0]}", version)).json()
        assert [str(h["id"]) for h in page["hypervisors"]] == ids[1:]
        assert (await api("admin", "GET /os-hypervisors?marker=none", version)).status_code == 400
    assert len((await api("admin", "GET /os-hypervisors?limit=1", 32)).json()["hypervisors"]) == 2


@pytest.mark.parametrize(
    ("call", "version", "status"),
    [
        ("GET /os-hypervisors/none", 52, 404),
        ("GET /os-hypervisors/999", 52, 404),
        ("GET /os-hypervisors/none", 53, 400),
        (f"GET /os-hypervisors/{NOT_THERE}", 53, 404),
        ("GET /os-hypervisors?with_servers=perhaps", 53, 400),
        ("GET /os-hypervisors?unknown=1", 53, 400),
        ("GET /os-hypervisors/2/uptime", 52, 400),
        ("GET /os-hypervisors/1/uptime", 52, 200),
        (f"GET /os-hypervisors/{HOST_UUIDS['one']}/uptime", 87, 200),
        (f"GET /os-hypervisors/{HOST_UUIDS['one']}/uptime", 88, 404),
        ("GET /os-hypervisors/none/uptime", 52, 404),
        ("GET /os-hypervisors/statistics", 87, 200),
        ("GET /os-hypervisors/statistics", 88, 404),
    ],
)
async def test_hypervisor_answers(api: Api, call: str, version: int, status: int) -> None:
    assert (await api("admin", call, version)).status_code == status


async def test_statistics_leave_out_what_is_switched_off(api: Api) -> None:
    sums = (await api("admin", "GET /os-hypervisors/statistics")).json()["hypervisor_statistics"]
    assert (sums["count"], sums["vcpus"], sums["disk_available_least"]) == (2, 16, 180)
    await api("admin", "PUT /os-services/disable", 1, {"host": "two", "binary": "nova-compute"})
    assert (await api("admin", "GET /os-hypervisors/statistics")).json()["hypervisor_statistics"]["count"] == 1


async def test_zones(api: Api) -> None:
    await api("admin", "PUT /os-services/disable", 1, {"host": "one", "binary": "nova-compute"})
    listed = (await api("nobody", "GET /os-availability-zone")).json()["availabilityZoneInfo"]
    assert [(zone["zoneName"], zone["zoneState"]["available"], zone["hosts"]) for zone in listed] == [
        ("west", True, None),
        ("east", False, None),
    ]
    detail = (await api("admin", "GET /os-availability-zone/detail")).json()["availabilityZoneInfo"]
    hosts = {zone["zoneName"]: zone["hosts"] for zone in detail}
    assert hosts["internal"]["con"]["nova-conductor"]["available"] is True
    assert hosts["west"]["two"]["nova-compute"]["available"] is False
    assert hosts["east"] is None
    assert (await api("nobody", "GET /os-availability-zone?x=1", 102)).status_code == 400
