"""What two transactions do to one port, address or network in the same moment, where the database does not serialise them."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.api.compute import interfaces
from kilonova.database import addresses as held
from kilonova.database import network_tables as t
from kilonova.database import networks as queries
from kilonova.database import port_groups, servers
from kilonova.model.errors import Conflict, Invalid, KilonovaError, NotFound
from kilonova.model.network import Trunk
from kilonova.network import allocation, quotas, server_addresses, server_groups, server_rows
from kilonova.network.allocation import Segment
from kilonova.network.inside import ask
from kilonova.network.protocol import RequestedNic
from kilonova.network.shared import PUBLIC_NETWORK_ID, SHARED_NETWORK_ID
from kilonova.network.trunks import TRUNKS
from tests.functional import compute_rows
from tests.functional.compute_rows import server_id
from tests.interleaving import Still, Stop, still_world
from tests.simulation.world import ADMIN, MEMBER, Client

pytestmark = pytest.mark.distributed
ONE, TWO = server_id("s1"), server_id("s2")


class Cloud:
    """The network service's own API as ``p1`` has it, and servers with ports."""

    def __init__(self, world: Still) -> None:
        self.world = world
        self.database = world.database

    async def __call__(self, method: str, path: str, **body: Any) -> Any:
        found = await ask(self.world.networks, MEMBER, method, path, body=body or None)
        return next(iter(found.values())) if isinstance(found, dict) and len(found) == 1 else found

    async def make(self, noun: str, **attributes: Any) -> Any:
        return await self("POST", f"{noun.replace('_', '-')}s", **{noun: attributes})

    async def network(self, name: str, cidr: str) -> tuple[str, str]:
        """A network of the project's with one subnet."""
        network = await self.make("network", name=name)
        subnet = await self.make("subnet", network_id=network["id"], ip_version=4, cidr=cidr)
        return network["id"], subnet["id"]

    async def server(self, short: str, *wanted: RequestedNic) -> list[str]:
        """A server on host1 with cards; the ids of their ports."""

        def write(connection: Connection) -> list[str]:
            row = {"project_id": "p1", "user_id": "u1", "host": "host1", "availability_zone": "nova"}
            compute_rows.insert_server(connection, short, **row)
            nics = self.world.networks.binder(connection, server_id(short), "p1", "host1", list(wanted))
            servers.update(
                connection, server_id(short), addresses=[{"port_id": nic.port_id, "tag": None} for nic in nics]
            )
            server_rows.refresh(connection, server_id(short))
            return [nic.port_id for nic in nics]

        return await self.database.run(write)

    async def shown(self, of_server: str) -> set[str]:
        """The addresses that the server's own row says it has."""
        server = await self.database.run(servers.find, of_server)
        assert server is not None
        return {a for nic in server.addresses for a in (nic["address"], *nic["more_addresses"])}

    async def left(self, table: sa.Table) -> list[Any]:
        """What of a table belongs to a port that is not there."""

        def read(connection: Connection) -> list[Any]:
            living = sa.select(t.ports.c.id)
            return list(connection.execute(sa.select(table).where(table.c.port_id.not_in(living))))

        return await self.database.run(read)


@pytest.fixture(params=["mariadb", "postgresql"])
async def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with still_world(request, tmp_path) as world:
        await world.database.run(compute_rows.insert_host, 1, "host1")
        yield Cloud(world)


SHARED = RequestedNic(network_id=SHARED_NETWORK_ID)


# --- what hangs on a port goes with it ---------------------------------------------------------------------


async def test_a_group_is_not_left_on_a_port_that_goes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody could ever delete it: it would be in use."""
    [port] = await cloud.server("s1", SHARED)
    group = await cloud.make("security_group", name="web")
    await cloud("PUT", f"ports/{port}", port={"security_groups": []})
    stop = Stop(monkeypatch, port_groups, "replace")
    await stop.overtaken(
        cloud.database,
        cloud("PUT", f"ports/{port}", port={"security_groups": [group["id"]]}),
        cloud.database.run(allocation.unbind, ONE),
    )
    assert await cloud.left(t.port_security_groups) == []
    await cloud("DELETE", f"security-groups/{group['id']}")


async def test_an_address_is_not_left_on_a_port_that_goes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = await cloud.server("s1", SHARED)
    stop = Stop(monkeypatch, Segment, "take")
    await stop.overtaken(
        cloud.database,
        cloud.database.run(server_addresses.add, ONE, SHARED_NETWORK_ID, 1),
        cloud.database.run(held.give_back, ONE, port),
    )
    assert await cloud.left(t.fixed_ips) == []


async def test_an_address_that_is_given_back_during_the_search_is_found(cloud: Cloud) -> None:
    network, subnet = await cloud.network("own", "10.1.0.0/24")
    port = await cloud.make("port", network_id=network, fixed_ips=[{"ip_address": "10.1.0.2"}])

    def search(connection: Connection) -> int:
        def execute(statement: Any, values: Any) -> Any:
            found = connection.execute(statement, values).first()
            held.free(connection, port["id"], "10.1.0.2")
            return SimpleNamespace(first=lambda: found, scalar=lambda: None if found is None else found[0])

        return held.first_free(SimpleNamespace(execute=execute), subnet, 2)  # type: ignore[arg-type]

    assert await cloud.database.run(search) == 2


async def test_a_port_that_went_to_another_server_is_not_taken_from_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ports are given back by whoever is asked to, twice if the first was slow."""
    port = (await cloud.make("port", network_id=SHARED_NETWORK_ID))["id"]
    wanted = RequestedNic(port_id=port)
    await cloud.server("s1", wanted)
    stop = Stop(monkeypatch, held, "ports_of_server", behind=True)

    async def moves_on() -> None:
        await cloud.database.run(allocation.unbind, ONE)
        await cloud.server("s2", wanted)

    await stop.overtaken(cloud.database, cloud.database.run(allocation.unbind, ONE), moves_on())
    assert (await cloud("GET", f"ports/{port}"))["device_id"] == TWO


async def test_a_router_and_a_server_do_not_both_get_a_port(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = await cloud.network("own", "10.1.0.0/24")
    port = (await cloud.make("port", network_id=network))["id"]
    router = (await cloud.make("router", name="r"))["id"]
    stop = Stop(monkeypatch, queries, "update")
    joined, bound = await stop.overtaken(
        cloud.database,
        cloud("PUT", f"routers/{router}/add_router_interface", port_id=port),
        cloud.server("s1", RequestedNic(port_id=port)),
    )
    assert joined["port_id"] == port and isinstance(bound, Conflict)
    assert (await cloud("GET", f"ports/{port}"))["device_id"] == router


# --- what a server's row says of its ports -----------------------------------------------------------------


async def test_two_groups_at_once_are_both_put_on(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = await cloud.server("s1", SHARED)
    groups = [(await cloud.make("security_group", name=name))["id"] for name in ("web", "ssh")]
    add = functools.partial(cloud.database.run, server_groups.add, ONE)
    stop = Stop(monkeypatch, port_groups, "replace")
    assert await stop.overtaken(cloud.database, *(add(group, 1) for group in groups)) == [None, None]
    assert set(groups) < set((await cloud("GET", f"ports/{port}"))["security_groups"])
    server = await cloud.database.run(servers.find, ONE)
    assert server is not None and {"web", "ssh"} < set(server.security_groups)


async def test_changes_of_two_ports_at_once_are_both_shown(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [await cloud.network(name, cidr) for name, cidr in (("a", "10.1.0.0/24"), ("b", "10.2.0.0/24"))]
    ports = await cloud.server("s1", *(RequestedNic(network_id=network) for network, _ in networks))
    wanted = ("10.1.0.77", "10.2.0.77")
    stop = Stop(monkeypatch, server_rows, "nics_of", behind=True)
    first, second = (
        cloud("PUT", f"ports/{port}", port={"fixed_ips": [{"subnet_id": subnet, "ip_address": address}]})
        for port, (_, subnet), address in zip(ports, networks, wanted, strict=True)
    )
    answers = await stop.overtaken(cloud.database, first, second)
    assert not any(isinstance(answer, BaseException) for answer in answers), answers
    assert await cloud.shown(ONE) == set(wanted)


async def test_an_interface_that_is_attached_keeps_what_its_neighbours_became(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, subnet = await cloud.network("a", "10.1.0.0/24")
    [port] = await cloud.server("s1", RequestedNic(network_id=network))
    stop = Stop(monkeypatch, interfaces, "admit")
    answer, _ = await stop.overtaken(
        cloud.database,
        Client(cloud.world)(
            "POST", f"/servers/{ONE}/os-interface", {"interfaceAttachment": {"net_id": SHARED_NETWORK_ID}}
        ),
        cloud("PUT", f"ports/{port}", port={"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.77"}]}),
    )
    assert answer.status_code == 200, answer.text
    new = answer.json()["interfaceAttachment"]["fixed_ips"][0]["ip_address"]
    assert await cloud.shown(ONE) == {"10.1.0.77", new}


# --- what stands on something else -------------------------------------------------------------------------


async def test_a_floating_address_keeps_the_router_that_leads_to_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, subnet = await cloud.network("a", "10.1.0.0/24")
    port = (await cloud.make("port", network_id=network))["id"]
    router = await cloud.make("router", name="r", external_gateway_info={"network_id": PUBLIC_NETWORK_ID})
    await cloud("PUT", f"routers/{router['id']}/add_router_interface", subnet_id=subnet)
    floating = (await cloud.make("floatingip", floating_network_id=PUBLIC_NETWORK_ID))["id"]
    stop = Stop(monkeypatch, queries, "revise")
    associated, removed = await stop.overtaken(
        cloud.database,
        cloud("PUT", f"floatingips/{floating}", floatingip={"port_id": port}),
        cloud("PUT", f"routers/{router['id']}/remove_router_interface", subnet_id=subnet),
    )
    assert associated["router_id"] == router["id"] and isinstance(removed, Conflict)


async def test_a_gateway_is_not_the_address_of_a_port(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    network, subnet = await cloud.network("a", "10.1.0.0/24")
    pools = [{"start": "10.1.0.10", "end": "10.1.0.99"}]
    await cloud("PUT", f"subnets/{subnet}", subnet={"allocation_pools": pools})
    stop = Stop(monkeypatch, queries, "revise")
    changed, refused = await stop.overtaken(
        cloud.database,
        cloud("PUT", f"subnets/{subnet}", subnet={"gateway_ip": "10.1.0.5"}),
        cloud.make("port", network_id=network, fixed_ips=[{"ip_address": "10.1.0.5"}]),
    )
    assert changed["gateway_ip"] == "10.1.0.5" and isinstance(refused, Invalid)


async def test_one_network_is_the_default_one(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_admin = functools.partial(ask, cloud.world.networks, ADMIN)
    await ask_admin("PUT", f"networks/{PUBLIC_NETWORK_ID}", body={"network": {"is_default": False}})
    first, second = (
        {"network": {"name": "n", "router:external": True, "is_default": True, "project_id": project}}
        for project in ("p0", "p9")
    )
    stop = Stop(monkeypatch, queries, "insert")
    made, refused = await stop.overtaken(
        cloud.database, ask_admin("POST", "networks", body=first), ask_admin("POST", "networks", body=second)
    )
    assert made["network"]["is_default"] and isinstance(refused, Conflict)


async def test_a_network_that_is_external_no_more_has_no_floating_address(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    external = {"name": "out", "router:external": True}
    made = await ask(cloud.world.networks, ADMIN, "POST", "networks", body={"network": external})
    network = made["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"}
    await ask(cloud.world.networks, ADMIN, "POST", "subnets", body={"subnet": subnet})
    stop = Stop(monkeypatch, quotas, "admit", behind=True)
    own = {"network": {"router:external": False}}
    refused, changed = await stop.overtaken(
        cloud.database,
        cloud.make("floatingip", floating_network_id=network),
        ask(cloud.world.networks, ADMIN, "PUT", f"networks/{network}", body=own),
    )
    assert isinstance(refused, Invalid) and not changed["network"]["router:external"]


async def test_a_rule_does_not_speak_of_a_group_that_goes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    group, other = [(await cloud.make("security_group", name=name))["id"] for name in ("web", "ssh")]
    rule = {"security_group_id": group, "direction": "ingress", "remote_group_id": other}
    stop = Stop(monkeypatch, queries, "insert")
    await stop.overtaken(
        cloud.database, cloud.make("security_group_rule", **rule), cloud("DELETE", f"security-groups/{other}")
    )
    rules = (await cloud("GET", f"security-groups/{group}"))["security_group_rules"]
    assert [one for one in rules if one["remote_group_id"] is not None] == []
    with pytest.raises(NotFound):
        await cloud("GET", f"security-groups/{other}")


async def test_the_topology_of_a_project_is_made_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop(monkeypatch, queries, "insert")
    path = "auto-allocated-topology/p1"
    made = await stop.overtaken(cloud.database, cloud("GET", path), cloud("GET", path))
    assert not any(isinstance(one, KilonovaError) for one in made), made
    assert made[0]["id"] == made[1]["id"]


async def test_a_trunk_that_goes_between_two_statements_is_shown_once_more(cloud: Cloud) -> None:
    now = cloud.world.clock.now()
    gone = Trunk(id=ONE, project_id="p1", name="t", port_id=TWO, created_at=now, updated_at=now)
    [view] = await cloud.database.run(TRUNKS.views, [gone], False)
    assert (view["status"], view["sub_ports"]) == ("DOWN", [])
