"""Each rule of ``database/checks.py`` is broken by hand in a sound cloud; the check names exactly what is broken."""

from typing import Any

import pytest
import sqlalchemy as sa

from kilonova.database import tables as t
from kilonova.database.checks import check
from kilonova.model.finding import Finding
from tests.simulation.world import Client, World

GRACE = 10_000_000


async def findings(world: World) -> list[Finding]:
    return await world.database.run(check, world.clock.now(), GRACE)


@pytest.fixture
async def server_id(world: World, client: Client) -> str:
    """A server that is ACTIVE, and one that was deleted, in a cloud without findings."""
    gone = await client.boot("gone")
    await client.until(gone, "ACTIVE")
    assert (await client("DELETE", f"/servers/{gone}")).status_code == 204
    await client.until_gone(gone)
    kept = await client.boot("kept")
    await client.until(kept, "ACTIVE")
    assert await findings(world) == []
    return kept


def allocation(server_id: str, host: str) -> sa.Insert:
    amounts = {"vcpus": 0, "memory_mb": 0, "disk_gb": 0}
    row = {"consumer": server_id, "server_id": server_id, "host": host, "project_id": "p1", "created_at": 1}
    return t.allocations.insert().values(**row, **amounts)


DESCRIBED = {"description": "", "revision": 0, "created_at": 1, "updated_at": 1}


def port(device_id: str) -> sa.Insert:
    return t.ports.insert().values(
        id="port1",
        network_id="net",
        project_id="p1",
        name="",
        mac_address="fa:16:3e:00:00:09",
        device_id=device_id,
        device_owner="compute:nova",
        device_index=0,
        binding="created",
        host="host1",
        status="ACTIVE",
        admin_state_up=True,
        port_security_enabled=True,
        vnic_type="normal",
        binding_profile={},
        allowed_address_pairs=[],
        extra_dhcp_opts=[],
        dns_name="",
        **DESCRIBED,
    )


NETWORK = t.networks.insert().values(
    id="net",
    project_id="p0",
    name="private",
    shared=True,
    external=False,
    admin_state_up=True,
    mtu=1500,
    bridge="knbr0",
    is_default=False,
    port_security_enabled=True,
    network_type="flat",
    dns_domain="",
    **DESCRIBED,
)
ADDRESS = t.fixed_ips.insert().values(subnet_id="sub", ip_address="10.0.0.9", position=9, port_id="nobody's")
OPEN_AGAIN = t.actions.update().values(state="running", lease_until=1, finished_at=None)


BREACHES: dict[str, list[sa.Insert | sa.Update | sa.Delete]] = {
    "allocation_without_server": [
        allocation("unknown", "host1"),
        t.hosts.update().where(t.hosts.c.host == "host1").values(servers_count=t.hosts.c.servers_count + 1),
    ],
    "allocation_elsewhere": [t.servers.update().where(t.servers.c.name == "kept").values(host=None)],
    "allocation_missing": [
        t.allocations.delete(),
        t.hosts.update().values(vcpus_used=0, memory_mb_used=0, disk_gb_used=0, servers_count=0),
    ],
    "host_usage": [t.hosts.update().where(t.hosts.c.host == "host1").values(vcpus_used=t.hosts.c.vcpus_used + 1)],
    "capacity_exceeded": [t.hosts.update().where(t.hosts.c.servers_count == 1).values(memory_mb_capacity=1)],
    "quota_usage": [t.quota_usages.update().values(in_use=t.quota_usages.c.in_use + 1)],
    "charge_of_nobody": [
        t.servers.update().where(t.servers.c.name == "kept").values(charged={"instances": 1, "cores": 1, "ram": 512})
    ],
    "resized_astray": [t.servers.update().where(t.servers.c.name == "kept").values(vm_state="resized")],
    "server_held": [t.servers.update().where(t.servers.c.name == "kept").values(action_id="nothing")],
    "task_without_action": [t.servers.update().where(t.servers.c.name == "kept").values(task_state="spawning")],
    "build_without_action": [t.servers.update().where(t.servers.c.name == "kept").values(vm_state="building")],
    "action_lease": [t.actions.update().where(t.actions.c.kind == "delete").values(finished_at=None)],
    "port_without_server": [port("unknown")],
    "port_missing": [NETWORK],
    "address_without_port": [ADDRESS],
}


@pytest.mark.parametrize("kind", BREACHES)
async def test_a_breach_is_found_and_nothing_else(world: World, server_id: str, kind: str) -> None:
    def spoil(connection: Any) -> None:
        for statement in BREACHES[kind]:
            connection.execute(statement)

    await world.database.run(spoil)
    assert {finding.kind for finding in await findings(world)} == {kind}


async def test_a_server_that_claims_two_hosts(world: World, server_id: str) -> None:
    def spoil(connection: Any) -> None:
        taken = connection.execute(sa.select(t.allocations.c.host)).scalar()
        other = "host2" if taken == "host1" else "host1"
        connection.execute(allocation(server_id, other))
        connection.execute(t.hosts.update().where(t.hosts.c.host == other).values(servers_count=1))

    await world.database.run(spoil)
    found = await findings(world)
    assert [(one.kind, one.subject) for one in found] == [
        ("allocation_elsewhere", server_id),
        ("allocation_doubled", server_id),
    ]
    assert found[1].message == "it claims several hosts: host1, host2"


async def test_a_claim_that_is_held_for_a_move_that_is_over(world: World, server_id: str) -> None:
    def spoil(connection: Any) -> None:
        connection.execute(allocation("a move", "host1").values(server_id=server_id))
        more = t.hosts.update().where(t.hosts.c.host == "host1")
        connection.execute(more.values(servers_count=t.hosts.c.servers_count + 1))

    await world.database.run(spoil)
    assert [(one.kind, one.subject) for one in await findings(world)] == [("allocation_held", server_id)]


async def test_claims_of_a_host_that_was_forgotten(world: World, server_id: str) -> None:
    await world.database.run(lambda connection: connection.execute(t.hosts.delete()))
    assert {one.kind for one in await findings(world)} == {"allocation_without_host"}


async def test_an_action_that_nobody_takes_over(world: World, server_id: str) -> None:
    def spoil(connection: Any) -> list[Finding]:
        connection.execute(OPEN_AGAIN.where(t.actions.c.server_id == server_id))
        created = connection.execute(sa.select(t.actions.c.id).where(t.actions.c.server_id == server_id)).scalar()
        connection.execute(t.servers.update().where(t.servers.c.id == server_id).values(action_id=created))
        return check(connection, 61_000_001, GRACE)

    found = await world.database.run(spoil)
    assert [one.kind for one in found] == ["action_late"]
    assert "61.0 s ago" in found[0].message and server_id in found[0].message


async def test_an_action_within_the_grace_is_not_late(world: World, client: Client) -> None:
    await client.boot()
    assert await findings(world) == []


async def test_an_open_action_whose_server_went_on(world: World, server_id: str) -> None:
    def spoil(connection: Any) -> list[Finding]:
        connection.execute(OPEN_AGAIN.where(t.actions.c.kind == "delete"))
        return check(connection, 2, GRACE)

    assert [one.kind for one in await world.database.run(spoil)] == ["action_without_server"]
