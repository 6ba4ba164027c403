"""Routers, floating addresses, tags, and a topology made at one word, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kilonova.network import SHARED_NETWORK_ID, SHARED_SUBNET_ID
from kilonova.network.protocol import RequestedNic
from tests.functional.neighbours import Neighbours, on_a_server
from tests.functional.network_api import Networking, networking, second_project

UNKNOWN = "99999999-9999-4999-8999-999999999999"


class Routed:
    """A network with a subnet that a router joins to the external one."""

    public: str
    network: str
    subnet: str
    router: str

    @classmethod
    async def make(cls, client: Networking, cidr: str = "10.1.0.0/24") -> "Routed":
        found = cls()
        found.public = (await client("GET networks?router:external=True"))["networks"][0]["id"]
        found.network = (await client.make("network", name="n"))["id"]
        found.subnet = (await client.make("subnet", network_id=found.network, ip_version=4, cidr=cidr))["id"]
        gateway = {"network_id": found.public}
        found.router = (await client.make("router", name="r", external_gateway_info=gateway))["id"]
        await client(f"PUT routers/{found.router}/add_router_interface", {"subnet_id": found.subnet})
        return found


# --- routers -----------------------------------------------------------------------------------------------


async def test_life_of_a_router(demo: Networking, admin: Networking) -> None:
    made = await Routed.make(demo)
    url = f"routers/{made.router}"
    router = (await demo(f"GET {url}"))["router"]
    gateway = router["external_gateway_info"]
    assert gateway["network_id"] == made.public and gateway["enable_snat"] is True
    assert gateway["external_fixed_ips"][0]["ip_address"].startswith("172.24.4.")
    assert router["ha"] is False and router["distributed"] is False
    await demo(f"PUT {url}", {"router": {"ha": True}}, status=403)
    (port,) = (await demo(f"GET ports?device_id={made.router}"))["ports"]  # the gateway's is nobody's
    assert port["device_owner"] == "network:router_interface"
    assert port["fixed_ips"] == [{"subnet_id": made.subnet, "ip_address": "10.1.0.1"}]
    await demo.refused("ServicePortInUse", f"DELETE ports/{port['id']}")
    await demo.refused("RouterInUse", f"DELETE {url}")
    await demo.refused("SubnetInUse", f"DELETE subnets/{made.subnet}")
    route = {"destination": "10.9.0.0/16", "nexthop": "10.1.0.77"}
    assert (await demo(f"PUT {url}", {"router": {"routes": [route]}}))["router"]["routes"] == [route]
    outside = {"destination": "10.8.0.0/16", "nexthop": "172.24.4.77"}
    assert (await demo(f"PUT {url}", {"router": {"routes": [outside]}}))["router"]["routes"] == [outside]
    astray = {"router": {"routes": [{**route, "nexthop": "10.3.0.1"}]}}
    await demo.refused("InvalidRoutes", f"PUT {url}", astray, 400)
    gone = (await demo(f"PUT {url}", {"router": {"external_gateway_info": None, "name": "x"}}))["router"]
    assert gone["external_gateway_info"] is None and gone["name"] == "x"
    assert (await admin(f"GET ports?device_id={made.router}&device_owner=network:router_gateway"))["ports"] == []
    answer = await demo(f"PUT {url}/remove_router_interface", {"subnet_id": made.subnet})
    assert answer["port_id"] == port["id"] and answer["subnet_id"] == made.subnet and answer["id"] == made.router
    await demo(f"DELETE {url}", status=204)
    await demo.refused("RouterNotFound", f"GET {url}", status=404)
    await demo(f"DELETE networks/{made.network}", status=204)


async def test_a_chosen_gateway_address(demo: Networking) -> None:
    public = (await demo("GET networks?router:external=True"))["networks"][0]["id"]
    wanted = {"network_id": public, "enable_snat": False, "external_fixed_ips": [{"ip_address": "172.24.4.99"}]}
    router = await demo.make("router", external_gateway_info=wanted)
    gateway = router["external_gateway_info"]
    assert gateway["external_fixed_ips"][0]["ip_address"] == "172.24.4.99" and gateway["enable_snat"] is False
    await demo.refused("IpAddressAlreadyAllocated", "POST routers", {"router": {"external_gateway_info": wanted}})
    inside = {"router": {"external_gateway_info": {"network_id": SHARED_NETWORK_ID}}}
    await demo("POST routers", inside, status=400)
    nowhere = {"router": {"external_gateway_info": {"network_id": UNKNOWN}}}
    await demo.refused("NetworkNotFound", "POST routers", nowhere, 404)
    assert len((await demo("GET routers"))["routers"]) == 1


async def test_interfaces(demo: Networking) -> None:
    made = await Routed.make(demo)
    add, remove = (f"PUT routers/{made.router}/{verb}_router_interface" for verb in ("add", "remove"))
    await demo(add, {"subnet_id": made.subnet}, status=400)
    second = await demo.make("router", name="second")
    await demo.refused(
        "IpAddressInUse", f"PUT routers/{second['id']}/add_router_interface", {"subnet_id": made.subnet}
    )
    port = await demo.make("port", network_id=made.network)
    answer = await demo(f"PUT routers/{second['id']}/add_router_interface", {"port_id": port["id"]})
    assert answer["port_id"] == port["id"] and answer["subnet_ids"] == [made.subnet]
    await demo.refused("PortInUse", add, {"port_id": port["id"]})
    network = (await demo.make("network"))["id"]
    overlapping = await demo.make("subnet", network_id=network, ip_version=4, cidr="10.1.0.0/16")
    assert "overlaps" in await demo.refused("BadRequest", add, {"subnet_id": overlapping["id"]}, 400)
    closed = await demo.make("subnet", network_id=network, ip_version=4, cidr="10.2.0.0/24", gateway_ip=None)
    assert "gateway" in await demo.refused("BadRequest", add, {"subnet_id": closed["id"]}, 400)
    await demo(add, {"subnet_id": made.subnet, "port_id": port["id"]}, status=400)
    await demo(add, {"subnet_id": UNKNOWN}, status=404)
    await demo(add, {}, status=400)
    await demo.refused("RouterInterfaceNotFoundForSubnet", remove, {"subnet_id": closed["id"]}, 404)
    await demo.refused("RouterInterfaceNotFound", remove, {"port_id": port["id"]}, 404)


async def test_routers_of_others(cloud: Neighbours, demo: Networking) -> None:
    made = await Routed.make(demo)
    address = await demo.make("floatingip", floating_network_id=made.public)
    await second_project(cloud)
    async with networking(cloud, "other") as other:
        for call in (
            f"GET routers/{made.router}",
            f"DELETE routers/{made.router}",
            f"DELETE floatingips/{address['id']}",
        ):
            await other(call, status=404)
        subnet = {"subnet_id": made.subnet}
        await other(f"PUT routers/{made.router}/add_router_interface", subnet, status=404)
        own = await other.make("router")
        await other(f"PUT routers/{own['id']}/add_router_interface", subnet, status=404)
        assert (await other("GET floatingips"))["floatingips"] == []


# --- floating addresses ------------------------------------------------------------------------------------


async def test_life_of_a_floating_address(demo: Networking) -> None:
    made = await Routed.make(demo)
    port = await demo.make("port", network_id=made.network, name="p")
    address = await demo.make("floatingip", floating_network_id=made.public, description="d")
    assert address["status"] == "DOWN" and address["port_id"] is None and address["port_details"] is None
    url = f"floatingips/{address['id']}"
    taken = (await demo(f"PUT {url}", {"floatingip": {"port_id": port["id"]}}))["floatingip"]
    assert taken["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"] and taken["router_id"] == made.router
    assert taken["status"] == "ACTIVE" and taken["port_details"]["name"] == "p"
    second = {"floating_network_id": made.public, "port_id": port["id"]}
    await demo.refused("FloatingIPPortAlreadyAssociated", "POST floatingips", {"floatingip": second})
    assert len((await demo(f"GET floatingips?port_id={port['id']}"))["floatingips"]) == 1
    by_address = await demo(f"GET floatingips?floating_ip_address={address['floating_ip_address']}&status=ACTIVE")
    assert [entry["id"] for entry in by_address["floatingips"]] == [address["id"]]
    remove = f"PUT routers/{made.router}/remove_router_interface"
    await demo.refused("RouterInterfaceInUseByFloatingIP", remove, {"subnet_id": made.subnet})
    clear = {"router": {"external_gateway_info": {}}}
    await demo.refused("RouterExternalGatewayInUseByFloatingIp", f"PUT routers/{made.router}", clear)
    await demo.refused("NetworkInUse", f"DELETE networks/{made.network}")
    free = (await demo(f"PUT {url}", {"floatingip": {"port_id": None}}))["floatingip"]
    assert free["port_id"] is None and free["fixed_ip_address"] is None and free["status"] == "DOWN"
    await demo(f"PUT {url}", {"floatingip": {"port_id": port["id"]}})
    await demo(f"DELETE ports/{port['id']}", status=204)
    assert (await demo(f"GET {url}"))["floatingip"]["port_id"] is None
    await demo(f"DELETE {url}", status=204)
    wanted = {"floating_network_id": made.public, "floating_ip_address": address["floating_ip_address"]}
    again = await demo.make("floatingip", **wanted)
    assert again["floating_ip_address"] == address["floating_ip_address"]
    await demo.refused("IpAddressAlreadyAllocated", "POST floatingips", {"floatingip": wanted})


async def test_what_a_floating_address_cannot_stand_for(demo: Networking) -> None:
    made = await Routed.make(demo)
    lonely = (await demo.make("network"))["id"]
    await demo.make("subnet", network_id=lonely, ip_version=4, cidr="10.3.0.0/24")
    six = await demo.make("subnet", network_id=made.network, ip_version=6, cidr="2001:db8::/64")
    unreachable = await demo.make("port", network_id=lonely)
    only_six = await demo.make("port", network_id=made.network, fixed_ips=[{"subnet_id": six["id"]}])
    pair = [{"ip_address": "10.1.0.20"}, {"ip_address": "10.1.0.21"}]
    double = await demo.make("port", network_id=made.network, fixed_ips=pair)

    async def refused(fault: str, status: int, **wanted: Any) -> None:
        body = {"floatingip": {"floating_network_id": made.public, **wanted}}
        await demo.refused(fault, "POST floatingips", body, status)

    await refused("ExternalGatewayForFloatingIPNotFound", 404, port_id=unreachable["id"])
    await refused("BadRequest", 400, port_id=only_six["id"])
    await refused("BadRequest", 400, port_id=double["id"])
    await refused("BadRequest", 400, port_id=double["id"], fixed_ip_address="10.1.0.99")
    await refused("PortNotFound", 404, port_id=UNKNOWN)
    await refused("BadRequest", 400, floating_network_id=SHARED_NETWORK_ID)
    await refused("NetworkNotFound", 404, floating_network_id=UNKNOWN)
    await refused("InvalidIpForNetwork", 400, floating_ip_address="9.9.9.9")
    assert (await demo("GET floatingips"))["floatingips"] == []
    chosen = {"floating_network_id": made.public, "port_id": double["id"], "fixed_ip_address": "10.1.0.21"}
    assert (await demo.make("floatingip", **chosen))["fixed_ip_address"] == "10.1.0.21"


async def test_the_shared_network_has_a_router(cloud: Neighbours, demo: Networking) -> None:
    """What DevStack's scripts do on a fresh cloud: a floating address for a port on ``private``."""
    public = (await demo("GET networks?name=public"))["networks"][0]["id"]
    port = await demo.make("port", network_id=SHARED_NETWORK_ID)
    made = await demo.make("floatingip", floating_network_id=public, port_id=port["id"])
    assert made["status"] == "ACTIVE"
    assert port["fixed_ips"][0]["subnet_id"] == SHARED_SUBNET_ID


async def test_floating_quota(cloud: Neighbours, demo: Networking, admin: Networking) -> None:
    await admin(f"PUT quotas/{cloud.bootstrapped.demo_project_id}", {"quota": {"floatingip": 1, "router": 0}})
    public = (await demo("GET networks?name=public"))["networks"][0]["id"]
    body = {"floatingip": {"floating_network_id": public}}
    await demo("POST floatingips", body, status=201)
    await demo.refused("OverQuota", "POST floatingips", body)
    await demo.refused("OverQuota", "POST routers", {"router": {}})


async def one_of_many(cloud: Neighbours) -> None:
    """Of eight floating addresses that want one port at the same moment, one has it."""
    async with networking(cloud) as demo:
        made = await Routed.make(demo)
        port = await demo.make("port", network_id=made.network)
        addresses = [(await demo.make("floatingip", floating_network_id=made.public))["id"] for _ in range(8)]
        body = {"floatingip": {"port_id": port["id"]}}
        answers = await asyncio.gather(
            *(demo.http.put(f"/network/v2.0/floatingips/{address}", json=body) for address in addresses)
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_one_of_many(cloud: Neighbours) -> None:
    await one_of_many(cloud)


@pytest.mark.distributed
@pytest.mark.parametrize("system", ["mariadb", "postgresql"])
async def test_one_of_many_on_a_server(request: pytest.FixtureRequest, tmp_path: Path, system: str) -> None:
    async with on_a_server(request, tmp_path, system) as cloud:
        await one_of_many(cloud)


# --- tags --------------------------------------------------------------------------------------------------


async def test_tags(demo: Networking, admin: Networking) -> None:
    made = await Routed.make(demo)
    port = (await demo.make("port", network_id=made.network, name="p"))["id"]
    address = (await demo.make("floatingip", floating_network_id=made.public))["id"]
    group = (await demo.make("security_group", name="g"))["id"]
    paths = {
        "networks": made.network,
        "subnets": made.subnet,
        "ports": port,
        "routers": made.router,
        "floatingips": address,
        "security-groups": group,
    }
    for plural, record in paths.items():
        url = f"{plural}/{record}/tags"
        assert (await demo(f"PUT {url}", {"tags": ["b", "a", "b"]}))["tags"] == ["a", "b"]
        assert (await demo(f"POST {url}", {"tags": ["c", "a"]}, status=201))["tags"] == ["a", "b", "c"]
        await demo(f"PUT {url}/c", status=201)
        assert (await demo(f"GET {url}"))["tags"] == ["a", "b", "c"]
        await demo(f"GET {url}/c", status=204)
        await demo(f"DELETE {url}/b", status=204)
        await demo.refused("TagNotFound", f"DELETE {url}/b", status=404)
        await demo(f"GET {url}/b", status=404)
        name = plural.rstrip("s").replace("-", "_")
        assert (await demo(f"GET {plural}/{record}"))[name]["tags"] == ["a", "c"]
        key = plural.replace("-", "_")

        async def found(query: str, plural: str = plural, key: str = key, record: str = record) -> bool:
            return record in [entry["id"] for entry in (await demo(f"GET {plural}?{query}"))[key]]

        assert await found("tags=a,c") and not await found("tags=a,b") and await found("tags-any=a,b")
        assert not await found("not-tags=a,c") and await found("not-tags=a,b") and not await found("not-tags-any=a,b")
        for bad in ({"tags": ["x" * 256]}, {"tags": ["a,b"]}, {"tags": [""]}, {"tags": "a"}, {}):
            await demo(f"PUT {url}", bad, status=400)
        await demo(f"DELETE {url}", status=204)
        assert (await demo(f"GET {url}"))["tags"] == []
    await demo(f"PUT networks/{SHARED_NETWORK_ID}/tags", {"tags": ["x"]}, status=403)
    await demo(f"PUT networks/{UNKNOWN}/tags/x", status=404)


# --- a topology made at one word -----------------------------------------------------------------------------


async def test_auto_allocated_topology(cloud: Neighbours, demo: Networking, admin: Networking) -> None:
    project = cloud.bootstrapped.demo_project_id
    url = f"auto-allocated-topology/{project}"
    assert (await demo(f"GET {url}?fields=dry-run"))["auto_allocated_topology"]["id"] == "dry-run=pass"
    await admin(f"GET {url}", status=404)
    assert (await demo("GET routers"))["routers"] == []
    made = (await demo(f"GET {url}"))["auto_allocated_topology"]
    for client in (demo, admin):
        assert (await client(f"GET {url}"))["auto_allocated_topology"] == made
    network = (await demo(f"GET networks/{made['id']}"))["network"]
    assert network["name"] == "auto_allocated_network" and len(network["subnets"]) == 1
    (router,) = (await demo("GET routers"))["routers"]
    assert router["external_gateway_info"]["external_fixed_ips"]
    (nic,) = await cloud.networks.allocate("s1", project, "h", [RequestedNic(network_id=made["id"])])
    assert nic.address.startswith("10.100.")
    await demo.refused("NetworkInUse", f"DELETE {url}")
    await cloud.networks.release("s1")
    await demo(f"DELETE {url}", status=204)
    await demo(f"DELETE {url}", status=404)
    assert (await demo("GET routers"))["routers"] == []
    assert (await demo(f"GET ports?network_id={made['id']}"))["ports"] == []


async def test_no_topology_without_a_default_external_network(
    demo: Networking, admin: Networking, cloud: Neighbours
) -> None:
    public = (await admin("GET networks?name=public"))["networks"][0]["id"]
    await admin(f"PUT networks/{public}", {"network": {"is_default": False}})
    url = f"auto-allocated-topology/{cloud.bootstrapped.demo_project_id}"
    for query in ("", "?fields=dry-run"):
        await demo.refused("AutoAllocationFailure", f"GET {url}{query}")
    assert "auto_allocated_network" not in await demo.names("networks")


async def test_small_things(cloud: Neighbours, demo: Networking) -> None:
    aliases = {entry["alias"] for entry in (await demo("GET extensions"))["extensions"]}
    assert (
        aliases >= {"router", "security-group", "standard-attr-tag", "port-security", "trunk"}
        and "qos" not in aliases
    )
    await demo.refused("ExtensionNotFound", "GET extensions/qos", status=404)
    zones = await demo("GET availability_zones?resource=network")
    assert len(zones["availability_zones"]) == 1
    for plural in ("subnetpools", "rbac-policies"):
        assert list((await demo(f"GET {plural}")).values()) == [[]]
    assert await demo("GET agents") == {"agents": []}
