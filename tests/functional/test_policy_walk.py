"""Every operation of Compute, asked for by every role: who is let in, and whose things are there at all.

``policy_roles.json`` says which role Nova's defaults ask for at least, rule by rule; ``make conformance`` holds that
table against an installed Nova.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.api.table import compute_routes, policy_defaults
from kilonova.web.policy import IMPLIED
from tests.functional import neighbours
from tests.functional.front_door import Door, Row, front_door, rows
from tests.functional.test_foreign_objects import things

NOVAS: dict[str, str] = json.loads(Path(__file__).with_name("policy_roles.json").read_text())
GONE = "os_compute_api:gone"
OURS = {  # rules Nova has no name for: what it decides in code, or lets everybody do
    "os_compute_api:versions": "none",
    GONE: "any",
    "os_compute_api:images": "any",
    "os_compute_api:os-baremetal-nodes:refused": "any",
    "os_compute_api:image-metadata": "any",
    "compute:aggregates:images": "admin",
    "compute:server:topology:index": "reader",
    "os_compute_api:flavors:index": "any",
    "os_compute_api:flavors:detail": "reader",
    "os_compute_api:flavors:show": "reader",
    "os_compute_api:flavors:all": "admin",
    "os_compute_api:os-instance-actions:all_projects": "admin",
    "os_compute_api:os-keypairs:other_user": "admin",
    "os_compute_api:os-quota-sets:other_project": "admin",
    "os_compute_api:os-simple-tenant-usage:other_project": "admin",
    "os_compute_api:servers:create:requested_destination": "admin",
}
PERSONAS = ("reader", "member", "manager", "service", "admin")
COMPUTE = [row for row in rows() if row.mount == "/compute" and row.route.role != "none"]
ABOUT_OWN = {"/os-migrations": "?project_id={}"}
"""What asks for one's own project's things only: all of them would need more than the operation's rule."""
OF_PROJECTS = ("/os-quota-sets/", "/os-simple-tenant-usage/")
"""Where the id in the path is a project's."""


def lets_in(persona: str, least: str) -> bool:
    """Whether a rule with this least role lets the persona pass."""
    if least == "any":
        return True
    if least == "service":
        return persona in ("service", "admin")
    return least == persona or least in IMPLIED.get(persona, ())


def test_our_defaults_are_novas() -> None:
    expected = NOVAS | OURS
    ours = policy_defaults(compute_routes())
    assert {rule: role for rule, role in ours.items() if expected.get(rule) != role} == {}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with front_door(tmp_path) as opened:
        await _add_personas(opened)
        yield opened


async def _add_personas(door: Door) -> None:
    """A user for each persona in the project of ``member`` (``demo``), and in that of ``stranger``."""
    door.http.headers["x-auth-token"] = door.tokens["admin"]
    get, post, put = door.http.get, door.http.post, door.http.put
    roles = {role["name"]: role["id"] for role in (await get("/identity/v3/roles")).json()["roles"]}
    projects = {one["name"]: one["id"] for one in (await get("/identity/v3/projects")).json()["projects"]}
    for project in ("demo", "strangers"):
        for persona in PERSONAS:
            name = f"{persona}@{project}"
            user = {"name": name, "password": neighbours.PASSWORD, "domain_id": "default"}
            made = (await post("/identity/v3/users", json={"user": user})).json()["user"]["id"]
            await put(f"/identity/v3/projects/{projects[project]}/users/{made}/roles/{roles[persona]}")
            door.tokens[name] = await door.cloud.token(name, project)


async def test_each_role_is_let_in_where_the_table_says(door: Door) -> None:
    project = door.cloud.bootstrapped.demo_project_id
    wrong = []
    for row in COMPUTE:
        least = (NOVAS | OURS)[row.route.rule]
        own = {row.names[0]: project} if row.route.path.startswith(OF_PROJECTS) else None
        url = row.url(values=own) + ABOUT_OWN.get(row.route.path, "").format(project)
        for persona in PERSONAS:
            status = (await door(row, f"{persona}@demo", url=url)).status_code
            if (status == 403) is lets_in(persona, least) or status == 401:
                wrong.append(f"{row} at 2.{row.version} for {persona}: {status}, least role {least}")
    assert not wrong, "\n".join(wrong)


async def test_without_a_token_nothing_but_version_documents(door: Door) -> None:
    del door.http.headers["x-auth-token"]
    for row in COMPUTE:
        assert (await door(row, None)).status_code == 401, str(row)


async def test_a_server_of_another_project_is_there_for_administrators_only(door: Door) -> None:
    mine = await things(door)
    before = await door.dump()
    wrong = []
    for row in (row for row in COMPUTE if row.route.path.startswith("/servers/{") and _is_alive(row)):
        url = row.url(values={row.names[0]: mine["server"]})
        for persona in PERSONAS[:-1]:
            expected = 404 if lets_in(persona, (NOVAS | OURS)[row.route.rule]) else 403
            status = (await door(row, f"{persona}@strangers", url=url)).status_code
            if status != expected:
                wrong.append(f"{row} for {persona}: {status}, not {expected}")
        if row.route.method == "GET" and len(row.names) == 1:
            assert (await door(row, "admin@strangers", url=url)).status_code not in (403, 404), str(row)
    assert not wrong, "\n".join(wrong)
    assert await door.dump() == before


def _is_alive(row: Row) -> bool:
    """Not one of the operations that answer everybody that they are no more."""
    return row.route.rule != GONE and row.route.action != "os-getRDPConsole"


async def test_quotas_and_usage_of_another_project_are_refused(door: Door) -> None:
    project = door.cloud.bootstrapped.demo_project_id
    for row in _readable(COMPUTE):
        url = row.url(values={row.names[0]: project})
        allowed = row.route.role == "any"  # the defaults are everybody's
        for persona in PERSONAS[:-1]:
            status = (await door(row, f"{persona}@strangers", url=url)).status_code
            assert status == (200 if allowed else 403), f"{row} for {persona}"
        assert (await door(row, "admin@strangers", url=url)).status_code == 200, str(row)


def _readable(found: list[Row]) -> list[Row]:
    return [row for row in found if row.route.method == "GET" and row.route.path.startswith(OF_PROJECTS)]
