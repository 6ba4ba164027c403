"""Allocations are what servers have claimed: real servers on fake hosts, and who may write what."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import Connection

from kilonova import placement
from kilonova.database import checks, ledger
from kilonova.database.flavors import seed_flavors
from kilonova.database.tables import hosts
from kilonova.messaging.contract import Need
from kilonova.model.clock import SystemClock
from tests.functional.compute_api import NOW
from tests.functional.compute_rows import insert_server, server_id
from tests.functional.placement_api import LATEST, UNKNOWN, Api, placement_api, uuid
from tests.simulation.world import CALLERS, Client, Tokens, World

TINY = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, clock=SystemClock())
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield world
    await world.stop()


async def ask(
    world: World, path: str, token: str = "admin", minor: int = LATEST, *, put: Any = None
) -> httpx.Response:
    service = placement.EmbeddedPlacement(database=world.database, clock=world.clock, ids=world.ids)
    app: Any = placement.application(service, tokens=Tokens(CALLERS))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://cloud") as http:
        headers = {"x-auth-token": token, "openstack-api-version": f"placement 1.{minor}"}
        if put is not None:
            return await http.put(path, headers=headers, json=put)
        return await http.get(path, headers=headers)


async def test_a_server_from_its_boot_to_its_end(world: World) -> None:
    client = Client(world)
    providers = (await ask(world, "/resource_providers")).json()["resource_providers"]
    uuids = {one["name"]: one["uuid"] for one in providers}
    generations = {one["uuid"]: one["generation"] for one in providers}
    server = await client.boot()
    host = (await client.until(server, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    allocations = (await ask(world, f"/allocations/{server}")).json()
    assert list(allocations["allocations"]) == [uuids[host]]
    assert allocations["allocations"][uuids[host]]["resources"] == TINY
    assert allocations["allocations"][uuids[host]]["generation"] > generations[uuids[host]]
    assert (allocations["project_id"], allocations["user_id"]) == ("p1", "u1")
    assert allocations["consumer_type"] == "INSTANCE"
    old = (await ask(world, f"/allocations/{server}", minor=11)).json()
    assert list(old) == ["allocations"]
    on_host = (await ask(world, f"/resource_providers/{uuids[host]}/allocations")).json()
    assert on_host["allocations"][server]["resources"] == TINY
    assert on_host["allocations"][server]["consumer_generation"] == allocations["consumer_generation"]
    assert (await ask(world, f"/resource_providers/{uuids[host]}/usages")).json()["usages"] == TINY
    usages = "/usages?project_id=p1"
    assert (await ask(world, usages)).json() == {"usages": {"INSTANCE": TINY | {"consumer_count": 1}}}
    assert (await ask(world, usages, minor=9)).json() == {"usages": TINY}
    await client("DELETE", f"/servers/{server}")
    await client.until_gone(server)
    assert (await ask(world, f"/allocations/{server}")).json() == {"allocations": {}}
    assert (await ask(world, usages)).json() == {"usages": {}}


async def test_a_server_that_moves_has_claims_on_two_hosts(world: World) -> None:
    client = Client(world)
    server = await client.boot()
    await client.until(server, "ACTIVE")
    before = (await ask(world, f"/allocations/{server}")).json()
    assert (await client("POST", f"/servers/{server}/action", {"resize": {"flavorRef": "2"}})).status_code == 202
    await client.until(server, "VERIFY_RESIZE")
    moving = (await ask(world, f"/allocations/{server}")).json()
    claims = {one: claim["resources"] for one, claim in moving["allocations"].items()}
    assert len(claims) == 2 and claims[next(iter(before["allocations"]))] == TINY
    assert sorted(claim["MEMORY_MB"] for claim in claims.values()) == [512, 2048]
    assert moving["consumer_generation"] != before["consumer_generation"]
    assert (await client("POST", f"/servers/{server}/action", {"confirmResize": None})).status_code == 204
    await client.until(server, "ACTIVE")
    (there,) = (await ask(world, f"/allocations/{server}")).json()["allocations"].items()
    assert there[0] not in before["allocations"] and there[1]["resources"]["MEMORY_MB"] == 2048


async def test_what_a_host_says_of_its_own_terms(world: World) -> None:
    (one, _) = (await ask(world, "/resource_providers")).json()["resource_providers"]
    found = (await ask(world, f"/resource_providers/{one['uuid']}/inventories")).json()["inventories"]
    assert (found["VCPU"]["allocation_ratio"], found["MEMORY_MB"]["reserved"]) == (4.0, 512)


async def test_the_scheduler_goes_by_an_operators_terms(world: World) -> None:
    client = Client(world)
    await client.until(await client.boot(), "ACTIVE")
    for provider in (await ask(world, "/resource_providers")).json()["resource_providers"]:
        path = f"/resource_providers/{provider['uuid']}/inventories/MEMORY_MB"
        memory = (await ask(world, path)).json()
        full = memory | {"reserved": memory["total"] - 512, "allocation_ratio": 1.0}
        assert (await ask(world, path, put=full)).status_code == 200
    await client.until(await client.boot(), "ACTIVE")
    refused = await client.boot()
    assert "MiB" in str((await client.until(refused, "ERROR"))["fault"])
    found = (await ask(world, "/allocation_candidates?resources=MEMORY_MB:1")).json()
    assert found["allocation_requests"] == []


# --- who may read and write --------------------------------------------------------------------------------


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Server s1 has claimed something on host one; so has one that nobody knows, on host two."""
    async with placement_api(tmp_path) as opened:
        await opened.database.run(_claims)
        yield opened


def _claims(connection: Connection) -> None:
    insert_server(connection, "s1", host="one")
    need = Need(vcpus=2, memory_mb=512, disk_gb=0)
    for server, host in ((server_id("s1"), "one"), (UNKNOWN, "two")):
        assert ledger.claim(connection, server_id=server, project_id="p-one", host=host, need=need, now=NOW)


async def usages(api: Api) -> list[int]:
    return [(await api.ok(f"GET /resource_providers/{uuid(number)}/usages"))["usages"]["VCPU"] for number in (1, 2)]


def written(minor: int, allocations: Any) -> dict[str, Any]:
    """A body as this microversion wants it."""
    body: dict[str, Any] = {"allocations": allocations}
    body |= {"project_id": "p-one", "user_id": "u"} if minor >= 8 else {}
    body |= {"consumer_generation": None} if minor >= 28 else {}
    return body | ({"consumer_type": "INSTANCE"} if minor >= 38 else {})


@pytest.mark.parametrize("minor", [0, 8, 12, 28, 34, 38])
async def test_nobody_writes_claims_by_hand(api: Api, minor: int) -> None:
    listed = [{"resource_provider": {"uuid": uuid(2)}, "resources": {"VCPU": 1}}]
    named = {uuid(2): {"resources": {"VCPU": 1}}}
    body = written(minor, named if minor >= 12 else listed)
    for consumer in (server_id("s1"), UNKNOWN, uuid(77)):
        refusal = await api.refused(409, f"PUT /allocations/{consumer}", minor, body)
        assert "belongs to the servers" in refusal
    await api.refused(400, f"PUT /allocations/{UNKNOWN}", minor, body | {"surprise": 1})
    await api.refused(400, "PUT /allocations/nonsense", minor, body)
    if minor >= 13:
        await api.refused(409, "POST /allocations", minor, {UNKNOWN: body})
        await api.refused(400, "POST /allocations", minor, {"nonsense": body})
    assert await usages(api) == [2, 2]


async def test_a_servers_claims_are_not_deleted(api: Api) -> None:
    await api.refused(409, f"DELETE /allocations/{server_id('s1')}")
    await api.refused(409, f"PUT /allocations/{server_id('s1')}", LATEST, written(LATEST, {}))
    await api.refused(409, "POST /allocations", LATEST, {server_id("s1"): written(LATEST, {})})
    assert await usages(api) == [2, 2]


@pytest.mark.parametrize("way", ["DELETE", "PUT", "POST"])
async def test_a_leaked_claim_is_given_back(api: Api, way: str) -> None:
    found = await api.database.run(lambda connection: checks.check(connection, NOW, 0))
    assert "allocation_without_server" in {finding.kind for finding in found}
    empty = written(LATEST, {})
    call, body = {
        "DELETE": (f"DELETE /allocations/{UNKNOWN}", None),
        "PUT": (f"PUT /allocations/{UNKNOWN}", empty),
        "POST": ("POST /allocations", {UNKNOWN: empty}),
    }[way]
    assert (await api(call, LATEST, body)).status_code == 204
    assert await usages(api) == [2, 0]
    await api.refused(404, f"DELETE /allocations/{UNKNOWN}")
    found = await api.database.run(lambda connection: checks.check(connection, NOW, 0))
    assert "allocation_without_server" not in {finding.kind for finding in found}


async def test_a_claim_on_a_host_that_is_gone_is_given_back(api: Api) -> None:
    await api.database.run(lambda connection: connection.execute(hosts.delete().where(hosts.c.host == "two")))
    assert await api.ok(f"GET /allocations/{UNKNOWN}") == {"allocations": {}}
    await api.ok(f"DELETE /allocations/{UNKNOWN}")
    await api.refused(404, f"DELETE /allocations/{UNKNOWN}")


async def test_several_are_repaired_together_or_not_at_all(api: Api) -> None:
    body = {one: written(LATEST, {}) for one in (UNKNOWN, server_id("s1"))}
    await api.refused(409, "POST /allocations", LATEST, body)
    assert await usages(api) == [2, 2]


async def test_there_is_nothing_to_reshape(api: Api) -> None:
    body = {"inventories": {uuid(1): {"resource_provider_generation": 0, "inventories": {}}}, "allocations": {}}
    await api.refused(403, "POST /reshaper", 30, body)
    await api.refused(404, "POST /reshaper", 29, body)


@pytest.mark.parametrize(
    "path", ["/resource_providers", f"/resource_providers/{uuid(1)}", "/traits", "/resource_classes"]
)
async def test_who_may_look(api: Api, path: str) -> None:
    codes = {
        who: (await api(f"GET {path}", who=who)).status_code for who in ("admin", "service", "manager", "reader")
    }
    assert codes == {"admin": 200, "service": 200, "manager": 403, "reader": 403}


async def test_projects_see_what_they_use(api: Api) -> None:
    async def code(who: str, project: str) -> int:
        return (await api(f"GET /usages?project_id={project}", who=who)).status_code

    assert [await code(who, "p-one") for who in ("reader", "member", "admin", "service")] == [200] * 4
    assert [await code(who, "p-one") for who in ("other", "nobody")] == [403, 403]
    of_user = await api.ok("GET /usages?project_id=p-one&user_id=u-member")
    assert of_user == {"usages": {"INSTANCE": {"VCPU": 2, "MEMORY_MB": 512, "consumer_count": 1}}}
    both = await api.ok("GET /usages?project_id=p-one&consumer_type=all")
    assert both["usages"]["all"]["consumer_count"] == 2
    assert await api.ok("GET /usages?project_id=p-one&consumer_type=MIGRATION") == {"usages": {}}
    await api.refused(400, "GET /usages")
    await api.refused(400, "GET /usages?project_id=p-one&consumer_type=x")
    await api.refused(404, "GET /usages?project_id=p-one", 8)


@pytest.mark.parametrize(
    ("header", "status"), [("1.40", 406), ("2.0", 406), ("0.5", 406), ("1", 400), ("one", 400), ("1.-1", 400)]
)
async def test_a_microversion_outside_the_window(api: Api, header: str, status: int) -> None:
    headers = {"openstack-api-version": f"placement {header}", "x-auth-token": "admin"}
    for path in ("/placement/traits", "/placement", "/placement/"):
        answer = await api.http.get(path, headers=headers)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["status"]) == (status, status)
        assert status != 406 or (error["min_version"], error["max_version"]) == ("1.0", "1.39")


async def test_without_a_microversion_it_is_the_first_and_latest_is_the_last(api: Api) -> None:
    one = f"/placement/resource_providers/{uuid(1)}"
    for header, spoken in (
        ("compute 2.50", "1.0"),
        ("placement latest", "1.39"),
        ("compute 2.1, placement 1.6", "1.6"),
    ):
        answer = await api.http.get(one, headers={"openstack-api-version": header, "x-auth-token": "admin"})
        assert answer.headers["openstack-api-version"] == f"placement {spoken}"
