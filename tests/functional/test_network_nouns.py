"""Networks, subnets and ports over HTTP: what projects make for themselves."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid
from kilonova.network import SHARED_NETWORK_ID, SHARED_SUBNET_ID
from kilonova.network.protocol import RequestedNic
from tests.functional.neighbours import Neighbours, on_a_server
from tests.functional.network_api import Networking, networking

UNKNOWN = "99999999-9999-4999-8999-999999999999"


async def subnet_on(client: Networking, cidr: str = "10.1.0.0/24", **more: Any) -> tuple[str, dict[str, Any]]:
    """A network of the client's project with a subnet: the network's id, the subnet."""
    network = (await client.make("network", name="n"))["id"]
    return network, await client.make("subnet", network_id=network, ip_version=4, cidr=cidr, **more)


# --- networks ----------------------------------------------------------------------------------------------


async def test_life_of_a_network(cloud: Neighbours, demo: Networking) -> None:
    made = await demo.make("network", name="n1", description="d", mtu="1400", admin_state_up="True")
    assert made["project_id"] == made["tenant_id"] == cloud.bootstrapped.demo_project_id
    assert made["mtu"] == 1400 and made["shared"] is False and made["subnets"] == [] and made["tags"] == []
    url = f"networks/{made['id']}"
    assert (await demo(f"GET {url}"))["network"] == made
    cloud.clock.advance(5)
    changed = (await demo(f"PUT {url}", {"network": {"name": "n2", "admin_state_up": False}}))["network"]
    assert changed["name"] == "n2" and changed["status"] == "DOWN"
    assert changed["revision_number"] == made["revision_number"] + 1 and changed["updated_at"] > made["updated_at"]
    same = (await demo(f"PUT {url}", {"network": {"name": "n2"}}))["network"]
    assert same["revision_number"] == changed["revision_number"]
    await demo(f"DELETE {url}", status=204)
    await demo.refused("NetworkNotFound", f"GET {url}", status=404)


async def test_networks_of_others(demo: Networking, other: Networking, admin: Networking) -> None:
    own = (await demo.make("network", name="own"))["id"]
    shared = (await admin.make("network", name="for all", shared=True))["id"]
    for call in (f"GET networks/{own}", f"DELETE networks/{own}", f"PUT networks/{own}"):
        await other(call, {"network": {"name": "x"}} if "PUT" in call else None, status=404)
    assert await other.names("networks?sort_key=name") == ["for all", "private", "public"]
    for call in (f"DELETE networks/{shared}", f"PUT networks/{shared}"):
        await other(call, {"network": {"name": "x"}} if "PUT" in call else None, status=403)
    await other(
        "POST subnets", {"subnet": {"network_id": shared, "ip_version": 4, "cidr": "10.0.0.0/24"}}, status=403
    )
    body = {"subnet": {"network_id": own, "ip_version": 4, "cidr": "10.0.0.0/24"}}
    await other.refused("NetworkNotFound", "POST subnets", body, 404)
    assert "own" in await admin.names("networks")


@pytest.mark.parametrize(
    "attribute",
    [
        {"shared": True},
        {"router:external": True},
        {"is_default": True},
        {"provider:network_type": "flat"},
        {"project_id": "somebody-else"},
    ],
)
async def test_what_only_administrators_write(demo: Networking, attribute: dict[str, Any]) -> None:
    await demo("POST networks", {"network": {"name": "x", **attribute}}, status=403)
    assert "x" not in await demo.names("networks")


async def test_provider_attributes(admin: Networking) -> None:
    flat = await admin.make("network", **{"provider:network_type": "flat", "provider:physical_network": "p1"})
    assert (flat["provider:network_type"], flat["provider:physical_network"]) == ("flat", "p1")
    for kind in ("vlan", "vxlan"):
        body = {"network": {"provider:network_type": kind, "provider:segmentation_id": 5}}
        await admin.refused("BadRequest", "POST networks", body, 400)
    assert [n["id"] for n in (await admin("GET networks?provider:physical_network=p1"))["networks"]] == [flat["id"]]


async def test_the_configurations_own_network_stays(admin: Networking) -> None:
    await admin.refused("NetworkInUse", f"DELETE networks/{SHARED_NETWORK_ID}")
    await admin.refused("SubnetInUse", f"DELETE subnets/{SHARED_SUBNET_ID}")


# --- subnets -----------------------------------------------------------------------------------------------


async def test_subnet_defaults(demo: Networking) -> None:
    network, subnet = await subnet_on(demo, "10.1.0.7/24")
    assert subnet["cidr"] == "10.1.0.0/24" and subnet["gateway_ip"] == "10.1.0.1" and subnet["enable_dhcp"] is True
    assert subnet["allocation_pools"] == [{"start": "10.1.0.2", "end": "10.1.0.254"}]
    six = await demo.make("subnet", network_id=network, ip_version=6, cidr="2001:db8::/64", ipv6_ra_mode="slaac")
    assert six["gateway_ip"] == "2001:db8::1"
    assert six["allocation_pools"] == [{"start": "2001:db8::2", "end": "2001:db8::ffff:ffff:ffff:ffff"}]
    assert set((await demo(f"GET networks/{network}"))["network"]["subnets"]) == {subnet["id"], six["id"]}
    closed = await demo.make("subnet", network_id=network, ip_version=4, cidr="10.2.0.0/29", gateway_ip=None)
    assert closed["gateway_ip"] is None and closed["allocation_pools"] == [{"start": "10.2.0.1", "end": "10.2.0.6"}]
    middle = await demo.make("subnet", network_id=network, ip_version=4, cidr="10.3.0.0/29", gateway_ip="10.3.0.3")
    assert middle["allocation_pools"] == [
        {"start": "10.3.0.1", "end": "10.3.0.2"},
        {"start": "10.3.0.4", "end": "10.3.0.6"},
    ]


async def test_subnets_overlap_on_one_network_only(demo: Networking) -> None:
    network, _ = await subnet_on(demo)
    body = {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.1.0.128/25"}}
    assert "overlaps with another subnet" in await demo.refused("InvalidInput", "POST subnets", body, 400)
    await subnet_on(demo)


@pytest.mark.parametrize(
    ("status", "attributes"),
    [
        (400, {"cidr": "nonsense"}),
        (400, {"cidr": "10.0.0.0/33"}),
        (400, {"cidr": "2001:db8::/64"}),
        (400, {"cidr": "0.0.0.0/0"}),
        (400, {"cidr": "224.0.0.0/24"}),
        (400, {"cidr": None}),
        (400, {"ip_version": 5}),
        (400, {"gateway_ip": "10.9.0.255"}),
        (400, {"gateway_ip": "2001:db8::1"}),
        (400, {"allocation_pools": [{"start": "10.9.0.9", "end": "10.9.0.3"}]}),
        (400, {"allocation_pools": [{"start": "10.9.0.9", "end": "10.9.1.3"}]}),
        (409, {"allocation_pools": [{"start": "10.9.0.1", "end": "10.9.0.3"}]}),
        (
            409,
            {
                "allocation_pools": [
                    {"start": "10.9.0.3", "end": "10.9.0.9"},
                    {"start": "10.9.0.5", "end": "10.9.0.7"},
                ]
            },
        ),
        (400, {"dns_nameservers": ["nonsense"]}),
        (400, {"dns_nameservers": ["1.1.1.1", "1.1.1.1"]}),
        (400, {"host_routes": [{"destination": "10.0.0.0/8", "nexthop": "2001:db8::1"}]}),
        (400, {"ipv6_ra_mode": "slaac"}),
        (400, {"name": "x" * 256}),
        (400, {"surprise": 1}),
        (404, {"network_id": UNKNOWN}),
    ],
    ids=str,
)
async def test_bad_subnets(demo: Networking, status: int, attributes: dict[str, Any]) -> None:
    network = (await demo.make("network"))["id"]
    body = {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24", **attributes}}
    await demo("POST subnets", body, status=status)
    assert (await demo(f"GET subnets?network_id={network}"))["subnets"] == []


async def test_changing_a_subnet(demo: Networking) -> None:
    network, subnet = await subnet_on(demo, host_routes=[{"destination": "10.8.0.0/16", "nexthop": "10.1.0.9"}])
    url = f"subnets/{subnet['id']}"
    wanted = {"name": "s", "dns_nameservers": ["9.9.9.9"], "host_routes": [], "enable_dhcp": False}
    changed = (await demo(f"PUT {url}", {"subnet": wanted}))["subnet"]
    assert {name: changed[name] for name in wanted} == wanted
    await demo(f"PUT {url}", {"subnet": {"cidr": "10.2.0.0/24"}}, status=400)
    pools = [{"start": "10.1.0.10", "end": "10.1.0.11"}]
    await demo(f"PUT {url}", {"subnet": {"allocation_pools": pools}})
    for expected in ("10.1.0.10", "10.1.0.11"):
        port = await demo.make("port", network_id=network)
        assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": expected}]
    await demo.refused("IpAddressGenerationFailure", "POST ports", {"port": {"network_id": network}})
    await demo.refused("GatewayIpInUse", f"PUT {url}", {"subnet": {"gateway_ip": "10.1.0.10"}})
    wider = {"subnet": {"allocation_pools": [{"start": "10.1.0.10", "end": "10.1.0.19"}]}}
    await demo(f"PUT {url}", wider)
    await demo.refused("GatewayConflictWithAllocationPools", f"PUT {url}", {"subnet": {"gateway_ip": "10.1.0.19"}})
    assert (await demo(f"PUT {url}", {"subnet": {"gateway_ip": None}}))["subnet"]["gateway_ip"] is None


async def test_what_is_in_use_stays(demo: Networking) -> None:
    network, subnet = await subnet_on(demo)
    port = (await demo.make("port", network_id=network))["id"]
    await demo.refused("SubnetInUse", f"DELETE subnets/{subnet['id']}")
    await demo.refused("NetworkInUse", f"DELETE networks/{network}")
    await demo(f"DELETE ports/{port}", status=204)
    await demo(f"DELETE networks/{network}", status=204)
    await demo(f"GET subnets/{subnet['id']}", status=404)


# --- ports -------------------------------------------------------------------------------------------------


async def test_port_on_a_network_with_both_families(demo: Networking) -> None:
    network, four = await subnet_on(demo)
    six = await demo.make("subnet", network_id=network, ip_version=6, cidr="2001:db8::/64")
    port = await demo.make("port", network_id=network)
    assert port["fixed_ips"] == [
        {"subnet_id": four["id"], "ip_address": "10.1.0.2"},
        {"subnet_id": six["id"], "ip_address": "2001:db8::2"},
    ]
    far = "2001:db8::ffff:ffff:ffff:fff0"  # farther than a column counts
    wanted = [{"subnet_id": six["id"], "ip_address": far}]
    assert (await demo.make("port", network_id=network, fixed_ips=wanted))["fixed_ips"] == wanted
    await demo.refused(
        "IpAddressAlreadyAllocated", "POST ports", {"port": {"network_id": network, "fixed_ips": wanted}}
    )
    second = await demo.make("port", network_id=network, fixed_ips=[{"subnet_id": six["id"]}])
    assert [entry["ip_address"] for entry in second["fixed_ips"]] == ["2001:db8::3"]
    assert (await demo.make("port", network_id=network, fixed_ips=[]))["fixed_ips"] == []


async def test_ports_everything(demo: Networking) -> None:
    network, _ = await subnet_on(demo)
    wanted = {
        "name": "p",
        "description": "d",
        "mac_address": "fa:16:3e:00:00:aa",
        "device_id": "mine",
        "device_owner": "me:myself",
        "dns_name": "host",
        "allowed_address_pairs": [
            {"ip_address": "10.7.0.0/16"},
            {"ip_address": "1.2.3.4", "mac_address": "fa:16:3e:00:00:ab"},
        ],
        "extra_dhcp_opts": [{"opt_name": "bootfile-name", "opt_value": "x", "ip_version": 4}],
        "binding:vnic_type": "normal",
        "port_security_enabled": True,
        "admin_state_up": False,
    }
    port = await demo.make("port", network_id=network, **wanted)
    assert {name: port[name] for name in wanted} == wanted
    url = f"ports/{port['id']}"
    await demo.refused(
        "MacAddressInUse", "POST ports", {"port": {"network_id": network, "mac_address": "FA:16:3e:00:00:aa"}}
    )
    await demo(f"PUT {url}", {"port": {"mac_address": "fa:16:3e:00:00:ac"}}, status=403)
    unsafe: dict[str, Any] = {"port_security_enabled": False, "security_groups": []}
    await demo(f"PUT {url}", {"port": unsafe}, status=409)  # its address pairs need port security
    changed = (await demo(f"PUT {url}", {"port": {**unsafe, "allowed_address_pairs": []}}))["port"]
    assert changed["port_security_enabled"] is False and changed["security_groups"] == []
    await demo(f"PUT {url}", {"port": {"security_groups": port["security_groups"]}}, status=409)


async def test_readdressing_a_port(demo: Networking) -> None:
    network, subnet = await subnet_on(demo)
    port = await demo.make("port", network_id=network)
    url, here = f"ports/{port['id']}", {"subnet_id": subnet["id"]}

    async def change(*addresses: dict[str, str]) -> set[str]:
        changed = (await demo(f"PUT {url}", {"port": {"fixed_ips": list(addresses)}}))["port"]
        return {entry["ip_address"] for entry in changed["fixed_ips"]}

    assert await change(here, {"ip_address": "10.1.0.50"}) == {"10.1.0.2", "10.1.0.50"}
    assert await change({"ip_address": "10.1.0.50"}) == {"10.1.0.50"}
    assert await change({"ip_address": "10.1.0.50"}, {"ip_address": "10.1.0.51"}) == {"10.1.0.50", "10.1.0.51"}
    for bad in ("10.2.0.1", "10.1.0.1", "10.1.0.0", "10.1.0.255", "x"):
        await demo(f"PUT {url}", {"port": {"fixed_ips": [{"ip_address": bad}]}}, status=400)
    twice = [{"ip_address": "10.1.0.9"}, {"ip_address": "10.1.0.9"}]
    await demo(f"PUT {url}", {"port": {"fixed_ips": twice}}, status=400)
    assert {e["ip_address"] for e in (await demo(f"GET {url}"))["port"]["fixed_ips"]} == {"10.1.0.50", "10.1.0.51"}
    await demo.make("port", network_id=network, fixed_ips=[{"ip_address": "10.1.0.2"}])
    assert await change() == set()


async def test_lists(demo: Networking) -> None:
    network, subnet = await subnet_on(demo)
    for number, name in enumerate(("a", "b", "c", "b")):
        await demo.make("port", network_id=network, name=name, device_id=f"d{number}", description=f"%{number}")
    assert await demo.names("ports?sort_key=name&sort_dir=desc") == ["c", "b", "b", "a"]
    assert await demo.names("ports?sort_key=name&sort_dir=asc&sort_key=device_id&sort_dir=desc&name=b&name=c") == [
        "b",
        "b",
        "c",
    ]
    seen, marker = [], ""
    for _ in range(4):
        page = (await demo(f"GET ports?limit=1&sort_key=name&sort_dir=desc{marker}"))["ports"]
        seen += [port["name"] for port in page]
        marker = f"&marker={page[0]['id']}"
    assert seen == ["c", "b", "b", "a"]
    assert (await demo(f"GET ports?sort_key=name&sort_dir=desc{marker}"))["ports"] == []
    assert await demo.names("ports?description=%252") == ["c"]
    assert await demo.names("ports?fixed_ips=ip_address_substr=1.0.3") == ["b"]
    assert await demo.names(f"ports?fixed_ips=subnet_id={subnet['id']}&device_id=d0&network_id={network}") == ["a"]
    assert len(await demo.names("ports?status=DOWN")) == 4 and await demo.names("ports?status=ACTIVE") == []
    assert (await demo("GET ports?fields=id&fields=name&name=a"))["ports"][0].keys() == {"id", "name"}
    assert len((await demo("GET subnets?ip_version=4&enable_dhcp=true&cidr=10.1.0.0/24"))["subnets"]) == 1
    for bad in ("sort_key=nonsense", "sort_key=name&sort_dir=up", "limit=-1", "marker=nonsense&sort_key=name"):
        await demo(f"GET ports?{bad}", status=400)


# --- quotas ------------------------------------------------------------------------------------------------


async def test_quotas(cloud: Neighbours, demo: Networking, admin: Networking) -> None:
    project = cloud.bootstrapped.demo_project_id
    await demo(f"PUT quotas/{project}", {"quota": {"network": 5}}, status=403)
    assert (await admin(f"PUT quotas/{project}", {"quota": {"network": 2, "subnet": -1}}))["quota"]["network"] == 2
    await demo.make("network")
    first = (await demo.make("network"))["id"]
    message = await demo.refused("OverQuota", "POST networks", {"network": {}})
    below = {"quota": {"network": 1, "check_limit": True}}
    await admin.refused("QuotaLimitExceeded", f"PUT quotas/{project}", below, 400)
    assert "network" in message
    details = (await demo(f"GET quotas/{project}/details"))["quota"]
    assert details["network"] == {"limit": 2, "used": 2, "reserved": 0} and details["subnet"]["limit"] == -1
    assert (await demo(f"GET quotas/{project}/default"))["quota"]["network"] == 100
    (listed,) = (await admin("GET quotas"))["quotas"]
    assert listed["project_id"] == project and listed["network"] == 2
    await demo(f"DELETE networks/{first}")
    await demo.make("network")
    await admin(f"DELETE quotas/{project}", status=204)
    await demo.make("network")
    await admin(f"DELETE quotas/{project}", status=404)
    await admin(f"PUT quotas/{project}", {"quota": {"network": -2}}, status=400)
    await demo("GET quotas/other", status=403)


async def test_readers_read(cloud: Neighbours) -> None:
    async with cloud.client(await cloud.token()) as http:
        user = {"name": "reader", "password": "correct horse", "domain_id": "default"}
        made = (await http.post("/identity/v3/users", json={"user": user})).json()["user"]["id"]
        roles = {role["name"]: role["id"] for role in (await http.get("/identity/v3/roles")).json()["roles"]}
        project = cloud.bootstrapped.demo_project_id
        await http.put(f"/identity/v3/projects/{project}/users/{made}/roles/{roles['reader']}")
    async with cloud.client(await cloud.token("reader", "demo")) as http:
        reader = Networking(http)
        assert "private" in await reader.names("networks")
        await reader("POST networks", {"network": {}}, status=403)


# --- on every database -------------------------------------------------------------------------------------


async def at_once(cloud: Neighbours) -> None:
    """Requests at one moment: one takes the last place, one the address, one the addresses of a network."""
    async with networking(cloud) as demo, networking(cloud, "admin") as admin:
        project = cloud.bootstrapped.demo_project_id
        await admin(f"PUT quotas/{project}", {"quota": {"network": 10, "port": 500}})

        async def statuses(*calls: tuple[str, Any]) -> list[int]:
            answers = await asyncio.gather(
                *(demo.http.post(f"/network/v2.0/{path}", json=body) for path, body in calls)
            )
            return sorted(answer.status_code for answer in answers)

        assert await statuses(*[("networks", {"network": {}})] * 25) == [201] * 10 + [409] * 15
        network = (await demo("GET networks?shared=false&router:external=false"))["networks"][0]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24"}
        assert await statuses(*[("subnets", {"subnet": subnet})] * 8) == [201] + [400] * 7
        port = {"network_id": network, "fixed_ips": [{"ip_address": "10.1.0.9"}]}
        assert await statuses(*[("ports", {"port": port})] * 8) == [201] + [409] * 7
        mac = {"network_id": network, "mac_address": "fa:16:3e:00:00:01"}
        assert await statuses(*[("ports", {"port": mac})] * 8) == [201] + [409] * 7
        assert await statuses(*[("ports", {"port": {"network_id": network}})] * 20) == [201] * 20
        groups = await asyncio.gather(*(demo("GET security-groups") for _ in range(8)))
        assert {len(found["security_groups"]) for found in groups} == {1}
        rules = groups[0]["security_groups"][0]["security_group_rules"]
        assert len(rules) == 4


async def test_at_once(cloud: Neighbours) -> None:
    await at_once(cloud)


@pytest.mark.distributed
@pytest.mark.parametrize("system", ["mariadb", "postgresql"])
async def test_at_once_on_a_server(request: pytest.FixtureRequest, tmp_path: Path, system: str) -> None:
    async with on_a_server(request, tmp_path, system) as cloud:
        await at_once(cloud)


# --- what Compute sees of them -----------------------------------------------------------------------------


async def test_a_project_with_one_network_gets_it(cloud: Neighbours, demo: Networking) -> None:
    project = cloud.bootstrapped.demo_project_id
    caller = Caller(user_id="u", project_id=project)
    network, _ = await subnet_on(demo)
    assert await cloud.networks.default_networks(caller) == [RequestedNic(network_id=network)]
    (nic,) = await cloud.networks.allocate("s1", project, "h", [RequestedNic(network_id=network)])
    assert nic.bridge.startswith("kn-") and len(nic.bridge) <= 15 and nic.host_address == ""
    assert nic.network_name == "n" and nic.address == "10.1.0.2"
    await demo.make("network")
    with pytest.raises(Conflict, match="Multiple possible networks"):
        await cloud.networks.default_networks(caller)


async def test_networks_a_server_cannot_use(cloud: Neighbours, demo: Networking, other: Networking) -> None:
    caller = Caller(user_id="u", project_id=cloud.bootstrapped.demo_project_id)
    empty = (await demo.make("network"))["id"]
    theirs, _ = await subnet_on(other)
    for network in (empty, theirs, UNKNOWN):
        with pytest.raises(Invalid):
            await cloud.networks.check(caller, [RequestedNic(network_id=network)])
