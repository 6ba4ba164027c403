"""Hosts that Nova and Placement know as up and no process stands behind: what a scheduler chooses among by the hundred.

Each is a copy of a real FakeDriver host's rows in Nova's databases, and a provider made through Placement's API. They are for
when no nova-compute runs any more: then all hosts are equal, and only ``beat`` says that they are alive.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncmy
import httpx

from bench.nova.deployment import Deployment
from bench.nova.preparation import tables, token

_INVENTORY = {"VCPU": (1_000, 4.0), "MEMORY_MB": (800_000, 1.0), "DISK_GB": (600_000, 1.0)}
"""What the FakeDriver reports of its host: total and allocation ratio."""


class Phantoms:
    """The phantom hosts of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._site = deployment.site
        self._deployment = deployment

    async def seed(self, total: int) -> None:
        """Add as many as are missing to ``total`` hosts, the real ones among them."""
        ((real,),) = await self.sql("nova", "SELECT COUNT(*) FROM compute_nodes WHERE deleted=0")
        hosts = [(f"phantom{number}", str(uuid.uuid4())) for number in range(total - int(real))]
        await self._copy("compute_nodes", hosts, ("id", "uuid", "host", "hypervisor_hostname"))
        await self._copy("services", [(host, str(uuid.uuid4())) for host, _ in hosts], ("id", "uuid", "host"))
        ((cell,),) = await self.sql("nova_api", "SELECT id FROM cell_mappings WHERE name='cell1'")
        await self._write(
            "nova_api",
            "INSERT INTO host_mappings (cell_id, host, created_at) VALUES (%s, %s, NOW())",
            [(cell, host) for host, _ in hosts],
        )
        await self._providers(hosts)

    async def beat(self) -> None:
        """Let every host look alive for another minute, as its nova-compute would."""
        await self.sql(
            "nova",
            "UPDATE services SET updated_at=UTC_TIMESTAMP(), last_seen_up=UTC_TIMESTAMP(), report_count=report_count+1"
            " WHERE `binary`='nova-compute'",
        )

    async def sql(self, database: str, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """One statement, committed; its rows."""
        async with self._cursor(database) as cursor:
            await cursor.execute(statement, arguments or None)
            return list(await cursor.fetchall())

    async def _write(self, database: str, statement: str, rows: Sequence[Sequence[object]]) -> None:
        async with self._cursor(database) as cursor:
            for row in rows:
                await cursor.execute(statement, row)

    @asynccontextmanager
    async def _cursor(self, database: str) -> AsyncIterator[Any]:
        connection = await asyncmy.connect(db=database, autocommit=True, **tables(self._site.database))
        try:
            async with connection.cursor() as cursor:
                yield cursor
        finally:
            await connection.ensure_closed()

    async def _copy(self, table: str, hosts: list[tuple[str, str]], own: tuple[str, ...]) -> None:
        """Rows of ``table`` like that of the first real host, but for the columns in ``own``."""
        columns = await self.sql(
            "information_schema",
            "SELECT column_name FROM columns WHERE table_schema='nova' AND table_name=%s",
            (table,),
        )
        shared = ", ".join(f"`{name}`" for (name,) in columns if name not in own)
        named = ", ".join(name for name in own if name != "id")
        marks = ", ".join("%s" for name in own if name != "id")
        statement = (
            f"INSERT INTO {table} ({named}, {shared}) SELECT {marks}, {shared} FROM {table}"
            " WHERE host='fake1' AND deleted=0"
        )
        values = [(identity, *(host for name in own if name not in ("id", "uuid"))) for host, identity in hosts]
        await self._write("nova", statement, values)

    async def _providers(self, hosts: list[tuple[str, str]]) -> None:
        inventories = {
            name: {"total": total, "max_unit": total, "allocation_ratio": ratio}
            for name, (total, ratio) in _INVENTORY.items()
        }
        waiting = iter(hosts)
        async with placement(self._deployment) as client:

            async def writer() -> None:
                for host, identity in waiting:
                    body: dict[str, Any] = {"name": host, "uuid": identity}
                    (await client.post("/resource_providers", json=body)).raise_for_status()
                    body = {"resource_provider_generation": 0, "inventories": inventories}
                    url = f"/resource_providers/{identity}/inventories"
                    (await client.put(url, json=body)).raise_for_status()

            async with asyncio.TaskGroup() as writers:
                for _ in range(2):
                    writers.create_task(writer())


def placement(deployment: Deployment) -> httpx.AsyncClient:
    """A client of the Placement API as its administrator."""
    headers = {"x-auth-token": token(deployment), "openstack-api-version": "placement 1.39"}
    return httpx.AsyncClient(base_url=deployment.site.placement, headers=headers, trust_env=False, timeout=120.0)
