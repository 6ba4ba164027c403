"""Placement in process for tests: real routes, policy and database; callers by token, hosts by rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx

from kilonova import placement
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.schema import ensure_schema
from kilonova.model.clock import Ids
from tests.functional.compute_api import StoppedClock, Tokens
from tests.functional.compute_rows import insert_host

LATEST = 39
UNKNOWN = "99999999-9999-4999-8999-999999999999"
TERMS = {"memory_mb_reserved": 1_000, "vcpus_ratio": 4.0}
"""What makes the amounts of ``compute_rows.insert_host`` what can be claimed of them: 32 of 8 cores, 15,000 of 16,000 MiB."""


def uuid(number: int) -> str:
    """Of the host with that number."""
    return f"10000000-0000-4000-8000-{number:012d}"


class Api:
    """A client of Placement, and the database behind it."""

    def __init__(self, http: httpx.AsyncClient, database: Database, clock: StoppedClock) -> None:
        self.http = http
        self.database = database
        self.clock = clock

    async def __call__(self, call: str, minor: int = LATEST, body: Any = None, who: str = "admin") -> httpx.Response:
        """``await api("GET /resource_providers", 14)``"""
        method, path = call.split(" ", 1)
        headers = {"openstack-api-version": f"placement 1.{minor}", "x-auth-token": who}
        answer = await self.http.request(method, f"/placement{path}", json=body, headers=headers)
        assert answer.headers["openstack-api-version"] == f"placement 1.{minor}"
        return answer

    async def ok(self, call: str, minor: int = LATEST, body: Any = None) -> Any:
        """The body of a good answer."""
        answer = await self(call, minor, body)
        assert answer.is_success, f"{call}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def refused(self, status: int, call: str, minor: int = LATEST, body: Any = None) -> str:
        """What a refusal says; its form is Placement's."""
        answer = await self(call, minor, body)
        assert answer.status_code == status, f"{call}: {answer.status_code} {answer.text}"
        (error,) = answer.json()["errors"]
        assert (error["status"], bool(error["title"])) == (status, True)
        assert error["request_id"] == answer.headers["x-openstack-request-id"]
        assert ("code" in error) == (minor >= 23)
        return f"{error.get('code')}: {error['detail']}"

    async def generation(self, number: int) -> int:
        found: int = (await self.ok(f"GET /resource_providers/{uuid(number)}"))["generation"]
        return found


@asynccontextmanager
async def placement_api(directory: Path, *, hosts: int = 2, url: str | None = None) -> AsyncIterator[Api]:
    """Placement over an empty ledger with hosts ``one`` to ``three`` at most."""
    clock, random = StoppedClock(), Random(7)
    settings = DatabaseSettings(url=url or f"sqlite:///{directory / 'test.db'}", durable=False)
    database = open_database(settings, clock, random)
    await ensure_schema(database)
    for number, name in enumerate(("one", "two", "three")[:hosts], 1):
        await database.run(lambda connection, n=number, h=name: insert_host(connection, n, h, **TERMS))
    service = placement.EmbeddedPlacement(database=database, clock=clock, ids=Ids(random))
    app: Any = placement.application(service, tokens=Tokens())
    transport = httpx.ASGITransport(app=app, root_path="/placement")
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as http:
        yield Api(http, database, clock)
    await database.close()
