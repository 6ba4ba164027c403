"""What a running real Nova is measured by: servers, decisions, allocation candidates."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncmy
import httpx

from bench import closed_loop
from bench.closed_loop import Cost
from bench.nova.deployment import Deployment
from bench.nova.phantoms import Phantoms, placement
from bench.nova.preparation import session, tables
from bench.nova.stand_ins import IMAGE_ID

CANDIDATES = "/allocation_candidates?resources=VCPU:1,MEMORY_MB:64,DISK_GB:1&limit=1000"
_TOO_LONG = 180.0


class Servers:
    """Boots servers. Whether they are ACTIVE is read from the cell's table every 20 ms: Nova has no polls to answer."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._awaited: dict[str, asyncio.Future[str]] = {}
        with session(deployment) as nova:
            body = {"id": "bench", "name": "bench", "vcpus": 1, "ram": 64, "disk": 1}
            nova.post("/flavors", json={"flavor": body}).raise_for_status()
            self._headers = nova.headers
        self.last = ""

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Within it, ``boot`` can be called."""
        url = self._deployment.site.nova
        async with httpx.AsyncClient(
            base_url=url, headers=self._headers, trust_env=False, timeout=120.0
        ) as self._http:
            watch = asyncio.create_task(self._watch())
            try:
                yield
            finally:
                watch.cancel()

    async def boot(self, number: int) -> None:
        """POST to ACTIVE. Raises ``SystemExit`` if it fails or takes minutes."""
        body = {"name": f"bench-{number}", "imageRef": IMAGE_ID, "flavorRef": "bench", "networks": "none"}
        answer = (await self._http.post("/servers", json={"server": body})).raise_for_status()
        server = str(answer.json()["server"]["id"])
        future = self._awaited[server] = asyncio.get_running_loop().create_future()
        try:
            state = await asyncio.wait_for(future, _TOO_LONG)
        except TimeoutError:
            self._deployment.check()
            raise SystemExit(f"Nova: a server was not ACTIVE within {_TOO_LONG:g} s") from None
        finally:
            del self._awaited[server]
        if state != "active":
            fault = (await self._http.get(f"/servers/{server}")).json()["server"].get("fault")
            raise SystemExit(f"Nova: a server failed: {fault}")
        self.last = server

    async def _watch(self) -> None:
        connection = await asyncmy.connect(autocommit=True, **tables(self._deployment.site.database))
        async with connection.cursor() as cursor:
            while True:
                await asyncio.sleep(0.02)
                if not self._awaited:
                    continue
                marks = ", ".join(["%s"] * len(self._awaited))
                found = (f"SELECT uuid, vm_state FROM {cell}.instances WHERE uuid IN ({marks})" for cell in _CELLS)
                await cursor.execute(" UNION ".join(found), [*self._awaited, *self._awaited])
                for server, state in await cursor.fetchall():
                    future = self._awaited.get(server)
                    if state in ("active", "error") and future is not None and not future.done():
                        future.set_result(state)


_CELLS = ("nova", "nova_cell0")


async def servers(deployment: Deployment, count: int) -> tuple[dict[str, Cost], str]:
    """One client, then eight; also the uuid of a server that was booted."""
    booted = Servers(deployment)
    async with booted.watched():
        await closed_loop.run(booted.boot, 10, 2, deployment.used)  # warm: imports, connections, tokens
        found = {
            f"servers x{at_once}": await closed_loop.run(booted.boot, count, at_once, deployment.used)
            for at_once in (1, 8)
        }
    return found, booted.last


async def decisions(deployment: Deployment, server: str, count: int, phantoms: Phantoms) -> dict[str, Cost]:
    """``select_destinations`` of requests like that of ``server``, one at a time, then eight; the caller is not counted."""
    site = deployment.site
    script = Path(__file__).with_name("destinations.py")
    asker = await asyncio.create_subprocess_exec(
        *(site.program("python"), "-P", str(script), str(site.conf("nova")), server),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=deployment.variables(PYTHONWARNINGS="ignore"),
        cwd=site.directory,
    )

    async def ask(many: int, at_once: int) -> Cost:
        assert asker.stdin is not None and asker.stdout is not None
        await phantoms.beat()
        before = deployment.used_to_decide()
        asker.stdin.write(f"{many} {at_once}\n".encode())
        line = await asker.stdout.readline()
        if not line:
            raise SystemExit("Nova: select_destinations failed; what it said stands above")
        after = deployment.used_to_decide()
        taken = json.loads(line)
        await asker.stdout.readline()  # all claims have been given back
        return closed_loop.cost(taken["waits"], at_once, taken["wall"], before, after)

    try:
        await ask(4, 2)  # warm: both workers of the scheduler know the hosts
        return {f"decisions x{at_once}": await ask(count, at_once) for at_once in (1, 8)}
    finally:
        if asker.returncode is None:
            asker.kill()
        await asker.wait()


async def candidates(deployment: Deployment, count: int) -> dict[str, Cost]:
    """``GET /allocation_candidates``, one at a time, of all hosts (a thousand at most, as Nova asks)."""
    async with placement(deployment) as client:

        async def ask(_: int) -> None:
            (await client.get(CANDIDATES)).raise_for_status()

        await closed_loop.run(ask, 3, 1, deployment.used)
        return {"candidates x1": await closed_loop.run(ask, count, 1, deployment.used)}
