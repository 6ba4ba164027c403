"""What a project may use, uses and has used: limits, quotas, usage reports."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import ledger
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_server, server_id

HOUR = 3_600_000_000


def _world(connection: Connection) -> None:
    ledger.use_quota(connection, "p-one", {"instances": 3, "cores": 4, "ram": 2048}, {})
    insert_server(connection, "s1", launched_at=NOW - 10 * HOUR)
    insert_server(connection, "s2", launched_at=NOW - 4 * HOUR, terminated_at=NOW - 2 * HOUR, vm_state="deleted")
    insert_server(connection, "s3", project_id="p-two", launched_at=NOW - HOUR)
    insert_server(connection, "s4", vm_state="building")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


@pytest.mark.parametrize(
    ("version", "count", "lacks"),
    [
        (1, 19, set()),
        (35, 19, set()),
        (36, 14, {"maxTotalFloatingIps", "totalSecurityGroupsUsed"}),
        (39, 13, {"maxImageMeta"}),
        (57, 11, {"maxPersonality", "maxPersonalitySize"}),
        (104, 11, {"maxPersonality"}),
    ],
)
async def test_limits_by_version(api: Api, version: int, count: int, lacks: set[str]) -> None:
    absolute = (await api("nobody", "GET /limits", version)).json()["limits"]["absolute"]
    assert len(absolute) == count
    assert not lacks & set(absolute)
    assert (absolute["maxTotalCores"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]) == (20, 4, 2048)


async def test_limits_of_others(api: Api) -> None:
    assert (await api("member", "GET /limits?tenant_id=p-one")).status_code == 403
    other = (await api("admin", "GET /limits?tenant_id=p-one&reserved=1")).json()["limits"]["absolute"]
    assert other["totalInstancesUsed"] == 3
    assert (await api("admin", "GET /limits")).json()["limits"]["absolute"]["totalInstancesUsed"] == 0
    assert (await api("admin", "GET /limits?x=1", 74)).status_code == 200
    assert (await api("admin", "GET /limits?x=1", 75)).status_code == 400


@pytest.mark.parametrize(("version", "sets", "classes"), [(1, 14, 12), (36, 10, 12), (50, 10, 10), (57, 7, 7)])
async def test_quotas_by_version(api: Api, version: int, sets: int, classes: int) -> None:
    for call, count in (
        ("GET /os-quota-sets/p-one", sets),
        ("GET /os-quota-sets/p-one/detail", sets),
        ("GET /os-quota-sets/p-one/defaults", sets),
        ("GET /os-quota-class-sets/default", classes),
    ):
        (view,) = (await api("admin", call, version)).json().values()
        assert len(view) == count + 1, call
        assert view["id"] in ("p-one", "default")


async def test_quota_detail(api: Api) -> None:
    view = (await api("reader", "GET /os-quota-sets/p-one/detail")).json()["quota_set"]
    assert view["cores"] == {"limit": 20, "in_use": 4, "reserved": 0}


async def test_quotas_are_set_and_reset(api: Api) -> None:
    path = "/os-quota-sets/p-one"
    answer = await api("admin", f"PUT {path}", 57, {"quota_set": {"cores": "8", "ram": -1}})
    assert (answer.json()["quota_set"]["cores"], answer.json()["quota_set"]["ram"]) == (8, -1)
    assert (await api("reader", f"GET {path}")).json()["quota_set"]["cores"] == 8
    assert (await api("admin", "GET /os-quota-sets/p-two")).json()["quota_set"]["cores"] == 20
    assert (await api("admin", f"PUT {path}", 57, {"quota_set": {"cores": 3}})).status_code == 400
    forced = await api("admin", f"PUT {path}", 57, {"quota_set": {"cores": 3, "force": True}})
    assert forced.json()["quota_set"]["cores"] == 3
    assert (await api("admin", f"DELETE {path}?user_id=u-member")).status_code == 202
    assert (await api("reader", f"GET {path}")).json()["quota_set"]["cores"] == 3
    assert (await api("admin", f"DELETE {path}")).status_code == 202
    assert (await api("reader", f"GET {path}")).json()["quota_set"]["cores"] == 20


async def test_the_class_is_every_projects_default(api: Api) -> None:
    body = {"quota_class_set": {"cores": 50}}
    assert (await api("admin", "PUT /os-quota-class-sets/default", 57, body)).status_code == 200
    assert (await api("reader", "GET /os-quota-sets/p-one")).json()["quota_set"]["cores"] == 50
    assert (await api("nobody", "GET /os-quota-sets/p-one/defaults")).json()["quota_set"]["cores"] == 50


async def test_another_class_is_kept_and_concerns_nobody(api: Api) -> None:
    gold = "/os-quota-class-sets/gold"
    usual = (await api("admin", "GET /os-quota-class-sets/default", 57)).json()["quota_class_set"]
    assert (await api("admin", f"GET {gold}", 57)).json()["quota_class_set"] == {**usual, "id": "gold"}
    for cores in (50, 51):
        answer = await api("admin", f"PUT {gold}", 57, {"quota_class_set": {"cores": cores}})
        assert answer.json()["quota_class_set"]["cores"] == cores
    assert (await api("admin", f"GET {gold}", 57)).json()["quota_class_set"]["cores"] == 51
    assert (await api("admin", "GET /os-quota-class-sets/default", 57)).json()["quota_class_set"] == usual
    assert (await api("reader", "GET /os-quota-sets/p-one")).json()["quota_set"]["cores"] == usual["cores"]
    assert (await api("admin", "PUT /os-quota-class-sets/default", 57, {"quota_class_set": {"ram": 7}})).is_success
    found = (await api("admin", f"GET {gold}", 57)).json()["quota_class_set"]
    assert (found["cores"], found["ram"]) == (51, 7)
    longest, body = "x" * 255, {"quota_class_set": {"cores": 1}}
    assert (await api("admin", f"PUT /os-quota-class-sets/{longest}", 57, body)).status_code == 200
    assert (await api("admin", f"PUT /os-quota-class-sets/{longest}x", 57, body)).status_code == 400


@pytest.mark.parametrize(
    ("version", "change"),
    [
        (1, {"cores": -2}),
        (1, {"cores": "x"}),
        (1, {"cores": "-2"}),
        (1, {"cores": 1.5}),
        (1, {"cores": 2**31}),
        (1, {"cores": None}),
        (1, {"horses": 1}),
        (36, {"floating_ips": 1}),
        (57, {"injected_files": 1}),
        (1, {"force": "perhaps"}),
    ],
)
async def test_bad_quotas_change_nothing(api: Api, version: int, change: dict[str, Any]) -> None:
    before = (await api("admin", "GET /os-quota-sets/p-one")).json()
    body = {"quota_set": {"instances": 99, **change}}
    assert (await api("admin", "PUT /os-quota-sets/p-one", version, body)).status_code == 400
    assert (await api("admin", "GET /os-quota-sets/p-one")).json() == before


async def test_quotas_of_users(api: Api) -> None:
    path = "/os-quota-sets/p-one"
    mine = f"{path}?user_id=u-member"
    used = (await api("reader", f"GET {path}/detail?user_id=u-member", 57)).json()["quota_set"]
    assert (used["cores"]["limit"], used["cores"]["in_use"] > 0) == (20, True)
    cores = used["cores"]["in_use"]
    for limit, force, status in (
        (cores - 1, False, 400),
        (21, False, 400),
        (-1, False, 400),
        (cores, False, 200),
        (99, True, 200),
    ):
        body = {"quota_set": {"cores": limit, "force": force}}
        answer = await api("admin", f"PUT {mine}", 57, body)
        assert answer.status_code == status, answer.text
    assert answer.json()["quota_set"]["cores"] == 99
    assert (await api("reader", f"GET {mine}", 57)).json()["quota_set"]["cores"] == 99
    assert (await api("reader", f"GET {path}?user_id=u-other", 57)).json()["quota_set"]["cores"] == 20
    assert (await api("reader", f"GET {path}", 57)).json()["quota_set"]["cores"] == 20
    assert (await api("admin", f"DELETE {mine}", 57)).status_code == 202
    assert (await api("reader", f"GET {mine}", 57)).json()["quota_set"]["cores"] == 20
    assert (await api("reader", f"GET {path}?x=1", 75)).status_code == 400
    assert (await api("admin", f"PUT {path}?user_id={'u' * 65}", 57, {"quota_set": {}})).status_code == 400
    assert (await api("admin", f"PUT /os-quota-sets/{'p' * 65}", 57, {"quota_set": {}})).status_code == 400


async def test_a_users_own_limit_holds(api: Api) -> None:
    body = {"quota_set": {"server_groups": 1}}
    assert (await api("admin", "PUT /os-quota-sets/p-one?user_id=u-member", 57, body)).status_code == 200
    group = {"server_group": {"name": "g", "policy": "affinity"}}
    assert [(await api("member", "POST /os-server-groups", 64, group)).status_code for _ in range(2)] == [200, 403]
    assert (await api("manager", "POST /os-server-groups", 64, group)).status_code == 200
    used = (await api("reader", "GET /limits", 64)).json()["limits"]["absolute"]["totalServerGroupsUsed"]
    assert used == 2


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("GET /os-quota-sets/p-two", None),
        ("GET /os-quota-sets/p-two/detail", None),
        ("PUT /os-quota-sets/p-one", {"quota_set": {"cores": 1}}),
        ("DELETE /os-quota-sets/p-one", None),
        ("GET /os-quota-class-sets/default", None),
        ("PUT /os-quota-class-sets/default", {"quota_class_set": {"cores": 1}}),
        ("GET /os-simple-tenant-usage", None),
        ("GET /os-simple-tenant-usage/p-two", None),
    ],
)
async def test_other_projects_are_for_administrators(api: Api, call: str, body: Any) -> None:
    assert (await api("member", call, 57, body)).status_code == 403


async def test_usage_of_a_project(api: Api) -> None:
    view = (await api("reader", "GET /os-simple-tenant-usage/p-one")).json()["tenant_usage"]
    assert [(s["instance_id"], s["state"], s["hours"]) for s in view["server_usages"]] == [
        (server_id("s1"), "active", 10.0),
        (server_id("s2"), "terminated", 2.0),
    ]
    assert (view["total_hours"], view["total_vcpus_usage"]) == (12.0, 12.0)
    assert (view["total_memory_mb_usage"], view["total_local_gb_usage"]) == (12 * 512.0, 36.0)
    assert (await api("admin", "GET /os-simple-tenant-usage/p-none")).json() == {"tenant_usage": {}}


async def test_usage_in_a_stretch(api: Api) -> None:
    from kilonova.web.moments import iso_micros

    start, end = iso_micros(NOW - 3 * HOUR), iso_micros(NOW - HOUR)
    view = (await api("reader", f"GET /os-simple-tenant-usage/p-one?start={start}&end={end}")).json()["tenant_usage"]
    assert [usage["hours"] for usage in view["server_usages"]] == [2.0, 1.0]
    assert (view["start"], view["stop"]) == (start, end)
    for query in (
        f"start={end}&end={start}",
        "start=yesterday",
        "end=x",
        "end=0001-01-02",
        "start=0001-01-01T00:00:00%2B14:00",
    ):
        assert (await api("reader", f"GET /os-simple-tenant-usage/p-one?{query}")).status_code == 400


async def test_usage_of_all(api: Api) -> None:
    found = (await api("admin", "GET /os-simple-tenant-usage")).json()["tenant_usages"]
    assert [(usage["tenant_id"], usage["total_hours"]) for usage in found] == [("p-one", 12.0), ("p-two", 1.0)]
    assert "server_usages" not in found[0]
    detailed = (await api("admin", "GET /os-simple-tenant-usage?detailed=1")).json()["tenant_usages"]
    assert len(detailed[0]["server_usages"]) == 2


async def test_usage_pages(api: Api) -> None:
    path = "GET /os-simple-tenant-usage/p-one"
    page = (await api("reader", f"{path}?limit=1", 40)).json()
    assert len(page["tenant_usage"]["server_usages"]) == 1
    assert f"marker={server_id('s1')}" in page["tenant_usage_links"][0]["href"]
    page = (await api("reader", f"{path}?limit=1&marker={server_id('s1')}", 40)).json()
    assert page["tenant_usage"]["server_usages"][0]["instance_id"] == server_id("s2")
    assert (await api("reader", f"{path}?marker=none", 40)).status_code == 400
    assert len((await api("reader", f"{path}?limit=1", 39)).json()["tenant_usage"]["server_usages"]) == 2
    assert (await api("reader", f"{path}?x=1", 75)).status_code == 400
