"""Every operation of the three neighbours, given nonsense: no answer is a 500, and nobody without a token gets in."""

import json
from typing import Any

from kilonova.web.policy import NOBODY_NEEDED
from kilonova.web.routes import Route
from tests.functional.neighbours import Neighbours

NONSENSE: list[Any] = [
    None,
    5,
    [],
    {},
    "x",
    [None],
    [{"op": "add", "path": "/tags", "value": None}],
    [{"op": "replace", "path": "/min_disk", "value": 1e300}],
    [{"op": "replace", "path": "/name", "value": "\x00"}],
    {"name": "a\x00b"},
    {"min_disk": 2**70, "tags": [[]], "owner": {}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "\x00", "password": ""}}}}},
    {"auth": {"identity": {"methods": ["token"], "token": {"id": "\u00e9"}}, "scope": {"project": None}}},
    {"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {}}},
    *(
        {noun: value}
        for noun in ("project", "user", "domain", "role", "application_credential", "port")
        for value in (
            None,
            [],
            {"name": "x\x00", "domain_id": "\x00"},
            {"name": 5, "enabled": "yes"},
            {"name": "n", "domain_id": "nowhere", "network_id": "nowhere", "roles": [{}], "description": 5},
            {"name": "n", "roles": [{"id": "nothing"}], "default_project_id": "x" * 5000, "extra": {"deep": [[[]]]}},
            {"network_id": "n", "mac_address": "zz", "fixed_ips": [{}], "device_id": "\x00"},
            {"name": "n", "password": "p", "expires_at": "yesterday"},
        )
    ),
]
QUERIES = ("", "?limit=0", "?limit=99999999999999999999", "?marker=%ff", "?name=%27%22%3B--&enabled=maybe", "?sort=,")


def operations(cloud: Neighbours) -> list[tuple[str, Route, str]]:
    """(path, route, mount) of every row, its variables filled with something that does not exist."""
    found = []
    for mount, application in cloud.applications.items():
        for route in application.table.routes:
            segments = ["nothing" if part.startswith("{") else part for part in route.path.split("/")]
            found.append((mount + "/".join(segments), route, mount))
    return found


async def test_no_nonsense_is_a_500(cloud: Neighbours) -> None:
    async with cloud.client(await cloud.token()) as client:
        for path, route, _ in operations(cloud):
            bodies = NONSENSE if route.body else [None]
            for body in bodies:
                media = (
                    "application/openstack-images-v2.1-json-patch" if route.method == "PATCH" else "application/json"
                )
                content = b"" if body is None else json.dumps(body).encode()
                answer = await client.request(
                    route.method, path, content=content, headers={"content-type": media, "x-subject-token": "x"}
                )
                assert answer.status_code < 500 or answer.status_code == 501, (route.method, path, body, answer.text)


async def test_no_query_is_a_500(cloud: Neighbours) -> None:
    async with cloud.client(await cloud.token()) as client:
        for path, route, _ in operations(cloud):
            for query in QUERIES if route.method == "GET" else ():
                answer = await client.get(path + query)
                assert answer.status_code < 500, (path, query, answer.text)


async def test_nobody_gets_in_without_a_token(cloud: Neighbours) -> None:
    for token in (None, "forged"):
        async with cloud.client(token) as client:
            for path, route, _ in operations(cloud):
                if route.role != NOBODY_NEEDED:
                    answer = await client.request(route.method, path)
                    assert answer.status_code == 401, (route.method, path)


async def test_whoever_has_no_role_for_it_changes_nothing(cloud: Neighbours) -> None:
    """A member is refused on every administrator's row, whatever the body."""
    async with cloud.client(await cloud.token("demo", "demo")) as client:
        for path, route, _ in operations(cloud):
            if route.role == "admin" and not route.body:
                answer = await client.request(route.method, path)
                assert answer.status_code == 403, (route.method, path, answer.text)


async def test_no_nonsense_breaks_what_exists(cloud: Neighbours) -> None:
    """The same bodies on objects that are there; afterwards they still are, and can be shown."""
    async with cloud.client(await cloud.token()) as client:
        image = (await client.post("/image/v2/images", json={"name": "i"})).json()["id"]
        network = (await client.get("/network/v2.0/networks")).json()["networks"][0]["id"]
        port = await client.post("/network/v2.0/ports", json={"port": {"network_id": network}})
        user = (await client.post("/identity/v3/users", json={"user": {"name": "u"}})).json()["user"]["id"]
        project = (await client.post("/identity/v3/projects", json={"project": {"name": "p"}})).json()["project"][
            "id"
        ]
        targets = (
            ("PATCH", f"/image/v2/images/{image}", "application/openstack-images-v2.1-json-patch"),
            ("PUT", f"/network/v2.0/ports/{port.json()['port']['id']}", "application/json"),
            ("PATCH", f"/identity/v3/users/{user}", "application/json"),
            ("PATCH", f"/identity/v3/projects/{project}", "application/json"),
            ("POST", f"/identity/v3/users/{user}/password", "application/json"),
        )
        for method, path, media in targets:
            for body in NONSENSE:
                answer = await client.request(
                    method, path, content=json.dumps(body).encode(), headers={"content-type": media}
                )
                assert answer.status_code < 500, (method, path, body, answer.text)
            if not path.endswith("password"):
                assert (await client.get(path)).status_code == 200
