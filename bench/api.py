"""What single calls of the Compute API cost, in a small cloud and beside 100,000 servers of others.

    python -m bench.api [--others 99000] [--small 50000] [--json]

Rows are written into the database directly, as copies of a server that the cloud has built. Wall times are those a client sees on
loopback, one request at a time; CPU is nova-all-in-one's alone. ``POST /servers`` comes twice: at once after another, whose
server is being built in the same process meanwhile, and with a rest between; the CPU of both includes the builds.
"""

import argparse
import json
import sqlite3
import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx

from bench.cloud import Cloud, embedded
from bench.servers import Client

OWN = 1000
_OTHER_PROJECTS = 99
_REST = 0.1  # seconds; a server is built in less


def measure(cloud: Cloud, times: int, call: Callable[[], httpx.Response], rest: float = 0.0) -> dict[str, float]:
    """Median, 99th percentile and CPU of one call; ``rest``: seconds between two."""
    for _ in range(3):
        call().raise_for_status()
    waits, cpu = [], cloud.cpu()
    for _ in range(times):
        time.sleep(rest)
        began = time.perf_counter()
        call().raise_for_status()
        waits.append(time.perf_counter() - began)
    used = cloud.cpu() - cpu
    waits.sort()
    return {
        "p50_ms": round(statistics.median(waits) * 1000, 2),
        "p99_ms": round(waits[min(len(waits) - 1, int(len(waits) * 0.99))] * 1000, 2),
        "cpu_ms": round(used / times * 1000, 2),
    }


def calls(cloud: Cloud, http: httpx.Client, server: str, image: str) -> dict[str, dict[str, float]]:
    """Every call that is measured."""
    body = {"server": {"name": "post", "imageRef": image, "flavorRef": "1", "networks": "auto"}}
    compute = "/compute/v2.1"
    return {
        f"GET /servers/detail ({OWN})": measure(cloud, 20, lambda: http.get(f"{compute}/servers/detail?limit={OWN}")),
        "GET /servers/detail?limit=50": measure(cloud, 60, lambda: http.get(f"{compute}/servers/detail?limit=50")),
        "GET /servers?name=": measure(cloud, 60, lambda: http.get(f"{compute}/servers?name=only-one")),
        "GET /servers/{id}": measure(cloud, 200, lambda: http.get(f"{compute}/servers/{server}")),
        "POST /servers, at once": measure(cloud, 40, lambda: http.post(f"{compute}/servers", json=body)),
        "POST /servers, with rests": measure(cloud, 40, lambda: http.post(f"{compute}/servers", json=body), _REST),
        "GET /flavors/{id}": measure(cloud, 100, lambda: http.get(f"{compute}/flavors/1")),
        "GET /flavors/detail?limit=50": measure(cloud, 40, lambda: http.get(f"{compute}/flavors/detail?limit=50")),
        "GET /os-keypairs?limit=50": measure(cloud, 40, lambda: http.get(f"{compute}/os-keypairs?limit=50")),
        "GET /os-keypairs/{name}": measure(cloud, 100, lambda: http.get(f"{compute}/os-keypairs/bench")),
        "GET /os-aggregates/{id}": measure(cloud, 100, lambda: http.get(f"{compute}/os-aggregates/1")),
        "GET /os-availability-zone": measure(cloud, 40, lambda: http.get(f"{compute}/os-availability-zone")),
        "GET /os-hypervisors/detail": measure(cloud, 40, lambda: http.get(f"{compute}/os-hypervisors/detail")),
        "GET /limits": measure(cloud, 40, lambda: http.get(f"{compute}/limits")),
    }


def fill(cloud: Cloud, server: str, project: str, others: int) -> None:
    """``OWN`` copies of a server in its project, and ``others`` in other ones. They are on a host that nobody asks about."""
    with closing(sqlite3.connect(cloud.directory / "state" / "kilonova.db", timeout=60.0)) as database, database:
        columns = [row[1] for row in database.execute("pragma table_info(servers)") if row[1] != "seq"]
        template = database.execute(f"select {', '.join(columns)} from servers where id = ?", (server,)).fetchone()
        row = dict(zip(columns, template, strict=True)) | {"host": "elsewhere", "action_id": None}

        def copy(number: int, of: str) -> tuple[Any, ...]:
            created = int(row["created_at"]) + number
            return tuple((row | {"id": str(uuid.uuid4()), "project_id": of, "created_at": created}).values())

        statement = f"insert into servers ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        rows = [copy(number, f"{number % _OTHER_PROJECTS:032x}") for number in range(others)]
        rows += [copy(others + number, project) for number in range(OWN if not others else 0)]
        database.executemany(statement, rows)


def crowd(cloud: Cloud, count: int) -> None:
    """Many flavors, keypairs and aggregates, as copies of one each."""
    with closing(sqlite3.connect(cloud.directory / "state" / "kilonova.db", timeout=60.0)) as database, database:
        for table, key, unique in (
            ("flavors", "id", ("flavorid", "name")),
            ("keypairs", "id", ("name",)),
            ("aggregates", "id", ("name", "uuid")),
        ):
            columns = [row[1] for row in database.execute(f"pragma table_info({table})") if row[1] != key]
            template = database.execute(f"select {', '.join(columns)} from {table} limit 1").fetchone()
            row = dict(zip(columns, template, strict=True))
            copies = [tuple((row | dict.fromkeys(unique, f"copy-{number}")).values()) for number in range(count)]
            database.executemany(
                f"insert into {table} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})", copies
            )


async def prepare(cloud: Cloud) -> tuple[dict[str, str], str, str, str]:
    """A server to copy, and one keypair and aggregate; headers, server, its project, image."""
    client = Client(cloud)
    await client.login()
    server = await client.boot("only-one")
    await client.active(server)
    found = (await client.http.get(f"/compute/v2.1/servers/{server}")).json()["server"]
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfB1o9cGhv7bWB1v1q7Wf1uKZ2y0YpYdJb0b1m2Q3Xk bench"
    made = await client.http.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "bench", "public_key": key}})
    made.raise_for_status()
    made = await client.http.post("/compute/v2.1/os-aggregates", json={"aggregate": {"name": "bench"}})
    made.raise_for_status()
    headers = dict(client.http.headers)
    await client.http.aclose()
    return headers, server, str(found["tenant_id"]), client.image


def run(others: int, small: int) -> dict[str, Any]:
    """The calls in a cloud of ``OWN`` servers, and again with all the others around."""
    import asyncio

    with embedded(2) as cloud:
        cloud.wait()
        headers, server, project, image = asyncio.run(prepare(cloud))
        wanted = {name: headers[name] for name in ("x-auth-token", "openstack-api-version")}
        with httpx.Client(base_url=cloud.url, headers=wanted, trust_env=False, timeout=60.0) as http:
            fill(cloud, server, project, 0)
            alone = calls(cloud, http, server, image)
            fill(cloud, server, project, others)
            crowd(cloud, small)
            return {"alone": alone, "among_others": calls(cloud, http, server, image)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=int, default=99_000, help="servers of other projects")
    parser.add_argument("--small", type=int, default=50_000, help="flavors, keypairs and aggregates, each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.others, options.small)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{'':<28} {OWN} servers in all{'':<18} {options.others:,} of others, {options.small:,} flavors, keypairs, aggregates"
    )
    for name, alone in result["alone"].items():
        print(f"  {name:<28} {_words(alone):<38} {_words(result['among_others'][name])}")


def _words(figures: dict[str, float]) -> str:
    return f"{figures['p50_ms']} ms, p99 {figures['p99_ms']}, cpu {figures['cpu_ms']}"


if __name__ == "__main__":
    main()
