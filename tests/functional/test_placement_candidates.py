"""Allocation candidates: which hosts could take a request, and how each microversion says so."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, ledger
from kilonova.database.tables import hosts
from kilonova.messaging.contract import Need
from tests.functional.compute_api import NOW
from tests.functional.placement_api import LATEST, UNKNOWN, Api, placement_api, uuid

PATH = "GET /allocation_candidates"
EAST = "30000000-0000-4000-8000-000000000001"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Hosts one and two; one is in an aggregate, has licenses in threes, a trait of its own, and less memory left."""
    async with placement_api(tmp_path) as opened:
        await opened.ok("PUT /traits/CUSTOM_FAST")
        await opened.ok("PUT /resource_classes/CUSTOM_LICENSE")
        one = f"/resource_providers/{uuid(1)}"
        body: dict[str, Any] = {"traits": ["CUSTOM_FAST"], "resource_provider_generation": 0}
        await opened.ok(f"PUT {one}/traits", body=body)
        body = {"resource_class": "CUSTOM_LICENSE", "total": 12, "min_unit": 3, "max_unit": 9, "step_size": 3}
        await opened.ok(f"POST {one}/inventories", body=body)
        await opened.database.run(_settle)
        yield opened


def _settle(connection: Connection) -> None:
    made = aggregates.insert(connection, uuid=EAST, name="east", zone=None, now=NOW)
    aggregates.add_host(connection, made.id, "one", NOW)
    need = Need(vcpus=2, memory_mb=5_000, disk_gb=0)
    assert ledger.claim(connection, server_id="s", project_id="p", host="one", need=need, now=NOW)


async def found(api: Api, query: str, minor: int = LATEST) -> list[int]:
    answer = await api.ok(f"{PATH}?{query}", minor)
    requests = [next(iter(request["allocations"])) for request in answer["allocation_requests"]]
    assert set(requests) == set(answer["provider_summaries"])
    return [int(one[-12:]) for one in requests]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("resources=VCPU:1", [1, 2]),
        ("resources=VCPU:1&limit=1", [1]),
        ("resources=VCPU:31", [2]),
        ("resources=VCPU:33", []),
        ("resources=VCPU:1,MEMORY_MB:10001", [2]),
        ("resources=CUSTOM_LICENSE:3", [1]),
        ("resources=CUSTOM_LICENSE:4", []),  # not a whole number of steps
        ("resources=CUSTOM_LICENSE:12", []),  # more than one may have
        ("resources1=CUSTOM_LICENSE:6&resources2=CUSTOM_LICENSE:6&group_policy=none", [1]),
        ("resources1=CUSTOM_LICENSE:9&resources2=CUSTOM_LICENSE:6&group_policy=none", []),
        ("resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate", []),
        ("resources=VCPU:1&resources2=VCPU:1&group_policy=isolate", [1, 2]),
        ("resources=VCPU:16&resources2=VCPU:15&group_policy=none", [2]),
        ("resources=VCPU:1&required=CUSTOM_FAST", [1]),
        ("resources=VCPU:1&required=!CUSTOM_FAST", [2]),
        ("resources=VCPU:1&required=in:CUSTOM_FAST,HW_CPU_X86_AVX2", [1]),
        ("resources=VCPU:1&resources_A=DISK_GB:1&required_A=CUSTOM_FAST", [1]),
        ("resources=VCPU:1&required=COMPUTE_NODE&resources_A=DISK_GB:1&required_A=!CUSTOM_FAST", [2]),
        ("resources=VCPU:1&root_required=CUSTOM_FAST", [1]),
        ("resources=VCPU:1&root_required=!CUSTOM_FAST", [2]),
        (f"resources=VCPU:1&member_of={EAST}", [1]),
        (f"resources=VCPU:1&member_of=!{EAST}", [2]),
        (f"resources=VCPU:1&in_tree={uuid(2)}", [2]),
        (f"resources=VCPU:1&in_tree={uuid(2)}&resources1=DISK_GB:1&in_tree1={uuid(1)}", []),
        (f"resources=VCPU:1&in_tree={UNKNOWN}", []),
        ("resources=VCPU:1&required_X=CUSTOM_FAST&resources_Y=DISK_GB:1&same_subtree=_X,_Y&group_policy=none", [1]),
        ("resources=VGPU:1", []),
    ],
)
async def test_who_could_take_it(api: Api, query: str, expected: list[int]) -> None:
    assert await found(api, query) == expected


@pytest.mark.parametrize(
    ("minor", "query"),
    [
        (10, "resources=VCPU:1&limit=1"),
        (16, "resources=VCPU:1&required=COMPUTE_NODE"),
        (20, f"resources=VCPU:1&member_of={EAST}"),
        (21, "resources=VCPU:1&required=!COMPUTE_NODE"),
        (24, "resources1=VCPU:1"),
        (30, f"resources=VCPU:1&in_tree={EAST}"),
        (32, "resources_A=VCPU:1"),
        (34, "resources=VCPU:1&root_required=COMPUTE_NODE"),
        (35, "resources1=VCPU:1&same_subtree=1"),
        (38, "resources=VCPU:1&required=in:COMPUTE_NODE"),
        (LATEST, ""),
        (LATEST, "required=COMPUTE_NODE"),
        (LATEST, "resources=VCPU:1&required1=COMPUTE_NODE"),
        (LATEST, f"resources=VCPU:1&member_of1={EAST}"),
        (LATEST, "resources=VCPU:1&limit=0"),
        (LATEST, "resources=VCPU:1&limit=many"),
        (LATEST, "resources=NOTHING:1"),
        (LATEST, "resources=VCPU:1&required=CUSTOM_UNKNOWN"),
        (LATEST, "resources=VCPU:1&required=CUSTOM_FAST,!CUSTOM_FAST"),
        (LATEST, "resources=VCPU:1&root_required=CUSTOM_FAST,!CUSTOM_FAST"),
        (LATEST, "resources=VCPU:1&root_required=in:CUSTOM_FAST"),
        (LATEST, "resources=VCPU:1&root_required=CUSTOM_FAST&root_required=COMPUTE_NODE"),
        (LATEST, "resources1=VCPU:1&resources2=VCPU:1"),
        (LATEST, "resources1=VCPU:1&resources2=VCPU:1&group_policy=perhaps"),
        (LATEST, "resources1=VCPU:1&same_subtree=2"),
        (LATEST, "resources=VCPU:1&same_subtree="),
        (LATEST, "resources=VCPU:1&surprise=1"),
        (LATEST, "&".join(f"resources{number}=VCPU:1" for number in range(1, 70)) + "&group_policy=none"),
    ],
)
async def test_questions_that_cannot_be_asked(api: Api, minor: int, query: str) -> None:
    await api.refused(400, f"{PATH}?{query}", minor)


async def test_how_a_microversion_says_it(api: Api) -> None:
    await api.refused(404, f"{PATH}?resources=VCPU:1", 9)
    old = await api.ok(f"{PATH}?resources=VCPU:1", 11)
    request = {"allocations": [{"resource_provider": {"uuid": uuid(1)}, "resources": {"VCPU": 1}}]}
    assert old["allocation_requests"][0] == request
    assert old["provider_summaries"][uuid(1)] == {"resources": {"VCPU": {"capacity": 32, "used": 2}}}
    newer = await api.ok(f"{PATH}?resources=VCPU:1", 28)
    assert newer["allocation_requests"][0] == {"allocations": {uuid(1): {"resources": {"VCPU": 1}}}}
    summary = newer["provider_summaries"][uuid(1)]
    assert set(summary) == {"resources", "traits"} and "CUSTOM_FAST" in summary["traits"]
    assert set(summary["resources"]) == {"VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_LICENSE"}
    newest = await api.ok(f"{PATH}?resources=VCPU:1&resources_A=VCPU:2,DISK_GB:1")
    assert newest["allocation_requests"][0] == {
        "allocations": {uuid(1): {"resources": {"VCPU": 3, "DISK_GB": 1}}},
        "mappings": {"": [uuid(1)], "_A": [uuid(1)]},
    }
    assert newest["provider_summaries"][uuid(1)]["root_provider_uuid"] == uuid(1)


async def test_they_are_found_however_many_hosts_do_not_suit(api: Api) -> None:
    """The trait is looked for in one batch of hosts after the other."""

    def more(connection: Connection) -> None:
        row = dict(connection.execute(hosts.select().where(hosts.c.host == "two")).one()._mapping)
        rows = [
            row
            | {"id": number, "host": f"h{number}", "uuid": uuid(number), "capabilities": {"architecture": "aarch64"}}
            for number in range(10, 1_300)
        ]
        rows.append(row | {"id": 1_300, "host": "last", "uuid": uuid(1_300)})
        connection.execute(hosts.insert(), rows)

    await api.database.run(more)
    assert await found(api, "resources=VCPU:1&required=HW_ARCH_X86_64") == [1, 2, 1_300]
    assert await found(api, "resources=VCPU:1&required=HW_ARCH_AARCH64&limit=600") == list(range(10, 610))
    assert len(await found(api, "resources=VCPU:1")) == 1_293
