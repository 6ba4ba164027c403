"""A client of Network v2.0 for tests, in as few words as the tests need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.functional.neighbours import Neighbours

IRREGULAR = {"security_group": "security-groups", "security_group_rule": "security-group-rules"}


class Networking:
    """One user's view. Paths are below ``/network/v2.0/``."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def __call__(self, call: str, body: Any = None, *, status: int | None = None) -> Any:
        """``await demo("GET networks")``: the answer's body. ``status`` is what must come; without it, success."""
        method, path = call.split(" ", 1)
        answer = await self.http.request(method, f"/network/v2.0/{path}", json=body)
        expected = (200, 201, 204) if status is None else (status,)
        assert answer.status_code in expected, f"{call}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def make(self, noun: str, **attributes: Any) -> dict[str, Any]:
        """Create one; the object."""
        path = IRREGULAR.get(noun, f"{noun}s")
        made: dict[str, Any] = (await self(f"POST {path}", {noun: attributes}, status=201))[noun]
        return made

    async def refused(self, fault: str, call: str, body: Any = None, status: int = 409) -> str:
        """The call fails with that status and type; the message."""
        error = (await self(call, body, status=status))["NeutronError"]
        assert error["type"] == fault, error
        return str(error["message"])

    async def names(self, path: str) -> list[str]:
        """The names in a list, in its order."""
        found = await self(f"GET {path}")
        return [entry["name"] for entry in found[path.partition("?")[0].replace("-", "_")]]


@asynccontextmanager
async def networking(cloud: Neighbours, user: str = "demo") -> AsyncIterator[Networking]:
    """A user of the project of the same name."""
    async with cloud.client(await cloud.token(user, user)) as http:
        yield Networking(http)


async def second_project(cloud: Neighbours, name: str = "other") -> str:
    """A project with one member of the same name; its id."""
    async with cloud.client(await cloud.token()) as http:
        made = await http.post("/identity/v3/projects", json={"project": {"name": name}})
        project: str = made.json()["project"]["id"]
        user = {"name": name, "password": "correct horse", "domain_id": "default"}
        made = await http.post("/identity/v3/users", json={"user": user})
        roles = {role["name"]: role["id"] for role in (await http.get("/identity/v3/roles")).json()["roles"]}
        path = f"/identity/v3/projects/{project}/users/{made.json()['user']['id']}/roles/{roles['member']}"
        assert (await http.put(path)).status_code == 204
    return project
