"""Moves of servers over HTTP: their history, and the live ones under way."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import server_migrations, servers
from kilonova.database.flavors import seed_flavors
from kilonova.model.migration import Migration, MigrationStatus, MigrationType, Wish
from tests.functional.compute_api import NOW, Api, compute_api
from tests.functional.compute_rows import insert_server, server_id

UUIDS = [f"30000000-0000-4000-8000-{number:012d}" for number in range(4)]
LIVE = "/servers/" + server_id("s1") + "/migrations"


def _world(connection: Connection) -> None:
    seed_flavors(connection, NOW)
    insert_server(connection, "s1", host="one", task_state="migrating")
    insert_server(connection, "s2", host="two", project_id="p-two", user_id="u-other")
    for number, (short, kind, status) in enumerate(
        (
            ("s1", MigrationType.RESIZE, MigrationStatus.CONFIRMED),
            ("s2", MigrationType.MIGRATION, MigrationStatus.FINISHED),
            ("s1", MigrationType.LIVE, MigrationStatus.RUNNING),
            ("s1", MigrationType.LIVE, MigrationStatus.QUEUED),
        )
    ):
        server = servers.get(connection, server_id(short), None)
        server_migrations.insert(
            connection,
            uuid=UUIDS[number],
            action_id=f"a{number}",
            server=server,
            migration_type=kind,
            status=status,
            now=NOW + number * 1_000_000,
            new_flavor_id="2" if kind is MigrationType.RESIZE else None,
            dest_compute="three",
            dest_node="three",
            dest_host="192.0.2.3",
        )
    server_migrations.change_of_action(connection, "a2", now=NOW + 9_000_000, memory_total=512, memory_remaining=0)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def listed(api: Api, query: str = "", version: int = 80) -> list[str]:
    answer = await api("admin", f"GET /os-migrations{query}", version)
    assert answer.status_code == 200, answer.text
    return [UUIDS[migration["id"] - 1][-1] for migration in answer.json()["migrations"]]


@pytest.mark.parametrize("version", [1, 22, 23, 58, 59, 79, 80, 104])
async def test_list_by_version(api: Api, version: int) -> None:
    found = (await api("admin", "GET /os-migrations", version)).json()["migrations"]
    one = next(migration for migration in found if migration["id"] == 3)
    assert (one["source_compute"], one["dest_node"], one["dest_host"]) == ("one", "three", "192.0.2.3")
    assert ("migration_type" in one, "links" in one) == (version >= 23, version >= 23)
    assert ("uuid" in one) == (version >= 59)
    assert ("project_id" in one, "user_id" in one) == (version >= 80, version >= 80)
    assert not any("links" in migration for migration in found if migration["id"] < 3)
    assert [migration["id"] for migration in found] == ([4, 3, 2, 1] if version >= 59 else [1, 2, 3, 4])
    resize = next(migration for migration in found if migration["id"] == 1)
    assert resize["old_instance_type_id"] == one["old_instance_type_id"] == one["new_instance_type_id"]
    assert resize["new_instance_type_id"] not in (None, resize["old_instance_type_id"])


async def test_filters(api: Api) -> None:
    assert await listed(api, "?status=running") == ["2"]
    assert await listed(api, "?migration_type=live-migration") == ["3", "2"]
    assert await listed(api, f"?instance_uuid={server_id('s2')}") == ["1"]
    assert await listed(api, "?host=two") == ["1"]
    assert await listed(api, "?host=three&source_compute=two") == ["3", "2", "1", "0"]
    assert await listed(api, "?source_compute=three") == []
    assert await listed(api, "?hidden=true") == []
    assert await listed(api, "?user_id=u-other") == ["1"]
    assert await listed(api, "?project_id=p-two") == ["1"]
    assert await listed(api, "?changes-since=2026-11-18T00:00:00Z&changes-before=2026-11-18T00:00:01Z") == []
    assert await listed(api, "?node=two&other=1", 1) == ["1"]


async def test_changes(api: Api) -> None:
    first = (await api("admin", "GET /os-migrations?limit=1", 66)).json()["migrations"][0]
    assert await listed(api, f"?changes-since={first['updated_at']}") == ["3", "2"]
    assert await listed(api, f"?changes-before={first['updated_at']}") == ["3", "1", "0"]


async def test_pages(api: Api) -> None:
    answer = (await api("admin", "GET /os-migrations?limit=3", 59)).json()
    assert [migration["id"] for migration in answer["migrations"]] == [4, 3, 2]
    assert f"marker={UUIDS[1]}" in answer["migrations_links"][0]["href"]
    assert await listed(api, f"?limit=3&marker={UUIDS[1]}") == ["0"]


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [
        ("?limit=-1", 59, 400),
        ("?marker=none", 59, 400),
        ("?changes-since=yesterday", 59, 400),
        ("?changes-before=2020-01-01T00:00:00Z", 65, 400),
        ("?changes-since=2021-01-01T00:00:00Z&changes-before=2020-01-01T00:00:00Z", 66, 400),
        ("?project_id=p-one", 79, 400),
        ("?what=1", 58, 200),
        ("?what=1", 59, 400),
    ],
)
async def test_queries_checked(api: Api, query: str, version: int, status: int) -> None:
    assert (await api("admin", f"GET /os-migrations{query}", version)).status_code == status


async def test_managers_see_their_project_without_hosts(api: Api) -> None:
    assert (await api("manager", "GET /os-migrations", 80)).status_code == 403
    assert (await api("manager", "GET /os-migrations?project_id=p-two", 80)).status_code == 403
    found = (await api("manager", "GET /os-migrations?project_id=p-one", 80)).json()["migrations"]
    assert {migration["project_id"] for migration in found} == {"p-one"}
    assert {migration["source_compute"] for migration in found} == {None}
    assert (await api("member", "GET /os-migrations?project_id=p-one", 80)).status_code == 403


@pytest.mark.parametrize("version", [23, 58, 59, 79, 80, 104])
async def test_live_ones_of_a_server(api: Api, version: int) -> None:
    found = (await api("admin", f"GET {LIVE}", version)).json()["migrations"]
    assert [(one["id"], one["server_uuid"], one["status"]) for one in found] == [
        (3, server_id("s1"), "running"),
        (4, server_id("s1"), "queued"),
    ]
    assert (found[0]["memory_total_bytes"], found[0]["memory_remaining_bytes"]) == (512, None)
    assert ("uuid" in found[0], "user_id" in found[0]) == (version >= 59, version >= 80)
    assert (await api("admin", f"GET {LIVE}/3", version)).json() == {"migration": found[0]}
    shown = (await api("manager", f"GET {LIVE}", version)).json()["migrations"][0]
    assert (shown["source_compute"], shown["dest_host"]) == (None, None)


@pytest.mark.parametrize(
    ("who", "call", "version", "status"),
    [
        ("admin", f"GET {LIVE}", 22, 404),
        ("admin", f"GET {LIVE}/1", 23, 404),  # a resize
        ("admin", f"GET {LIVE}/2", 23, 404),  # another server's
        ("admin", f"GET {LIVE}/x", 23, 404),
        ("admin", f"GET {LIVE}/{'9' * 30}", 23, 404),
        ("admin", f"GET {LIVE}?x=1", 101, 200),
        ("admin", f"GET {LIVE}?x=1", 102, 400),
        ("manager", f"GET {LIVE}/3", 23, 403),
        ("manager", f"GET /servers/{server_id('s2')}/migrations", 23, 404),
        ("member", f"GET {LIVE}", 23, 403),
        ("admin", f"DELETE {LIVE}/3", 23, 404),
        ("admin", f"DELETE {LIVE}/4", 64, 400),
        ("admin", f"DELETE {LIVE}/9", 65, 404),
        ("admin", f"DELETE {LIVE}/1", 65, 400),
        ("admin", f"DELETE /servers/{server_id('s2')}/migrations/2", 65, 409),
        ("admin", f"POST {LIVE}/4/action", 22, 400),
        ("admin", f"POST {LIVE}/9/action", 22, 400),
        ("admin", f"POST {LIVE}/3/action", 21, 404),
        ("admin", f"POST /servers/{server_id('s2')}/migrations/2/action", 22, 409),
        ("member", f"POST {LIVE}/3/action", 22, 403),
    ],
)
async def test_refused_and_nothing_changed(api: Api, who: str, call: str, version: int, status: int) -> None:
    body = {"force_complete": None} if call.startswith("POST") else None
    assert (await api(who, call, version, body)).status_code == status
    assert {one.wish for one in await _rows(api)} == {None}


async def _rows(api: Api) -> list[Migration]:
    return await api.database.run(server_migrations.listing, server_migrations.Listing(limit=100))


async def test_operators_wishes_are_written_down(api: Api) -> None:
    assert (await api("manager", f"POST {LIVE}/3/action", 22, {"force_complete": None})).status_code == 202
    assert (await api("manager", f"DELETE {LIVE}/4", 65)).status_code == 202
    assert {one.id: one.wish for one in await _rows(api)} == {1: None, 2: None, 3: Wish.FORCE_COMPLETE, 4: Wish.ABORT}
    assert (await api("manager", f"DELETE {LIVE}/3", 24)).status_code == 202
    assert {one.id: one.wish for one in await _rows(api)}[3] == Wish.ABORT


async def test_locked_servers_are_let_be(api: Api) -> None:
    def lock(connection: Connection) -> None:
        servers.update(connection, server_id("s1"), locked=True)

    await api.database.run(lock)
    assert (await api("manager", f"DELETE {LIVE}/3", 24)).status_code == 409
    assert (await api("admin", f"DELETE {LIVE}/3", 24)).status_code == 202


async def test_the_latest_of_a_kind(api: Api) -> None:
    def find(connection: Connection, *within: MigrationStatus) -> Any:
        return server_migrations.latest(connection, server_id("s1"), *within)

    found = await api.database.run(find, MigrationStatus.RUNNING, MigrationStatus.CONFIRMED)
    assert found.id == 3
    assert await api.database.run(find, MigrationStatus.FINISHED) is None
    assert await api.database.run(server_migrations.of_action, "a9") is None
    assert (await api.database.run(server_migrations.of_action, "a1")).id == 2
