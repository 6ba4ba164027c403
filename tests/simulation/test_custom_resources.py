"""What operators add to hosts: traits, resources of their own, other ratios for the hosts of an aggregate."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import checks, claims, host_inventories, membership, providers, traits
from kilonova.database.tables import host_inventories as rows
from kilonova.database.tables import hosts
from kilonova.model.inventory import Inventory
from tests.simulation.test_rules import aggregate, flavor, lands
from tests.simulation.world import IMAGE, Client, World, nothing_left

LICENSE = "CUSTOM_LICENSE"


async def add(world: World, host: str, count: int, **more: int) -> None:
    """So many licenses for a host."""
    inventory = Inventory(total=count, capacity=count, **more)
    await world.database.run(host_inventories.put, host, LICENSE, inventory, world.clock.now())


async def used(world: World, host: str = "host1") -> int:
    def read(connection: Connection) -> int:
        return int(connection.execute(sa.select(rows.c.used).where(rows.c.host == host)).scalar_one())

    return await world.database.run(read)


async def sound(world: World) -> bool:
    """Whether the ledger is without a fault."""
    found = await world.database.run(checks.check, world.clock.now(), 60_000_000)
    assert [finding.message for finding in found] == []
    return True


async def test_traits_that_an_operator_gives(world: World, client: Client) -> None:
    assert (await lands(client)).startswith("host")

    def give(connection: Connection) -> None:
        traits.give(connection, "host1", ["CUSTOM_GOLD"])
        host = membership.find_host(connection, "host1")
        assert host is not None
        providers.touch(connection, host.uuid, world.clock.now())

    await world.database.run(give)
    await world.clock.sleep(world.config.scheduler.refresh * 2)
    gold = await flavor(client, "gold", trait__CUSTOM_GOLD="required", trait__COMPUTE_NODE="required")
    plain = await flavor(client, "plain", trait__CUSTOM_GOLD="forbidden")
    for _ in range(3):
        assert await lands(client, flavorRef=gold) == "host1"
        assert await lands(client, flavorRef=plain) == "host2"


async def test_resources_are_claimed_and_given_back(world: World, client: Client) -> None:
    await add(world, "host1", 2)
    licensed = await flavor(client, "licensed", **{f"resources__{LICENSE}": "1"})
    ids = []
    for _ in range(2):
        ids.append(await client.boot(flavorRef=licensed))
        assert (await client.until(ids[-1], "ACTIVE"))["OS-EXT-SRV-ATTR:host"] == "host1"
    failed = await client.until(await client.boot(flavorRef=licensed), "ERROR")
    assert "CapacityFilter dropped 2" in failed["fault"]["message"]
    assert f"host1: CapacityFilter needed 1 {LICENSE}, there was 0 {LICENSE} free" in failed["fault"]["details"]
    assert f"host2: CapacityFilter needed 1 {LICENSE}, there was no {LICENSE}" in failed["fault"]["details"]
    assert await used(world) == 2 and await sound(world)
    consumer = await world.database.run(claims.of_server, ids[0])
    assert consumer is not None
    assert [claim[LICENSE] for claim in consumer.claims.values()] == [1]
    assert (await world.database.run(claims.usage, "p1", None))[0][LICENSE] == 2
    assert (await client("DELETE", f"/servers/{ids[0]}")).status_code == 204
    await client.until_gone(ids[0])
    assert await used(world) == 1 and await sound(world)
    assert await lands(client, flavorRef=licensed) == "host1"
    for server in (await client("GET", "/servers")).json()["servers"]:
        await client("DELETE", f"/servers/{server['id']}")
        await client.until_gone(server["id"])
    assert await used(world) == 0
    await nothing_left(world)


async def test_many_at_once_share_what_there_is(world: World, client: Client) -> None:
    await add(world, "host1", 3)
    await add(world, "host2", 2)
    licensed = await flavor(client, "licensed", **{f"resources__{LICENSE}": "1"})
    body = {"name": "x", "imageRef": IMAGE, "flavorRef": licensed, "networks": "auto", "min_count": 8, "max_count": 8}
    assert (await client("POST", "/servers", {"server": body})).status_code == 202
    listed = (await client("GET", "/servers")).json()["servers"]
    ended = [await client.ended(server["id"]) for server in listed]
    there = sorted(str(server["OS-EXT-SRV-ATTR:host"]) for server in ended)
    assert there == ["None"] * 3 + ["host1"] * 3 + ["host2"] * 2
    assert (await used(world), await used(world, "host2")) == (3, 2) and await sound(world)


async def test_portions(world: World, client: Client) -> None:
    await add(world, "host1", 8, min_unit=2, max_unit=6, step_size=2)
    expected = {"1": None, "2": "host1", "3": None, "6": "host1", "8": None}
    for amount, host in expected.items():
        name = await flavor(client, f"with-{amount}", **{f"resources__{LICENSE}": amount})
        answer = await lands(client, flavorRef=name)
        if host is None:
            assert "CapacityFilter dropped 2" in answer
        else:
            assert answer == host
    assert await used(world) == 8


async def test_a_move_claims_on_both_sides(world: World, client: Client) -> None:
    await add(world, "host1", 1)
    await add(world, "host2", 1)
    licensed = await flavor(client, "licensed", **{f"resources__{LICENSE}": "1"})
    server_id = await client.boot(flavorRef=licensed)
    home = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    answer = await client("POST", f"/servers/{server_id}/action", {"migrate": None}, token="admin")
    assert answer.status_code == 202, answer.text
    await client.until(server_id, "VERIFY_RESIZE")
    assert (await used(world), await used(world, "host2")) == (1, 1) and await sound(world)
    assert (await client("POST", f"/servers/{server_id}/action", {"confirmResize": None})).status_code == 204
    moved = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    assert moved != home
    assert (await used(world, home), await used(world, moved)) == (0, 1) and await sound(world)


# --- ratios of aggregates ---------------------------------------------------------------------------------------


async def capacity(world: World, host: str = "host1") -> tuple[int, int, int]:
    def read(connection: Connection) -> tuple[int, int, int]:
        found = membership.find_host(connection, host)
        assert found is not None
        return found.vcpus_capacity, found.memory_mb_capacity, found.disk_gb_capacity

    return await world.database.run(read)


async def test_ratios_of_aggregates_are_what_claims_see(world: World, client: Client) -> None:
    plain = await capacity(world)
    machine = await world.drivers["host1"].resources()
    path = await aggregate(client, "host1", cpu_allocation_ratio="0.5", disk_allocation_ratio="2")
    assert await capacity(world) == (machine.vcpus // 2, plain[1], machine.disk_gb * 2)
    await aggregate(client, "host1", cpu_allocation_ratio="0.25", ram_allocation_ratio="nonsense")
    quarter = (machine.vcpus // 4, plain[1], machine.disk_gb * 2)
    assert await capacity(world) == quarter
    await world.agents["host1"].drain(1.0)
    world.agents["host1"] = world.agent("host1")
    await world.agents["host1"].start()  # and describes itself again
    assert await capacity(world) == quarter

    big = {"flavor": {"id": "big", "name": "big", "vcpus": machine.vcpus // 4, "ram": 64, "disk": 1}}
    assert (await client("POST", "/flavors", big, token="admin")).status_code == 200
    raised = {"quota_set": {"cores": -1}}
    assert (await client("PUT", "/os-quota-sets/p0", raised, token="admin", version="2.1")).status_code == 200
    assert await lands(client, flavorRef="big", host="host1", token="admin") == "host1"
    assert "CapacityFilter dropped 1" in await lands(client, host="host1", token="admin")

    less = {"set_metadata": {"metadata": {"cpu_allocation_ratio": "0.1"}}}
    answer = await client("POST", path, less, token="admin")
    assert answer.status_code == 400 and "are claimed" in answer.text, answer.text
    assert await capacity(world) == quarter and await sound(world)

    answer = await client("POST", path, {"remove_host": {"host": "host1"}}, token="admin")
    assert answer.status_code == 200, answer.text
    assert await capacity(world) == (machine.vcpus // 4, plain[1], plain[2])


async def test_a_host_with_more_claimed_does_not_join(world: World, client: Client) -> None:
    assert await lands(client, host="host1", token="admin") == "host1"
    path = await aggregate(client, cpu_allocation_ratio="0.001")
    before = await capacity(world)
    answer = await client("POST", path, {"add_host": {"host": "host1"}}, token="admin")
    assert answer.status_code == 409 and "are claimed" in answer.text, answer.text
    assert await capacity(world) == before
    assert (await client("GET", path.removesuffix("/action"), token="admin")).json()["aggregate"]["hosts"] == []


async def test_an_operators_ratio_for_the_very_host_goes_first(world: World, client: Client) -> None:
    machine = await world.drivers["host1"].resources()
    path = await aggregate(client, "host1", cpu_allocation_ratio="2")
    own = 4.0  # that of the configuration as well: said for this host, it is more than the aggregate's

    def say(connection: Connection, terms: dict[str, Any]) -> None:
        host_inventories.set_terms(connection, "host1", "VCPU", terms)

    await world.database.run(say, {"allocation_ratio": own})
    assert (await capacity(world))[0] == machine.vcpus * 4
    await world.database.run(say, {})
    assert (await capacity(world))[0] == machine.vcpus * 2
    gone = {"set_metadata": {"metadata": {"cpu_allocation_ratio": None}}}
    assert (await client("POST", path, gone, token="admin")).status_code == 200
    assert (await capacity(world))[0] == machine.vcpus * int(world.config.compute.cpu_ratio)

    def terms(connection: Connection) -> Any:
        return connection.execute(sa.select(hosts.c.inventory_terms).where(hosts.c.host == "host1")).scalar_one()

    assert await world.database.run(terms) == {}
