"""What one server costs, from POST to ACTIVE: one at a time, and many in a burst.

    python -m bench.servers [--distributed] [--hosts 10] [--one-by-one 50] [--burst 1000] [--json]

CPU is that of all our processes together, the answers to this client's polls included; wall times are noisy on a shared machine.
``bench.beside_nova`` puts real Nova beside them, and counts the database and the broker too.
"""

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

import httpx

from bench.cloud import PASSWORD, Cloud, distributed, embedded


class Client:
    """A client as cheap as it gets: what it costs itself is not counted."""

    def __init__(self, cloud: Cloud) -> None:
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        self.http = httpx.AsyncClient(base_url=cloud.url, trust_env=False, limits=limits, timeout=60.0)
        self.image = ""

    async def login(self) -> None:
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        answer = await self.http.post("/identity/v3/auth/tokens", json={"auth": auth})
        answer.raise_for_status()
        self.http.headers["x-auth-token"] = answer.headers["x-subject-token"]
        self.http.headers["openstack-api-version"] = "compute 2.100"
        body = {"name": "empty", "disk_format": "raw", "container_format": "bare"}
        image = (await self.http.post("/image/v2/images", json=body)).raise_for_status().json()["id"]
        headers = {"content-type": "application/octet-stream"}
        (
            await self.http.put(f"/image/v2/images/{image}/file", content=b"\0" * 512, headers=headers)
        ).raise_for_status()
        self.image = image

    async def boot(self, name: str) -> str:
        body = {"name": name, "imageRef": self.image, "flavorRef": "1", "networks": "auto"}
        answer = await self.http.post("/compute/v2.1/servers", json={"server": body})
        answer.raise_for_status()
        return str(answer.json()["server"]["id"])

    async def count(self, status: str) -> int:
        answer = await self.http.get("/compute/v2.1/servers", params={"status": status, "limit": 1})
        return len(answer.json()["servers"])

    async def active(self, server_id: str) -> None:
        while True:
            server = (await self.http.get(f"/compute/v2.1/servers/{server_id}")).json()["server"]
            if server["status"] == "ACTIVE":
                return
            if server["status"] == "ERROR":
                raise SystemExit(f"server failed: {server['fault']}")
            await asyncio.sleep(0.02)


async def one_by_one(client: Client, cloud: Cloud, count: int) -> dict[str, Any]:
    waits: list[float] = []
    cpu = cloud.cpu()
    for number in range(count):
        began = time.monotonic()
        await client.active(await client.boot(f"one-{number}"))
        waits.append(time.monotonic() - began)
    return {
        "servers": count,
        "cpu_ms_per_server": round((cloud.cpu() - cpu) / count * 1000, 2),
        "active_p50_ms": round(statistics.median(waits) * 1000, 1),
        "servers_per_s": round(count / sum(waits), 1),
    }


async def burst(client: Client, cloud: Cloud, count: int) -> dict[str, Any]:
    before, cpu, began = cloud.cpu_by_process(), cloud.cpu(), time.monotonic()
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> float:
        async with gate:
            posted = time.monotonic()
            await client.boot(f"burst-{number}")
            return time.monotonic() - posted

    posts = await asyncio.gather(*(one(number) for number in range(count)))
    while await client.count("BUILD"):
        await asyncio.sleep(0.2)
    wall = time.monotonic() - began
    if await client.count("ERROR"):
        raise SystemExit("some servers failed")
    after = cloud.cpu_by_process()
    return {
        "servers": count,
        "cpu_ms_per_server": round((cloud.cpu() - cpu) / count * 1000, 2),
        "post_p50_ms": round(statistics.median(posts) * 1000, 1),
        "servers_per_s": round(count / wall, 1),
        "cpu_ms_by_process": {name: round((after[name] - before[name]) / count * 1000, 2) for name in after},
    }


async def measure(cloud: Cloud, hosts: int, singles: int, many: int) -> dict[str, Any]:
    client = Client(cloud)
    await client.login()
    while len((await client.http.get("/compute/v2.1/os-hypervisors")).json()["hypervisors"]) < hosts:
        await asyncio.sleep(0.1)
    await one_by_one(client, cloud, 10)  # warm: imports, compiled statements
    result = {"one_by_one": await one_by_one(client, cloud, singles), "burst": await burst(client, cloud, many)}
    await client.http.aclose()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--one-by-one", type=int, default=50)
    parser.add_argument("--burst", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shape = distributed if options.distributed else embedded
    with shape(options.hosts) as cloud:
        cloud.wait()
        result = asyncio.run(measure(cloud, options.hosts, options.one_by_one, options.burst))
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'distributed' if options.distributed else 'embedded'}, {options.hosts} fake hosts")
    for work, figures in result.items():
        print(f"  {work:<11}", "  ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
