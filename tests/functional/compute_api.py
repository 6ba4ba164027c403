"""The Compute API in process for tests: real routes, policy and SQLite; callers by token, no identity service."""

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, cast

import httpx

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.rules import RULES
from kilonova.api.compute.rules_servers import RULES as SERVER_RULES
from kilonova.api.family import COMPUTE
from kilonova.config import Config
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.schema import ensure_schema
from kilonova.model.clock import Ids, SystemClock
from kilonova.model.context import Caller
from kilonova.model.errors import Unauthenticated
from kilonova.web.application import Application
from kilonova.web.policy import Policy, with_implied
from kilonova.web.routes import Route, RouteTable

NOW = 1_795_000_000_000_000
MODULES = (
    "versions",
    "extensions",
    "flavors",
    "keypairs",
    "services",
    "hypervisors",
    "zones",
    "limits",
    "instance_actions",
    "usage",
    "quotas",
    "migrations",
    "server_migrations",
    "server_metadata",
    "server_tags",
    "server_ips",
    "server_groups",
    "aggregates",
    "server_diagnostics",
    "server_topology",
    "server_password",
    "aggregate_images",
    "hosts",
    "usage_audit",
    "remote_consoles",
    "console_tokens",
    "external_events",
    "gone",
    "image_proxy",
    "network_proxy",
    "security_groups",
    "floating_ips",
    "baremetal",
)

CALLERS = {
    "admin": Caller(user_id="u-admin", project_id="p-admin", roles=with_implied({"admin"})),
    "manager": Caller(user_id="u-manager", project_id="p-one", roles=with_implied({"manager"})),
    "member": Caller(user_id="u-member", project_id="p-one", roles=with_implied({"member"})),
    "reader": Caller(user_id="u-reader", project_id="p-one", roles=with_implied({"reader"})),
    "other": Caller(user_id="u-other", project_id="p-two", roles=with_implied({"member"})),
    "service": Caller(user_id="u-service", project_id="p-service", roles=frozenset({"service"})),
    "nobody": Caller(user_id="u-nobody", project_id="p-one"),
}


class Tokens:
    """Tokens are the names of ``CALLERS``."""

    async def validate(self, token: str) -> Caller:
        if token not in CALLERS:
            raise Unauthenticated("The request you have made requires authentication.")
        return CALLERS[token]


class StoppedClock(SystemClock):
    """A wall clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at


def all_routes() -> list[Route]:
    """The rows of every module under test."""
    found: list[Route] = []
    for name in MODULES:
        found += import_module(f"kilonova.api.compute.{name}").ROUTES
    return found


class Api:
    """A client of the API, and the database behind it."""

    def __init__(self, http: httpx.AsyncClient, database: Database, clock: StoppedClock) -> None:
        self._http = http
        self.database = database
        self.clock = clock

    async def __call__(
        self, who: str | None, call: str, version: int = 1, body: Any = None, *, raw: bool = False
    ) -> httpx.Response:
        """``await api("member", "GET /flavors", 55)``; ``raw`` paths are not put below the version."""
        method, path = call.split(" ", 1)
        headers = {"openstack-api-version": f"compute 2.{version}"}
        if who is not None:
            headers["x-auth-token"] = who
        full = path if raw else f"/v2.1{path}"
        answer = await self._http.request(method, full, json=body, headers=headers)
        record(method, full, version, body, answer)
        return answer


def record(method: str, path: str, version: int, sent: Any, answer: httpx.Response) -> None:
    """For ``python -m tests.conformance judge``."""
    file = os.environ.get("KILONOVA_RECORD")
    if not file:
        return
    entry = {"method": method, "path": path, "version": version, "sent": sent, "status": answer.status_code}
    with Path(file).open("a") as out:
        out.write(json.dumps(entry | {"received": answer.json() if answer.content else None}) + "\n")


@asynccontextmanager
async def compute_api(directory: Path, routes: Sequence[Route] | None = None) -> AsyncIterator[Api]:
    """The API on an empty database."""
    clock = StoppedClock()
    rng = Random(7)
    settings = DatabaseSettings(url=f"sqlite:///{directory / 'test.db'}", durable=False)
    database = open_database(settings, clock, rng)
    await ensure_schema(database)
    table = RouteTable(all_routes() if routes is None else routes)
    nobody = cast(Any, None)  # images, networks and the bus: these resources ask none of them
    cloud = Deployment(
        config=Config(),
        database=database,
        bus=nobody,
        images=nobody,
        networks=nobody,
        clock=clock,
        ids=Ids(rng),
        random=rng,
        host="control",
    )
    rules = {route.rule: route.role for route in table.routes} | RULES | SERVER_RULES
    application = Application(COMPUTE, table, cloud, tokens=Tokens(), policy=Policy(rules), clock=clock, ids=Ids(rng))
    transport = httpx.ASGITransport(app=cast(Any, application))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as http:
        yield Api(http, database, clock)
    await database.close()
