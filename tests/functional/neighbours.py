"""A cloud's neighbours in this process: what the functional tests drive.

On SQLite in a directory of the test, or on the database that ``KILONOVA_TEST_DATABASE`` names, which is emptied.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import Connection

from kilonova import identity, image, network, placement
from kilonova.database import tables
from kilonova.database.connection import Database, DatabaseSettings, open_database
from kilonova.database.schema import ensure_schema
from kilonova.model.clock import Clock, Ids
from kilonova.network.settings import QUOTAS

PASSWORD = "correct horse"
START = 1_790_000_000_000_000


class FakeClock:
    """Time that only moves when the test says so."""

    def __init__(self) -> None:
        self.micros = START

    def now(self) -> int:
        return self.micros

    def monotonic(self) -> float:
        return self.micros / 1e6

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.micros += int(seconds * 1e6)


class Neighbours:
    """Everything a test needs; made by :func:`start`."""

    clock: Any
    ids: Ids
    rng: random.Random
    database: Database
    identity: identity.Identity
    images: image.EmbeddedImages
    networks: network.EmbeddedNetworks
    placement: placement.EmbeddedPlacement
    bootstrapped: identity.Bootstrapped
    applications: dict[str, Any]
    state_dir: Path

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A client of all services under one host, with a token or without."""
        headers = {"x-auth-token": token} if token else {}
        transport = httpx.ASGITransport(app=self.mounted)
        return httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774", headers=headers)

    async def mounted(self, scope: Any, receive: Any, send: Any) -> None:
        """The applications under their paths, as nova-api mounts them."""
        if scope["type"] != "http":
            return
        mount = "/" + scope["path"].split("/")[1]
        await self.applications[mount]({**scope, "root_path": mount}, receive, send)

    async def close(self) -> None:
        """Give everything back."""
        self.images.close()
        await self.database.close()

    async def token(self, name: str = "admin", project: str | None = "admin", password: str = PASSWORD) -> str:
        """Log in by password."""
        auth: dict[str, Any] = {"identity": by_password(name, password)}
        auth["scope"] = {"project": {"name": project, "domain": {"id": "default"}}} if project else "unscoped"
        async with self.client() as client:
            answer = await client.post("/identity/v3/auth/tokens", json={"auth": auth})
        assert answer.status_code == 201, answer.text
        return answer.headers["x-subject-token"]


def by_password(name: str, password: str = PASSWORD) -> dict[str, Any]:
    """The ``identity`` object of a log-in."""
    user = {"name": name, "domain": {"name": "Default"}, "password": password}
    return {"methods": ["password"], "password": {"user": user}}


def _empty(connection: Connection) -> None:
    for table in tables.metadata.sorted_tables:
        connection.execute(table.delete())


async def start(
    tmp_path: Path, url: str | None = None, *, clock: Clock | None = None, cidr: str = "10.200.0.0/16", **images: Any
) -> Neighbours:
    """Schema, bootstrap, applications."""
    n = Neighbours()
    n.state_dir = tmp_path
    n.clock = clock or FakeClock()
    n.rng = random.Random(7)
    n.ids = Ids(n.rng)
    url = url or os.environ.get("KILONOVA_TEST_DATABASE") or f"sqlite:///{tmp_path / 'cloud.db'}"
    settings = DatabaseSettings(url=url, durable=False)
    n.database = open_database(settings, n.clock, n.rng)
    await ensure_schema(n.database)
    await n.database.run(_empty)
    n.identity = await identity.open_identity(
        n.database,
        clock=n.clock,
        ids=n.ids,
        rng=n.rng,
        settings=identity.IdentitySettings(hash_log_n=4),
        catalog=identity.standard_catalog(placement=True),
    )
    n.bootstrapped = await identity.bootstrap_identity(n.identity, PASSWORD)
    n.images = await image.open_images(
        n.database,
        clock=n.clock,
        ids=n.ids,
        rng=n.rng,
        settings=image.ImageSettings(directory=tmp_path / "images", internal_url="http://cloud.test:8774", **images),
    )
    n.networks = network.EmbeddedNetworks(
        n.database, n.clock, n.ids, network.NetworkSettings(cidr=cidr, quotas={**QUOTAS, "port": 5})
    )
    await n.networks.bootstrap(n.bootstrapped.admin_project_id)
    n.placement = placement.EmbeddedPlacement(database=n.database, clock=n.clock, ids=n.ids)
    n.applications = {
        "/placement": placement.application(n.placement, tokens=n.identity),
        "/identity": identity.application(n.identity),
        "/network": network.application(n.networks, tokens=n.identity),
        "/image": image.application(n.images, tokens=n.identity),
    }
    return n


@asynccontextmanager
async def on_a_server(request: pytest.FixtureRequest, tmp_path: Path, system: str) -> AsyncIterator[Neighbours]:
    """The same over a fresh database of ``mariadb`` or ``postgresql``, which is gone afterwards."""
    server = request.getfixturevalue(f"{system}_server")
    name = re.sub(r"[^a-z0-9]", "_", f"{tmp_path.parent.name[-12:]}_{tmp_path.name[-40:]}".lower())
    neighbours = await start(tmp_path, await asyncio.to_thread(server.create_database, f"n_{name}"))
    try:
        yield neighbours
    finally:
        await neighbours.close()
        await asyncio.to_thread(server.drop_database, f"n_{name}")
