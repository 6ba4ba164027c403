"""Placement on every networked database: the same answers, and who writes at the same moment."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, ledger, topologies
from kilonova.messaging.contract import Need
from kilonova.model.topology.machine import Cell, Topology
from kilonova.model.topology.request import CellRequest, TopologyRequest
from tests.backing_fixtures import fresh_database
from tests.functional.compute_api import NOW
from tests.functional.compute_rows import insert_host, insert_server, server_id
from tests.functional.placement_api import LATEST, TERMS, UNKNOWN, Api, placement_api, uuid

pytestmark = pytest.mark.distributed
ONE = f"/resource_providers/{uuid(1)}"
EAST = "30000000-0000-4000-8000-000000000001"


@pytest.fixture(params=["mariadb", "postgresql"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Api]:
    async with fresh_database(request, tmp_path) as url, placement_api(tmp_path, url=url) as opened:
        yield opened


async def test_reading_and_writing(api: Api) -> None:
    def settle(connection: Connection) -> None:
        made = aggregates.insert(connection, uuid=EAST, name="east", zone=None, now=NOW)
        aggregates.add_host(connection, made.id, "one", NOW)
        insert_server(connection, "s1", host="one")
        need = Need(vcpus=2, memory_mb=512, disk_gb=0)
        for server, host in ((server_id("s1"), "one"), (UNKNOWN, "two")):
            assert ledger.claim(connection, server_id=server, project_id="p-one", host=host, need=need, now=NOW)
        cells = [Cell(id=0, shared=[0, 1, 2, 3], dedicated=[4, 5, 6, 7], memory_mb=16_000)]
        topologies.describe(connection, "one", Topology(cells=cells))
        pinned = TopologyRequest(cells=[CellRequest(dedicated=[0, 1], memory_mb=512)])
        assert topologies.take(connection, "one", server_id("s1"), pinned) is not None

    await api.database.run(settle)
    await api.ok("PUT /traits/CUSTOM_FAST")
    await api.ok("PUT /resource_classes/CUSTOM_LICENSE")
    now = await api.ok(f"GET {ONE}/inventories")
    now["inventories"]["VCPU"]["allocation_ratio"] = 1.1
    now["inventories"]["CUSTOM_LICENSE"] = {"total": 10, "step_size": 5, "allocation_ratio": 1.3}
    changed = await api.ok(f"PUT {ONE}/inventories", body=now)
    assert changed["inventories"]["VCPU"]["allocation_ratio"] == 1.1
    assert changed["inventories"]["CUSTOM_LICENSE"]["allocation_ratio"] == 1.3
    generation = changed["resource_provider_generation"]
    await api.ok(f"PUT {ONE}/traits", body={"traits": ["CUSTOM_FAST"], "resource_provider_generation": generation})
    asked = f"resources=VCPU:1,CUSTOM_LICENSE:10&required=CUSTOM_FAST&member_of={EAST}&limit=5"
    found = await api.ok(f"GET /allocation_candidates?{asked}")
    assert list(found["provider_summaries"]) == [uuid(1)]
    assert (await api.ok("GET /allocation_candidates?resources=CUSTOM_LICENSE:4"))["allocation_requests"] == []
    nothing = await api.ok("GET /allocation_candidates?resources=VCPU:99999999999999999999,CUSTOM_LICENSE:5")
    assert nothing["allocation_requests"] == []
    for processors, hosts in ((2, [uuid(1)]), (3, [])):
        found = await api.ok(f"GET /allocation_candidates?resources=PCPU:{processors}")
        assert list(found["provider_summaries"]) == hosts
    of_project = {"INSTANCE": {"VCPU": 4, "MEMORY_MB": 1024, "PCPU": 2, "consumer_count": 2}}
    assert await api.ok("GET /usages?project_id=p-one") == {"usages": of_project}
    assert list((await api.ok(f"GET /allocations/{server_id('s1')}"))["allocations"]) == [uuid(1)]
    assert (await api(f"DELETE /allocations/{UNKNOWN}")).status_code == 204
    assert (await api.ok(f"GET /resource_providers/{uuid(2)}/usages"))["usages"]["VCPU"] == 0
    assert set((await api.ok("GET /traits?associated=true"))["traits"]) >= {"CUSTOM_FAST", "COMPUTE_NODE"}
    assert await api.ok(f"PUT {ONE}/aggregates", 18, []) == {"aggregates": []}


async def test_of_those_who_know_the_same_generation_one_writes(api: Api) -> None:
    body = {"resource_provider_generation": 0, "total": 8}
    answers = await asyncio.gather(
        *(api(f"PUT {ONE}/inventories/VCPU", LATEST, body | {"allocation_ratio": float(r)}) for r in range(1, 9))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}


async def test_the_same_name_made_at_once(api: Api) -> None:
    answers = await asyncio.gather(*(api("PUT /traits/CUSTOM_FAST") for _ in range(6)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 204: 5}
    answers = await asyncio.gather(*(api("POST /resource_classes", 2, {"name": "CUSTOM_A"}) for _ in range(6)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 5}


async def test_a_name_is_given_or_removed_but_not_both(api: Api) -> None:
    await api.ok("PUT /traits/CUSTOM_FAST")
    body: dict[str, Any] = {"traits": ["CUSTOM_FAST"], "resource_provider_generation": 0}
    given, removed = await asyncio.gather(api(f"PUT {ONE}/traits", LATEST, body), api("DELETE /traits/CUSTOM_FAST"))
    assert (given.status_code, removed.status_code) in ((200, 409), (400, 204))


async def test_claims_and_reports_and_terms_at_once(api: Api) -> None:
    """Whatever comes first, what can be claimed is what the terms say, and every change has counted."""

    def claim(connection: Connection, number: int) -> bool:
        need = Need(vcpus=1, memory_mb=1, disk_gb=0)
        return ledger.claim(connection, server_id=f"s{number}", project_id="p", host="one", need=need, now=NOW)

    def report(connection: Connection, cores: int) -> None:
        insert_host(connection, 1, "one", **TERMS, vcpus=cores, vcpus_capacity=cores * 4)

    async def terms() -> int:
        answer = None
        while answer is None or answer.status_code == 409:
            shown = await api.ok(f"GET {ONE}/inventories/VCPU")
            answer = await api(f"PUT {ONE}/inventories/VCPU", LATEST, shown | {"allocation_ratio": 8.0})
        return answer.status_code

    claimed = [api.database.run(claim, number) for number in range(10)]
    reported = [api.database.run(report, cores) for cores in (9, 10)]
    results = await asyncio.gather(*claimed, terms(), *reported)
    assert results[:11] == [True] * 10 + [200]
    cores = await api.ok(f"GET {ONE}/inventories/VCPU")
    assert (cores["allocation_ratio"], cores["max_unit"]) == (8.0, cores["total"] * 8)
    assert (await api.ok(f"GET {ONE}/usages"))["usages"]["VCPU"] == 10
    assert cores["resource_provider_generation"] >= 11
