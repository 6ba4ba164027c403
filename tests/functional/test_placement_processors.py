"""Dedicated processors as Placement shows them: PCPU beside VCPU, by what servers were given of a host's topology."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, ledger, topologies
from kilonova.messaging.contract import Need
from kilonova.model.topology.machine import Cell, Topology
from kilonova.model.topology.request import CellRequest, TopologyRequest
from tests.functional.compute_api import NOW
from tests.functional.compute_rows import insert_host, insert_server, server_id
from tests.functional.placement_api import LATEST, TERMS, Api, placement_api, uuid
from tests.functional.test_placement_allocations import ask
from tests.simulation.moves import act
from tests.simulation.topology_worlds import flavor, opened
from tests.simulation.world import World

ONE = f"/resource_providers/{uuid(1)}"
PROCESSORS = {"total": 6, "reserved": 0, "min_unit": 1, "max_unit": 6, "step_size": 1, "allocation_ratio": 1.0}
DIVIDED: dict[str, Any] = {**TERMS, "vcpus_reserved": 6, "vcpus_capacity": 8}
"""Host one has eight processors: two that servers share, four times, and six for one each."""


def topology(dedicated: int) -> Topology:
    first = Cell(id=0, shared=[0, 1], dedicated=[2, 3], memory_mb=8_000)
    return Topology(cells=[first, Cell(id=1, shared=[], dedicated=[*range(4, 2 + dedicated)], memory_mb=8_000)])


def divide(connection: Connection, dedicated: int = 6) -> None:
    insert_host(connection, 1, "one", **DIVIDED)
    topologies.describe(connection, "one", topology(dedicated))
    everything = Cell(id=0, shared=[*range(8)], memory_mb=16_000)
    topologies.describe(connection, "two", Topology(cells=[everything]))


def give(connection: Connection, name: str = "s1") -> None:
    """A server with three processors of one cell and one for its emulator; it shares none."""
    insert_server(connection, name, host="one")
    of, need = server_id(name), Need(vcpus=0, memory_mb=512, disk_gb=1)
    assert ledger.claim(connection, server_id=of, project_id="p-one", host="one", need=need, now=NOW)
    cell = CellRequest(dedicated=[0, 1, 2], emulator=True, memory_mb=512)
    assert topologies.take(connection, "one", of, TopologyRequest(cells=[cell])) is not None


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with placement_api(tmp_path) as opened_api:
        await opened_api.database.run(divide)
        yield opened_api


# --- what a host has ---------------------------------------------------------------------------------------------


async def test_processors_of_ones_own_are_a_class_of_their_own(api: Api) -> None:
    shown = (await api.ok(f"GET {ONE}/inventories"))["inventories"]
    assert list(shown) == ["VCPU", "MEMORY_MB", "DISK_GB", "PCPU"] and shown["PCPU"] == PROCESSORS
    assert shown["VCPU"] == PROCESSORS | {"total": 2, "max_unit": 8, "allocation_ratio": 4.0}
    one = await api.ok(f"GET {ONE}/inventories/PCPU")
    assert one == PROCESSORS | {"resource_provider_generation": await api.generation(1)}
    undivided = (await api.ok(f"GET /resource_providers/{uuid(2)}/inventories"))["inventories"]
    assert "PCPU" not in undivided and undivided["VCPU"]["total"] == 8
    await api.refused(404, f"GET /resource_providers/{uuid(2)}/inventories/PCPU")


async def test_a_host_that_shares_nothing_has_no_vcpu(api: Api) -> None:
    def share_nothing(connection: Connection) -> None:
        insert_host(connection, 1, "one", **{**DIVIDED, "vcpus_reserved": 8, "vcpus_capacity": 0})

    await api.database.run(share_nothing)
    shown = await api.ok(f"GET {ONE}/inventories")
    assert set(shown["inventories"]) == {"MEMORY_MB", "DISK_GB", "PCPU"}
    assert (await api(f"PUT {ONE}/inventories", LATEST, shown)).status_code == 200
    body = {"resource_class": "VCPU", "total": 8}
    assert "reports that it has no VCPU" in await api.refused(409, f"POST {ONE}/inventories", body=body)


async def test_a_host_that_is_divided_anew_is_another_generation(api: Api) -> None:
    before = await api.generation(1)
    await api.database.run(divide)
    assert await api.generation(1) == before
    await api.database.run(divide, 5)
    assert await api.generation(1) == before + 1
    assert (await api.ok(f"GET {ONE}/inventories/PCPU"))["total"] == 5


async def test_what_was_given_is_used_until_it_is_returned(api: Api) -> None:
    before = await api.generation(1)
    await api.database.run(give)
    used = await api.ok(f"GET {ONE}/usages")
    assert used["usages"] == {"VCPU": 0, "MEMORY_MB": 512, "DISK_GB": 1, "PCPU": 4}
    assert used["resource_provider_generation"] == before + 1
    claim = {"MEMORY_MB": 512, "DISK_GB": 1, "PCPU": 4}
    assert (await api.ok(f"GET /allocations/{server_id('s1')}"))["allocations"][uuid(1)]["resources"] == claim
    on_host = (await api.ok(f"GET {ONE}/allocations"))["allocations"]
    assert on_host[server_id("s1")]["resources"] == claim
    assert (await api.ok("GET /usages?project_id=p-one", 9))["usages"] == claim
    await api.database.run(ledger.give_back, server_id("s1"))
    assert (await api.ok(f"GET {ONE}/usages"))["usages"]["PCPU"] == 0
    assert (await api.ok("GET /usages?project_id=p-one", 9))["usages"] == {}


# --- who could take a request ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "empty", "given"),
    [
        ("resources=PCPU:2", [1], [1]),
        ("resources=PCPU:3", [1], []),
        ("resources=PCPU:6", [1], []),
        ("resources=PCPU:7", [], []),
        ("resources=PCPU:99999999999999999999", [], []),
        ("resources=PCPU:2,VCPU:8", [1], [1]),
        ("resources=PCPU:2,VCPU:9", [], []),
        ("resources=VCPU:9", [2], [2]),
        ("resources1=PCPU:1&resources2=PCPU:1&group_policy=none", [1], [1]),
        ("resources1=PCPU:2&resources2=PCPU:1&group_policy=none", [1], []),
        ("resources=PCPU:1&required=COMPUTE_NODE", [1], [1]),
        ("resources=PCPU:1&required=!COMPUTE_NODE", [], []),
    ],
)
async def test_candidates_have_so_many_left(api: Api, query: str, empty: list[int], given: list[int]) -> None:
    async def found() -> list[int]:
        answer = await api.ok(f"GET /allocation_candidates?{query}")
        return [int(one[-12:]) for one in answer["provider_summaries"]]

    assert await found() == empty
    await api.database.run(give)
    assert await found() == given


async def test_what_a_candidate_says(api: Api) -> None:
    await api.database.run(give)
    answer = await api.ok("GET /allocation_candidates?resources=PCPU:2,MEMORY_MB:64", 26)
    resources = {"PCPU": 2, "MEMORY_MB": 64}
    assert answer["allocation_requests"] == [{"allocations": {uuid(1): {"resources": resources}}}]
    summary = answer["provider_summaries"][uuid(1)]["resources"]
    assert summary["PCPU"] == {"capacity": 6, "used": 4} and set(summary) == set(resources)


async def test_providers_that_have_so_many_left(api: Api) -> None:
    async def found(query: str) -> list[str]:
        return [one["name"] for one in (await api.ok(f"GET /resource_providers?{query}"))["resource_providers"]]

    assert await found("resources=PCPU:6") == ["one"] and await found("resources=PCPU:7") == []
    await api.database.run(give)
    assert await found("resources=PCPU:2") == ["one"] and await found("resources=PCPU:3") == []


# --- writing -----------------------------------------------------------------------------------------------------


async def test_how_many_they_are_is_not_written_here(api: Api) -> None:
    generation = await api.generation(1)

    async def put(**fields: Any) -> int:
        body = {"resource_provider_generation": await api.generation(1), **fields}
        return (await api(f"PUT {ONE}/inventories/PCPU", LATEST, body)).status_code

    for fields in (
        {"total": 7},
        {"total": 6, "reserved": 1},
        {"total": 6, "allocation_ratio": 2.0},
        {"total": 6, "max_unit": 2},
        {"total": 6, "min_unit": 2},
        {"total": 6, "step_size": 2},
    ):
        assert await put(**fields) == 409, fields
    body: dict[str, Any] = {"resource_provider_generation": generation, "total": 6, "reserved": 1}
    assert "cpu_dedicated_set" in await api.refused(409, f"PUT {ONE}/inventories/PCPU", body=body)
    await api.refused(409, f"DELETE {ONE}/inventories/PCPU")
    body = {"resource_class": "PCPU", "total": 6}
    await api.refused(409, f"POST {ONE}/inventories", body=body)
    assert "has no PCPU" in await api.refused(409, f"POST /resource_providers/{uuid(2)}/inventories", body=body)
    shown = await api.ok(f"GET {ONE}/inventories")
    without = {name: given for name, given in shown["inventories"].items() if name != "PCPU"}
    body = {"resource_provider_generation": generation, "inventories": without}
    assert "placement.inventory.inuse" in await api.refused(409, f"PUT {ONE}/inventories", body=body)
    assert await api.generation(1) == generation
    assert (await api.ok(f"PUT {ONE}/inventories", body=shown))["inventories"]["PCPU"] == PROCESSORS
    assert await put(total=6) == 200


async def test_terms_are_of_the_processors_that_are_shared(api: Api) -> None:
    """None that is given to one server becomes a VCPU by an operator's word, or that of an aggregate."""
    body = {"resource_provider_generation": await api.generation(1), "total": 2, "reserved": 1}
    cores = await api.ok(f"PUT {ONE}/inventories/VCPU", body=body)
    assert (cores["total"], cores["reserved"], cores["max_unit"]) == (2, 1, 4)
    body = {"resource_provider_generation": await api.generation(1), "total": 2, "reserved": 0}
    assert (await api.ok(f"PUT {ONE}/inventories/VCPU", body=body))["max_unit"] == 8

    def group(connection: Connection) -> None:
        made = aggregates.insert(connection, uuid=uuid(99), name="dense", zone=None, now=NOW)
        aggregates.add_host(connection, made.id, "one", NOW)
        aggregates.change_metadata(connection, made.id, {"cpu_allocation_ratio": "16"}, NOW)

    await api.database.run(group)
    assert (await api.ok(f"GET {ONE}/inventories/VCPU"))["max_unit"] == 32
    await api.database.run(divide)  # the host reports again
    assert (await api.ok(f"GET {ONE}/inventories/VCPU"))["max_unit"] == 32


# --- real servers ------------------------------------------------------------------------------------------------


async def usages(world: World) -> dict[str, dict[str, int]]:
    """What is used of each host; it is what its allocations have together."""
    found: dict[str, dict[str, int]] = {}
    for provider in (await ask(world, "/resource_providers")).json()["resource_providers"]:
        path = f"/resource_providers/{provider['uuid']}"
        used: dict[str, int] = (await ask(world, f"{path}/usages")).json()["usages"]
        claims = (await ask(world, f"{path}/allocations")).json()["allocations"].values()
        assert used == {name: sum(claim["resources"].get(name, 0) for claim in claims) for name in used}
        found[provider["name"]] = used
    return found


async def test_pinned_servers_from_their_boot_to_their_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        await flavor(world, "alone", {"hw:cpu_policy": "dedicated", "hw:emulator_threads_policy": "isolate"}, 1)
        await flavor(world, "mixed", {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "1"})
        claims = {}
        for name in ("plain", "pinned", "alone", "mixed"):
            server = await client.boot(flavorRef=name)
            await client.until(server, "ACTIVE")
            ((_, claim),) = (await ask(world, f"/allocations/{server}")).json()["allocations"].items()
            claims[name] = {key: claim["resources"].get(key) for key in ("VCPU", "PCPU")}
        assert claims == {
            "plain": {"VCPU": 2, "PCPU": None},
            "pinned": {"VCPU": None, "PCPU": 2},
            "alone": {"VCPU": None, "PCPU": 2},
            "mixed": {"VCPU": 1, "PCPU": 1},
        }
        assert sum(used["PCPU"] for used in (await usages(world)).values()) == 5
        of_project = (await ask(world, "/usages?project_id=p1", minor=9)).json()["usages"]
        assert (of_project["VCPU"], of_project["PCPU"]) == (3, 5)
        for server in (await client("GET", "/servers")).json()["servers"]:
            await client("DELETE", f"/servers/{server['id']}")
            await client.until_gone(server["id"])
        assert {used["PCPU"] for used in (await usages(world)).values()} == {0}


async def test_a_pinned_server_that_moves(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        server = await client.boot(flavorRef="pinned")
        await client.until(server, "ACTIVE")
        await act(client, server, "migrate", None, token="admin")
        await client.until(server, "VERIFY_RESIZE")
        assert [used["PCPU"] for used in (await usages(world)).values()] == [2, 2]
        await act(client, server, "confirmResize", code=204)
        host = (await client.until(server, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
        assert {name: used["PCPU"] for name, used in (await usages(world)).items() if used["PCPU"]} == {host: 2}
