"""Placement's view of the hosts: providers, inventories, aggregates, and what an operator may write of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, host_inventories, ledger, membership
from kilonova.database.tables import host_inventories as inventories
from kilonova.messaging.contract import Need
from tests.functional.compute_api import NOW
from tests.functional.compute_rows import insert_host, insert_server, server_id
from tests.functional.placement_api import LATEST, TERMS, UNKNOWN, Api, placement_api, uuid

ONE = f"/resource_providers/{uuid(1)}"
EAST = "30000000-0000-4000-8000-000000000001"
WEST = "30000000-0000-4000-8000-000000000002"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with placement_api(tmp_path) as opened:
        yield opened


async def claim(api: Api, host: str = "one", **amounts: int) -> None:
    need = Need(**{"vcpus": 2, "memory_mb": 512, "disk_gb": 1, **amounts})

    def write(connection: Connection) -> bool:
        insert_server(connection, "s1", host=host)
        of = server_id("s1")
        return ledger.claim(connection, server_id=of, project_id="p-one", host=host, need=need, now=NOW)

    assert await api.database.run(write)


async def put(api: Api, name: str, minor: int = LATEST, **fields: Any) -> Any:
    """Write one inventory of host one under its generation."""
    body = {"resource_provider_generation": await api.generation(1), **fields}
    return await api(f"PUT {ONE}/inventories/{name}", minor, body)


async def test_the_version_document_needs_no_token(api: Api) -> None:
    answer = await api("GET /", 0, who="")
    (version,) = answer.json()["versions"]
    assert (version["min_version"], version["max_version"], version["id"]) == ("1.0", "1.39", "v1.0")


async def test_hosts_are_providers(api: Api) -> None:
    listed = (await api.ok("GET /resource_providers"))["resource_providers"]
    assert [(one["uuid"], one["name"]) for one in listed] == [(uuid(1), "one"), (uuid(2), "two")]
    assert listed[0] == await api.ok(f"GET {ONE}")
    assert listed[0]["root_provider_uuid"] == uuid(1) and listed[0]["parent_provider_uuid"] is None
    rels = {link["rel"]: link["href"] for link in listed[0]["links"]}
    assert rels["self"] == f"/placement{ONE}"
    assert set(rels) == {"self", "inventories", "usages", "aggregates", "traits", "allocations"}


async def test_what_a_microversion_shows_of_a_provider(api: Api) -> None:
    def rels(shown: Any) -> list[str]:
        return [link["rel"] for link in shown["links"]][1:]

    old = await api.ok(f"GET {ONE}", 0)
    assert set(old) == {"uuid", "name", "generation", "links"} and rels(old) == ["inventories", "usages"]
    assert rels(await api.ok(f"GET {ONE}", 6))[-1] == "traits"
    answer = await api(f"GET {ONE}", 15)
    assert answer.headers["last-modified"].endswith("GMT") and answer.headers["cache-control"] == "no-cache"
    assert "last-modified" not in (await api(f"GET {ONE}", 14)).headers


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=two", [2]),
        ("name=three", []),
        (f"uuid={uuid(2)}", [2]),
        (f"uuid={uuid(2).replace('-', '').upper()}", [2]),
        (f"in_tree={uuid(1)}", [1]),
        (f"in_tree={UNKNOWN}", []),
        ("resources=VCPU:32", [1, 2]),
        ("resources=VCPU:33", []),
        ("resources=VCPU:99999999999999999999", []),
        ("resources=MEMORY_MB:15000,DISK_GB:100", [1, 2]),
        ("resources=MEMORY_MB:15001", []),
        ("resources=VGPU:1", []),
        (f"member_of={EAST}", [1]),
        (f"member_of=in:{EAST},{WEST}", [1, 2]),
        (f"member_of={EAST}&member_of={WEST}", []),
        (f"member_of=!{EAST}", [2]),
        (f"member_of=!in:{EAST},{WEST}", []),
        ("required=COMPUTE_NODE", [1, 2]),
        ("required=!COMPUTE_NODE", []),
        ("required=in:COMPUTE_NODE,HW_CPU_X86_AVX2&required=HW_ARCH_X86_64", [1, 2]),
        ("required=HW_CPU_X86_AVX2", []),
    ],
)
async def test_filters(api: Api, query: str, found: list[int]) -> None:
    def group(connection: Connection) -> None:
        for number, (name, of) in enumerate(((EAST, "one"), (WEST, "two"))):
            made = aggregates.insert(connection, uuid=name, name=f"a{number}", zone=None, now=NOW)
            aggregates.add_host(connection, made.id, of, NOW)

    await api.database.run(group)
    listed = (await api.ok(f"GET /resource_providers?{query}"))["resource_providers"]
    assert [one["uuid"] for one in listed] == [uuid(number) for number in found]


@pytest.mark.parametrize(
    ("minor", "query"),
    [
        (0, f"member_of={EAST}"),
        (3, "resources=VCPU:1"),
        (13, f"in_tree={EAST}"),
        (17, "required=COMPUTE_NODE"),
        (21, "required=!COMPUTE_NODE"),
        (38, "required=in:COMPUTE_NODE,HW_ARCH_X86_64"),
        (23, f"member_of={EAST}&member_of={WEST}"),
        (31, f"member_of=!{EAST}"),
        (LATEST, "nonsense=1"),
        (LATEST, "uuid=nonsense"),
        (LATEST, "in_tree=nonsense"),
        (LATEST, "member_of=nonsense"),
        (LATEST, f"member_of={EAST},{WEST}"),
        (LATEST, "resources=VCPU"),
        (LATEST, "resources=VCPU:0"),
        (LATEST, "resources=VCPU:-1"),
        (LATEST, "resources="),
        (LATEST, "resources=NOTHING:1"),
        (LATEST, "required="),
        (LATEST, "required=!"),
        (LATEST, "required=in:!COMPUTE_NODE"),
        (LATEST, "required=CUSTOM_UNKNOWN"),
        (LATEST, "&".join(f"member_of={EAST}" for _ in range(300))),
    ],
)
async def test_questions_that_cannot_be_asked(api: Api, minor: int, query: str) -> None:
    await api.refused(400, f"GET /resource_providers?{query}", minor)


async def test_a_question_as_long_as_allowed(api: Api) -> None:
    query = "&".join(f"member_of={EAST}" for _ in range(200))
    assert (await api.ok(f"GET /resource_providers?{query}")) == {"resource_providers": []}


async def test_providers_come_and_go_with_their_hosts_only(api: Api) -> None:
    refusal = await api.refused(409, "POST /resource_providers", body={"name": "mine"})
    assert "compute host" in refusal
    assert "compute host" in await api.refused(409, f"DELETE {ONE}")
    await api.refused(409, f"PUT {ONE}", body={"name": "other"})
    await api.refused(409, f"PUT {ONE}", body={"name": "one", "parent_provider_uuid": uuid(2)})
    assert (await api.ok(f"PUT {ONE}", body={"name": "one"}))["name"] == "one"
    await api.refused(404, f"DELETE /resource_providers/{UNKNOWN}")
    await api.refused(400, "POST /resource_providers", body={"name": "x" * 201})

    def forget(connection: Connection) -> int:
        membership.delete_service(connection, 1)
        return len(connection.execute(inventories.select()).all())

    await api.ok("PUT /resource_classes/CUSTOM_A")
    assert (await api(f"POST {ONE}/inventories", body={"resource_class": "CUSTOM_A", "total": 1})).status_code == 201
    assert await api.database.run(forget) == 0
    await api.refused(404, f"GET {ONE}")


# --- inventories -------------------------------------------------------------------------------------------


async def test_what_a_host_has(api: Api) -> None:
    shown = await api.ok(f"GET {ONE}/inventories")
    assert shown["resource_provider_generation"] == 0
    cores = {"total": 8, "reserved": 0, "min_unit": 1, "max_unit": 32, "step_size": 1, "allocation_ratio": 4.0}
    assert shown["inventories"]["VCPU"] == cores
    memory = shown["inventories"]["MEMORY_MB"]
    assert (memory["total"], memory["reserved"], memory["allocation_ratio"]) == (16_000, 1_000, 1.0)
    assert shown["inventories"]["DISK_GB"]["total"] == 100
    one = await api.ok(f"GET {ONE}/inventories/VCPU")
    assert one == cores | {"resource_provider_generation": 0}
    await api.refused(404, f"GET {ONE}/inventories/CUSTOM_NOTHING")


async def test_every_claim_is_another_generation(api: Api) -> None:
    before = await api.generation(1)
    await claim(api)
    assert await api.generation(1) == before + 1
    assert (await api.ok(f"GET {ONE}/usages")) == {
        "resource_provider_generation": before + 1,
        "usages": {"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 1},
    }
    await api.database.run(ledger.give_back, server_id("s1"))
    assert await api.generation(1) == before + 2
    assert await api.generation(2) == 0


async def test_claims_made_together_are_another_generation_of_each_host(api: Api) -> None:
    need = Need(vcpus=1, memory_mb=1, disk_gb=0)
    claims = [("s1", "p", "one", need), ("s2", "p", "two", need), ("s3", "p", "two", need)]
    assert await api.database.run(ledger.claim_all, claims, NOW)
    assert (await api.generation(1), await api.generation(2)) == (1, 1)


async def test_the_scheduler_is_told_by_the_moment_of_the_change(api: Api) -> None:
    """It reads a host anew when its ``updated_at`` is later than its last look."""

    async def moment() -> str:
        modified: str = (await api(f"GET {ONE}")).headers["last-modified"]
        return modified

    before = await moment()
    api.clock.at += 60_000_000
    assert (await put(api, "VCPU", total=8, allocation_ratio=2.0)).status_code == 200
    after = await moment()
    assert after != before
    api.clock.at += 60_000_000
    await api.ok(f"PUT {ONE}/traits", body={"traits": ["HW_CPU_X86_AVX2"], "resource_provider_generation": 1})
    assert await moment() != after


async def test_a_report_of_something_new_is_another_generation(api: Api) -> None:
    await api.database.run(lambda connection: insert_host(connection, 1, "one", **TERMS, free_disk_gb=7))
    assert await api.generation(1) == 0
    await api.database.run(lambda connection: insert_host(connection, 1, "one", **TERMS, disk_gb=200))
    assert await api.generation(1) == 1


async def test_an_operators_terms_count_for_the_next_claim(api: Api) -> None:
    answer = await put(api, "VCPU", total=8, allocation_ratio=1.0, reserved=2)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["allocation_ratio"], answer.json()["reserved"], answer.json()["max_unit"]) == (1.0, 2, 6)
    assert not await api.database.run(lambda connection: can_claim(connection, 7))
    assert await api.database.run(lambda connection: can_claim(connection, 6))


def can_claim(connection: Connection, vcpus: int) -> bool:
    need = Need(vcpus=vcpus, memory_mb=1, disk_gb=1)
    return ledger.claim(connection, server_id="s", project_id="p", host="one", need=need, now=NOW)


async def test_an_operators_terms_outlive_the_hosts_reports(api: Api) -> None:
    assert (await put(api, "VCPU", total=8, allocation_ratio=16.0)).status_code == 200
    await api.database.run(lambda connection: insert_host(connection, 1, "one", **TERMS, vcpus=10, vcpus_capacity=40))
    cores = await api.ok(f"GET {ONE}/inventories/VCPU")
    assert (cores["total"], cores["allocation_ratio"], cores["max_unit"]) == (10, 16.0, 160)
    assert (await put(api, "VCPU", total=10)).json()["allocation_ratio"] == 4.0  # not said: as the host has it


async def test_terms_that_cannot_be(api: Api) -> None:
    await claim(api, vcpus=20)
    for fields, status in (
        ({"total": 9}, 409),
        ({"total": 8, "step_size": 2}, 409),
        ({"total": 8, "max_unit": 8}, 409),
        ({"total": 8, "allocation_ratio": 1.0}, 409),  # 20 are claimed
        ({"total": 8, "reserved": 9}, 400),
        ({"total": 8, "allocation_ratio": -1}, 400),
        ({"total": 0}, 400),
        ({"total": 8, "allocation_ratio": "4"}, 400),
        ({"total": 8, "allocation_ratio": 1e39}, 400),
        ({"total": 8, "surprise": 1}, 400),
        ({}, 400),
    ):
        assert (await put(api, "VCPU", **fields)).status_code == status, fields
    assert (await api.ok(f"GET {ONE}/inventories/VCPU"))["allocation_ratio"] == 4.0
    assert await api.generation(1) == 1
    answer = await put(api, "VCPU", total=8, allocation_ratio=3.4e38)
    assert (answer.status_code, answer.json()["max_unit"]) == (200, 2_147_483_647)


async def test_what_the_host_has_cannot_be_taken_away(api: Api) -> None:
    await api.refused(409, f"DELETE {ONE}/inventories/VCPU")
    await api.refused(409, f"DELETE {ONE}/inventories")
    await api.refused(405, f"DELETE {ONE}/inventories", 4)
    refusal = await api.refused(
        409, f"PUT {ONE}/inventories", body={"resource_provider_generation": 0, "inventories": {}}
    )
    assert "placement.inventory.inuse" in refusal
    body = {"resource_class": "VCPU", "total": 8}
    assert "placement.concurrent_update" in await api.refused(409, f"POST {ONE}/inventories", body=body)


async def test_a_class_of_ones_own(api: Api) -> None:
    body = {"resource_class": "CUSTOM_LICENSE", "total": 10}
    await api.refused(400, f"POST {ONE}/inventories", body=body)
    assert (await api("POST /resource_classes", body={"name": "CUSTOM_LICENSE"})).status_code == 201
    made = await api(f"POST {ONE}/inventories", body=body | {"reserved": 1, "max_unit": 4})
    assert made.status_code == 201 and made.headers["location"] == f"/placement{ONE}/inventories/CUSTOM_LICENSE"
    assert made.json() == {
        "total": 10,
        "reserved": 1,
        "min_unit": 1,
        "max_unit": 4,
        "step_size": 1,
        "allocation_ratio": 1.0,
        "resource_provider_generation": 1,
    }
    assert (await put(api, "CUSTOM_LICENSE", total=12, allocation_ratio=1.5)).json()["total"] == 12
    assert (await api.ok(f"GET {ONE}/usages"))["usages"]["CUSTOM_LICENSE"] == 0
    await api.refused(409, "DELETE /resource_classes/CUSTOM_LICENSE")
    await api.ok(f"DELETE {ONE}/inventories/CUSTOM_LICENSE")
    await api.refused(404, f"DELETE {ONE}/inventories/CUSTOM_LICENSE")
    await api.ok("DELETE /resource_classes/CUSTOM_LICENSE")


async def test_what_is_claimed_of_a_class_stays(api: Api) -> None:
    await api.ok("PUT /resource_classes/CUSTOM_LICENSE")
    await api(f"POST {ONE}/inventories", body={"resource_class": "CUSTOM_LICENSE", "total": 10})
    use = inventories.update().values(used=8)
    await api.database.run(lambda connection: connection.execute(use))
    await api.refused(409, f"DELETE {ONE}/inventories/CUSTOM_LICENSE")
    assert (await put(api, "CUSTOM_LICENSE", total=7)).status_code == 409
    assert (await put(api, "CUSTOM_LICENSE", total=8)).status_code == 200
    found = await api.database.run(host_inventories.added, ["one"])
    assert (found["one"]["CUSTOM_LICENSE"].used, found["one"]["CUSTOM_LICENSE"].capacity) == (8, 8)


async def test_all_inventories_at_once(api: Api) -> None:
    await api.ok("PUT /resource_classes/CUSTOM_LICENSE")
    now = await api.ok(f"GET {ONE}/inventories")
    now["inventories"]["VCPU"]["allocation_ratio"] = 2.0
    now["inventories"]["CUSTOM_LICENSE"] = {"total": 3}
    changed = await api.ok(f"PUT {ONE}/inventories", body=now)
    assert changed["inventories"]["VCPU"]["max_unit"] == 16
    assert changed["inventories"]["CUSTOM_LICENSE"]["max_unit"] == 2_147_483_647
    assert "placement.concurrent_update" in await api.refused(409, f"PUT {ONE}/inventories", body=now)
    del changed["inventories"]["CUSTOM_LICENSE"]
    changed["inventories"]["VCPU"]["allocation_ratio"] = 4.0
    assert "CUSTOM_LICENSE" not in (await api.ok(f"PUT {ONE}/inventories", body=changed))["inventories"]
    again = await api.ok(f"GET {ONE}/inventories")
    again["inventories"]["lower"] = {"total": 3}
    await api.refused(400, f"PUT {ONE}/inventories", body=again)


async def test_all_of_it_may_be_kept_back_since_1_26(api: Api) -> None:
    assert (await put(api, "DISK_GB", 25, total=100, reserved=100)).status_code == 400
    assert (await put(api, "DISK_GB", 26, total=100, reserved=100)).status_code == 200
    listed = await api.ok("GET /resource_providers?resources=DISK_GB:1")
    assert [one["name"] for one in listed["resource_providers"]] == ["two"]


async def test_a_stale_generation_changes_nothing(api: Api) -> None:
    body = {"resource_provider_generation": 5, "total": 8, "allocation_ratio": 1.0}
    refusal = await api.refused(409, f"PUT {ONE}/inventories/VCPU", body=body)
    assert refusal.startswith("placement.concurrent_update")
    await api.refused(400, f"PUT {ONE}/inventories/CUSTOM_X", body=body | {"resource_provider_generation": 0})
    assert (await api.ok(f"GET {ONE}/inventories/VCPU"))["allocation_ratio"] == 4.0


# --- aggregates --------------------------------------------------------------------------------------------


async def test_aggregates_are_computes(api: Api) -> None:
    def make(connection: Connection) -> None:
        aggregates.insert(connection, uuid=EAST, name="east", zone="east", now=NOW)
        aggregates.insert(connection, uuid=WEST, name="west", zone="west", now=NOW)

    await api.database.run(make)
    await api.refused(404, f"GET {ONE}/aggregates", 0)
    assert await api.ok(f"GET {ONE}/aggregates", 1) == {"aggregates": []}
    body = {"aggregates": [EAST], "resource_provider_generation": 0}
    assert await api.ok(f"PUT {ONE}/aggregates", body=body) == {
        "aggregates": [EAST],
        "resource_provider_generation": 1,
    }
    assert await api.database.run(aggregates.zone_of, "one") == "east"
    assert "concurrent" in await api.refused(409, f"PUT {ONE}/aggregates", body=body)
    both = {"aggregates": [EAST, WEST], "resource_provider_generation": 1}
    assert "availability zone" in await api.refused(409, f"PUT {ONE}/aggregates", body=both)
    unknown = {"aggregates": [UNKNOWN], "resource_provider_generation": 1}
    assert "host aggregate" in await api.refused(409, f"PUT {ONE}/aggregates", body=unknown)
    assert await api.ok(f"PUT {ONE}/aggregates", 18, [WEST]) == {"aggregates": [WEST]}
    assert await api.database.run(aggregates.zone_of, "one") == "west"
    assert await api.ok(f"PUT {ONE}/aggregates", 18, []) == {"aggregates": []}
