"""Server groups over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import checks, quotas, server_groups
from kilonova.database.tables import allocations
from kilonova.model.placement import GroupPolicy
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_server, server_id

THEIRS = "40000000-0000-4000-8000-000000000000"
DEFAULTS = {"server_groups": 10, "server_group_members": 10}


def _world(connection: Connection) -> None:
    server_groups.insert(
        connection,
        group_id=THEIRS,
        project_id="p-two",
        user_id="u-other",
        name="theirs",
        policy=GroupPolicy.SOFT_AFFINITY,
        rules={},
        now=NOW,
        quota_defaults=DEFAULTS,
    )


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


def old(policy: str = "affinity") -> dict[str, Any]:
    return {"server_group": {"name": "mine", "policies": [policy]}}


def new(policy: str = "affinity", **rules: Any) -> dict[str, Any]:
    return {"server_group": {"name": "mine", "policy": policy, **({"rules": rules} if rules else {})}}


async def create(api: Api, version: int, body: Any) -> Any:
    answer = await api("member", "POST /os-server-groups", version, body)
    assert answer.status_code == 200, answer.text
    return answer.json()["server_group"]


@pytest.mark.parametrize("version", [1, 13, 15, 64, 104])
async def test_by_version(api: Api, version: int) -> None:
    body = new("anti-affinity", max_server_per_host="3") if version >= 64 else old("anti-affinity")
    made = await create(api, version, body)
    form: dict[str, Any] = {"policies": ["anti-affinity"], "metadata": {}}
    if version >= 64:
        form = {"policy": "anti-affinity", "rules": {"max_server_per_host": 3}}
    owners = {"project_id": "p-one", "user_id": "u-member"} if version >= 13 else {}
    assert made == {"id": made["id"], "name": "mine", "members": [], **form, **owners}
    assert (await api("reader", f"GET /os-server-groups/{made['id']}", version)).json() == {"server_group": made}
    assert (await api("reader", "GET /os-server-groups", version)).json() == {"server_groups": [made]}
    assert (await api("member", f"DELETE /os-server-groups/{made['id']}", version)).status_code == 204
    assert (await api("reader", "GET /os-server-groups", version)).json() == {"server_groups": []}


@pytest.mark.parametrize(
    ("who", "call", "version", "body", "status"),
    [
        ("reader", "POST /os-server-groups", 1, old(), 403),
        ("member", "POST /os-server-groups", 14, old("soft-affinity"), 400),
        ("member", "POST /os-server-groups", 15, old("legacy"), 400),
        ("member", "POST /os-server-groups", 15, new(), 400),
        ("member", "POST /os-server-groups", 64, old(), 400),
        ("member", "POST /os-server-groups", 1, {"server_group": {"name": "x", "policies": []}}, 400),
        ("member", "POST /os-server-groups", 1, {"server_group": {"name": " ", "policies": ["affinity"]}}, 400),
        ("member", "POST /os-server-groups", 64, new("affinity", max_server_per_host=2), 400),
        ("member", "POST /os-server-groups", 64, new("anti-affinity", max_server_per_host=0), 400),
        ("member", "POST /os-server-groups", 64, new("anti-affinity", max_server_per_host="0"), 400),
        ("member", "POST /os-server-groups", 64, new("anti-affinity", other=2), 400),
        ("member", "POST /os-server-groups", 64, new("anti-affinity", max_server_per_host="9" * 40), 400),
        ("member", "POST /os-server-groups", 64, new("anti-affinity", max_server_per_host=10**30), 400),
        ("member", f"GET /os-server-groups/{THEIRS}", 1, None, 404),
        ("member", f"DELETE /os-server-groups/{THEIRS}", 1, None, 404),
        ("member", "GET /os-server-groups/none", 1, None, 404),
        ("member", "GET /os-server-groups?x=1", 74, None, 200),
        ("member", "GET /os-server-groups?x=1", 75, None, 400),
        ("member", "GET /os-server-groups?limit=-1", 1, None, 400),
    ],
)
async def test_refused(api: Api, who: str, call: str, version: int, body: Any, status: int) -> None:
    before = (await api("admin", "GET /os-server-groups?all_projects=1", 64)).json()
    assert (await api(who, call, version, body)).status_code == status
    assert (await api("admin", "GET /os-server-groups?all_projects=1", 64)).json() == before


async def test_all_projects_are_for_administrators(api: Api) -> None:
    mine = await create(api, 64, new())
    found = (await api("admin", "GET /os-server-groups?all_projects", 64)).json()["server_groups"]
    assert [group["id"] for group in found] == [THEIRS, mine["id"]]
    found = (await api("member", "GET /os-server-groups?all_projects=1", 64)).json()["server_groups"]
    assert [group["id"] for group in found] == [mine["id"]]
    assert (await api("admin", f"GET /os-server-groups/{THEIRS}", 64)).status_code == 200


async def test_pages(api: Api) -> None:
    made = [(await create(api, 64, new()))["id"] for _ in range(3)]
    found = (await api("member", "GET /os-server-groups?limit=1&offset=1", 64)).json()["server_groups"]
    assert [group["id"] for group in found] == made[1:2]
    for far in ("3", "99999999999", "9" * 30):
        answer = await api("member", f"GET /os-server-groups?offset={far}", 64)
        assert (answer.status_code, answer.json()) == (200, {"server_groups": []}), far


async def test_quota(api: Api) -> None:
    await api.database.run(quotas.set_limits, "p-one", {"server_groups": 1})
    made = await create(api, 64, new())
    assert (await api("member", "POST /os-server-groups", 64, new())).status_code == 403
    used = (await api("reader", "GET /limits", 64)).json()["limits"]["absolute"]["totalServerGroupsUsed"]
    assert used == 1
    assert await api.database.run(checks.check, NOW, 0) == []
    assert (await api("member", f"DELETE /os-server-groups/{made['id']}")).status_code == 204
    await create(api, 64, new())


async def test_a_claim_is_held_against_the_policy(api: Api) -> None:
    """What the filter saw may be old: the transaction that claims looks again."""
    hard = (await create(api, 64, new("anti-affinity")))["id"]
    near = (await create(api, 64, new("affinity")))["id"]

    def place(connection: Connection) -> list[bool]:
        insert_server(connection, "s1", host="one")
        insert_server(connection, "s2")
        insert_server(connection, "s3", deleted_at=NOW)
        claim = {"server_id": server_id("s1"), "project_id": "p-one", "vcpus": 1, "memory_mb": 1, "disk_gb": 1}
        claim |= {"consumer": server_id("s1"), "host": "one", "created_at": NOW}
        connection.execute(allocations.insert(), claim)
        ids = [server_id(short) for short in ("s1", "s2", "s3")]
        for group in (hard, near):
            server_groups.join(connection, group, ids, "p-one", DEFAULTS)
        return [
            server_groups.claim_place(connection, group, server_id("s2"), host)
            for group in (hard, near, THEIRS, "none")
            for host in ("one", "two")
        ]

    assert await api.database.run(place) == [False, True, True, False, True, True, True, True]

    def move(connection: Connection) -> list[bool]:
        claim = {"server_id": server_id("s1"), "project_id": "p-one", "vcpus": 1, "memory_mb": 1, "disk_gb": 1}
        connection.execute(allocations.insert(), claim | {"consumer": "m", "host": "two", "created_at": NOW})
        hosts = ("one", "two", "three")
        return [server_groups.claim_place(connection, hard, server_id("s2"), host) for host in hosts]

    assert await api.database.run(move) == [False, False, True]  # s1 is on its way from one to two
