"""What no client should send, to every operation there is: the right refusal, and nothing has changed afterwards."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kilonova.api.compute import baremetal, gone
from tests.functional.front_door import UNKNOWN, Door, Row, front_door, rows

ROWS = rows()
CLOSED = [row for row in ROWS if row.route.role != "none"]
JSON = [row for row in CLOSED if row.reads_json]
CHECKED = [row for row in CLOSED if row.route.body and row.reads_json and row.key != "POST /os-floating-ips"]
"""Rows whose schema asks for something. (An old client allocates a floating address with no body, or any.)"""
NAMED = [row for row in CLOSED if row.names]
HUGE = b'{"a": "' + b"x" * 200_000 + b'"}'

GONE = {row.key for row in ROWS if row.route.handler is gone.refuse}
"""Operations that answer 410, whatever they are about."""
OWN = {
    **{key: {410} for key in GONE},
    "POST /servers/{id}/action os-getRDPConsole": {400},
    **{row.key: {400} for row in ROWS if row.route.path.startswith("/os-aggregates/{id}")},  # a number
    "GET /os-instance_usage_audit_log/{id}": {400},  # a date
    "GET /os-console-auth-tokens/{id}": {400},  # below 2.31
    "GET /os-baremetal-nodes/{id}": {501},  # there is no such service
    **{row.key: {400} for row in ROWS if row.route.handler is baremetal.refuse},
    "DELETE /os-services/{id}": {400},  # a number below 2.53
    "POST /v3/users/{user_id}/password": {403},
    "DELETE /resource_providers/{uuid}/inventories": {404, 405},  # it came with 1.5
    "GET /allocations/{consumer_uuid}": {200},  # whoever it is has claimed nothing
    "PUT /allocations/{consumer_uuid}": {409},  # whoever it is
    "PUT /traits/{name}": {400},  # a name that no custom trait has
    "PUT /resource_classes/{name}": {400, 404},  # up to 1.6 a name, since 1.7 one that no custom class has
}
"""What is answered, to an administrator, about somebody or something that is not there."""
COUNTED = {
    # What a project has is answered without asking whether there is one: nobody has nothing.
    "GET /os-quota-sets/{id}",
    "PUT /os-quota-sets/{id}",
    "DELETE /os-quota-sets/{id}",
    "GET /os-quota-sets/{id}/detail",
    "GET /os-quota-sets/{id}/defaults",
    "GET /os-quota-class-sets/{id}",
    "PUT /os-quota-class-sets/{id}",
    "GET /os-simple-tenant-usage/{id}",
    "GET /v2.0/quotas/{project_id}",
    "PUT /v2.0/quotas/{project_id}",
    "DELETE /v2.0/quotas/{project_id}",
    "GET /v2.0/quotas/{project_id}/default",
    "GET /v2.0/quotas/{project_id}/details",
    "GET /v2.0/auto-allocated-topology/{project_id}",
}
REFUSED = ("POST /resource_providers", "text")
"""A good body of an operation that never works."""
ODD_IDS = ["no-such-thing", "%00", "..%2f..%2fetc", "x" * 3000, "%ff%fe", "%F0%9F%92%A5", "%27--"]
ODD_NAMES = ["word", "nul", "path", "long", "not-utf8", "emoji", "quote"]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """Afterwards every table holds what it held before."""
    async with front_door(tmp_path) as opened:
        before = await opened.dump()
        yield opened
        after = await opened.dump()
        assert [name for name in before if before[name] != after[name]] == []


async def refused(door: Door, chosen: list[Row], allowed: set[int] | Callable[[Row], set[int]], **call: Any) -> None:
    """Every row answers with one of the allowed codes, in a form that clients can read."""
    wrong = []
    for row in chosen:
        answer = await door(row, **call)
        expected = allowed(row) if callable(allowed) else allowed
        if answer.status_code not in expected:
            wrong.append(f"{row}: {answer.status_code} and not {sorted(expected)}: {answer.text[:120]}")
        elif row.route.method != "HEAD":
            assert isinstance(answer.json(), dict), f"{row}: {answer.text[:120]}"
        assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert not wrong, "\n".join(wrong)


async def test_without_a_token(door: Door) -> None:
    await refused(door, CLOSED, {401}, who=None)


@pytest.mark.parametrize("token", ["", "x", "gAAAAA", "a" * 5000, "%00", "' or 1=1"], ids=range(6))
async def test_with_a_forged_token(door: Door, token: str) -> None:
    await refused(door, CLOSED, {401}, who=token)


async def test_with_a_token_that_was_changed(door: Door) -> None:
    good = door.tokens["admin"]
    for at in (0, len(good) // 2, len(good) - 3):
        door.tokens["forged"] = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
        await refused(door, CLOSED, {401}, who="forged")


async def test_with_an_expired_token(door: Door) -> None:
    door.cloud.clock.advance(25 * 3600)
    await refused(door, CLOSED, {401})


@pytest.mark.parametrize(
    "content", [b"{", b'{"a":', b"\xff\xfe", b"[" * 100_000, b"nonsense", b'{"a": 1e999999999}x'], ids=range(6)
)
async def test_malformed_json(door: Door, content: bytes) -> None:
    await refused(door, JSON, {400}, content=content)


@pytest.mark.parametrize(
    "content", ["[]", '"text"', "7", "null", "true", "{}", '{"a": []}', "[[]]", "[7]", '[{"op": 7}]']
)
async def test_wrong_json_types(door: Door, content: str) -> None:
    fine = {
        ("POST /v2/images", "{}"),
        ("PATCH /v2/images/{image_id}", "[]"),
        ("PUT /servers/{server_id}/tags/{id}", "null"),
        ("POST /servers/{server_id}/os-interface", "{}"),
        ("PUT /resource_providers/{uuid}/aggregates", "[]"),
    }
    chosen = [row for row in CHECKED if (row.key, content) not in fine]
    await refused(door, chosen, {400}, content=content.encode())


NUL: list[Any] = [{"\u0000": "\u0000"}, {"name": "\u0000"}]


@pytest.mark.parametrize("value", [None, 7, "text", [], True, {"name": 7}, *NUL], ids=range(8))
async def test_wrong_types_inside(door: Door, value: Any) -> None:
    """The object under the body's one key is something else."""
    wrong = []
    for row in CHECKED:
        body = row.body() or {"server": {}}
        if row.key not in ("POST /v2/images", "PATCH /v2/images/{image_id}"):  # no object in an object
            answer = await door(row, content=json.dumps({next(iter(body)): value}).encode())
            if answer.status_code not in ({409} if (row.key, value) == REFUSED else {400, 403, 404}):
                wrong.append(f"{row}: {answer.status_code} {answer.text[:120]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("declared", [True, False])
async def test_more_than_we_read(door: Door, declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(HUGE), 8192):
            yield HUGE[at : at + 8192]

    for row in JSON:
        answer = await door(row, content=HUGE if declared else pieces())  # type: ignore[arg-type]
        assert answer.status_code == 413, f"{row}: {answer.text[:100]}"


async def test_unknown_ids(door: Door) -> None:
    def expected(row: Row) -> set[int]:
        return OWN.get(row.key, {404})

    chosen = [row for row in NAMED if row.key not in COUNTED]
    silent = [row for row in chosen if expected(row) & {200, 204}]
    await refused(door, [row for row in chosen if row not in silent], expected)
    for row in silent:
        assert (await door(row)).status_code in expected(row)


@pytest.mark.parametrize("value", ODD_IDS, ids=ODD_NAMES)
async def test_ids_that_cannot_be(door: Door, value: str) -> None:
    """A client may ask for a name where an id belongs: it expects 404, or 400 where the id has a form."""
    wrong = []
    for row in NAMED:
        if row.key in COUNTED and row.route.method != "GET":
            continue  # sets what a project may have, and asks nobody whether there is one
        expected = {404, 400} | OWN.get(row.key, set()) | ({200} if row.key in COUNTED else set())
        answer = await door(row, url=row.url(value))
        if answer.status_code not in expected:
            wrong.append(f"{row}: {answer.status_code} {answer.text[:120]}")
    assert not wrong, "\n".join(wrong)


async def test_with_a_role_too_small(door: Door) -> None:
    await refused(door, [row for row in CLOSED if row.route.role == "admin"], {403}, who="member")
    above = [row for row in CLOSED if row.route.role in ("member", "manager", "admin")]
    await refused(
        door, [row for row in above if row.key not in ("POST /servers", "POST /os-volumes_boot")], {403}, who="reader"
    )
    create = next(row for row in ROWS if row.key == "POST /servers")
    body = {"server": {"name": "s", "flavorRef": "1", "imageRef": UNKNOWN, "networks": "none"}}
    create.version = 100
    answer = await door(create, "reader", content=json.dumps(body).encode())
    create.version = 1
    assert answer.status_code == 403


async def test_methods_that_are_not_there(door: Door) -> None:
    by_path: dict[str, set[str]] = {}
    for row in CLOSED:
        by_path.setdefault(row.url(), set()).add(row.route.method)
    for row in ROWS:
        by_path.get(row.url(), set()).add(row.route.method)
    for path, methods in by_path.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            answer = await door.http.request(method, path, headers={"x-auth-token": door.tokens["admin"]})
            assert answer.status_code == 405, f"{method} {path}: {answer.status_code}"
            assert set(answer.headers["allow"].split(", ")) == methods


@pytest.mark.parametrize(
    ("header", "code"),
    [("2.105", 406), ("2.0", 406), ("3.1", 406), ("1.1", 406), ("2.999999999999", 406)]
    + [(text, 400) for text in ("two", "2", "2.1.1", "2.-1", "2.01", "2.1 x")],
)
async def test_microversions_out_of_range(door: Door, header: str, code: int) -> None:
    compute = [row for row in CLOSED if row.mount == "/compute"]
    await refused(door, compute, {code}, openstack_api_version=f"compute {header}")


async def test_operations_outside_their_window(door: Door) -> None:
    compute = [row for row in CLOSED if row.mount == "/compute"]
    for row in compute:
        outside = [version for version in (row.route.since - 1, (row.route.until or 104) + 1) if 1 <= version <= 104]
        twins = [other.route for other in compute if other.key == row.key]
        for version in outside:
            if not any(twin.lives_at(version) for twin in twins):
                answer = await door(row, openstack_api_version=f"compute 2.{version}")
                assert answer.status_code == 404, f"{row} at 2.{version}: {answer.status_code}"


ODD_VALUES = [
    "",
    "[",
    "(",
    "a{",
    "-1",
    "99999999999999999999",
    "x" * 2000,
    "%00",
    "%ff",
    "%F0%9F%92%A5",
    "%25",
    "1;--",
    "(a%2B)%2B",
]
QUERY_KEYS = """
    device_id domain_id fields fixed_ips group.id id limit marker name network_id owner project_id scope.project.id
    sort sort_dir sort_key status tag user.id user_id visibility
"""


def query_keys(row: Row) -> list[str]:
    """What the row's schemas name; where there are none, what such lists are asked for."""
    named = {key for versioned in row.route.query for key in versioned.schema.get("properties", {})}
    return sorted(named) if row.mount == "/compute" else QUERY_KEYS.split()


@pytest.mark.parametrize("value", ODD_VALUES, ids=range(len(ODD_VALUES)))
async def test_odd_query_strings(door: Door, value: str) -> None:
    """Every list, every key that it knows."""
    wrong = []
    for row in CLOSED:
        if row.route.method != "GET" or row.names:
            continue
        version = {"openstack_api_version": f"compute 2.{min(row.route.until or 104, 104)}"}
        for key in query_keys(row):
            answer = await door(row, url=f"{row.url()}?{key}={value}", **version)
            if answer.status_code not in (200, 400, 403, 404):
                wrong.append(f"{row}?{key}: {answer.status_code} {answer.text[:100]}")
    assert not wrong, "\n".join(wrong)
