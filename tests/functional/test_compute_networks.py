"""Networks, security groups and floating addresses through Compute, as old clients reach them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy.engine import Connection

from kilonova.database import servers
from kilonova.network.protocol import RequestedNic
from tests.functional.front_door import UNKNOWN, Door, front_door
from tests.functional.network_api import Networking
from tests.functional.test_compute_images import ask
from tests.functional.test_foreign_objects import things
from tests.functional.test_routers import Routed


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with front_door(tmp_path) as opened:
        yield opened


async def body(door: Door, who: str, call: str, version: int = 1, sent: Any = None) -> Any:
    answer = await ask(door, who, call, version, sent)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def new_group(door: Door, name: str = "web", who: str = "member") -> dict[str, Any]:
    sent = {"security_group": {"name": name, "description": "d"}}
    return dict((await body(door, who, "POST /os-security-groups", 1, sent))["security_group"])


# --- networks ----------------------------------------------------------------------------------------------


async def test_networks(door: Door) -> None:
    found = (await body(door, "reader", "GET /os-networks"))["networks"]
    assert {network["label"] for network in found} >= {"private", "public"}
    private = next(network for network in found if network["label"] == "private")
    assert set(private.values()) == {private["id"], "private", None} and "bridge" not in private
    shown = (await body(door, "admin", f"GET /os-networks/{private['id']}", 35))["network"]
    assert "bridge" in shown
    brief = {"id": private["id"], "label": "private", "cidr": "None"}
    assert (await body(door, "reader", f"GET /os-tenant-networks/{private['id']}"))["network"] == brief
    assert brief in (await body(door, "reader", "GET /os-tenant-networks"))["networks"]
    for path in ("os-networks", "os-tenant-networks"):
        for wanted in (UNKNOWN, "x"):
            assert (await ask(door, "reader", f"GET /{path}/{wanted}")).status_code == 404
        assert (await ask(door, "reader", f"GET /{path}", 36)).status_code == 404


# --- security groups ---------------------------------------------------------------------------------------


async def test_security_groups(door: Door) -> None:
    (default,) = (await body(door, "member", "GET /os-security-groups"))["security_groups"]
    assert default["name"] == "default"
    assert [rule["group"]["name"] for rule in default["rules"]] == ["default", "default"]
    made = await new_group(door)
    assert (made["name"], made["description"], made["rules"]) == ("web", "d", [])
    path = f"/os-security-groups/{made['id']}"
    assert (await body(door, "reader", f"GET {path}"))["security_group"] == made
    sent = {"security_group": {"name": "new", "description": ""}}
    changed = (await body(door, "member", f"PUT {path}", 1, sent))["security_group"]
    assert changed == made | {"name": "new", "description": ""}
    names = [group["name"] for group in (await body(door, "member", "GET /os-security-groups"))["security_groups"]]
    assert names == ["default", "new"]
    assert len((await body(door, "member", "GET /os-security-groups?limit=1"))["security_groups"]) == 1
    for who, query, there in (
        ("admin", "", False),
        ("admin", "?all_tenants=1", True),
        ("stranger", "?all_tenants=1", False),
    ):
        listed = (await body(door, who, f"GET /os-security-groups{query}"))["security_groups"]
        assert (made["id"] in [group["id"] for group in listed]) is there, (who, query)
    assert (await ask(door, "stranger", f"GET {path}")).status_code == 404
    assert (await ask(door, "stranger", f"DELETE {path}")).status_code == 404
    assert (await ask(door, "member", f"DELETE {path}")).status_code == 202
    assert (await ask(door, "member", f"DELETE {path}")).status_code == 404
    assert (await ask(door, "member", f"DELETE /os-security-groups/{default['id']}")).status_code == 400
    assert (await ask(door, "member", "GET /os-security-groups/x")).status_code == 400
    assert (await ask(door, "member", "GET /os-security-groups", 36)).status_code == 404
    for wrong in ({"name": "x"}, {"name": "x" * 256, "description": ""}, {"name": 7, "description": ""}):
        sent = {"security_group": wrong}
        assert (await ask(door, "member", "POST /os-security-groups", 1, sent)).status_code == 400


async def test_rules(door: Door) -> None:
    group, other = await new_group(door), await new_group(door, "other")

    async def rule(**values: Any) -> httpx.Response:
        sent = {"security_group_rule": {"parent_group_id": group["id"], **values}}
        return await ask(door, "member", "POST /os-security-group-rules", 1, sent)

    tcp = (await rule(ip_protocol="tcp", from_port=22, to_port="22", cidr="10.0.0.0/8")).json()["security_group_rule"]
    assert tcp == {
        "id": tcp["id"],
        "parent_group_id": group["id"],
        "ip_protocol": "tcp",
        "from_port": 22,
        "to_port": 22,
        "ip_range": {"cidr": "10.0.0.0/8"},
        "group": {},
    }
    of_group = (await rule(group_id=other["id"], ip_protocol="udp")).json()["security_group_rule"]
    assert (of_group["from_port"], of_group["to_port"]) == (1, 65535)
    assert of_group["group"] == {"name": "other", "tenant_id": group["tenant_id"]}
    again = await rule(ip_protocol="tcp", from_port=22, to_port=22, cidr="10.0.0.7/8")
    assert (again.status_code, "already exists" in again.text) == (400, True)
    icmp = (await rule(ip_protocol="icmp", from_port=-1, to_port=-1)).json()["security_group_rule"]
    assert (icmp["from_port"], icmp["ip_range"]) == (-1, {"cidr": "0.0.0.0/0"})
    v6 = (await rule(ip_protocol="TCP", from_port=1, to_port=2, cidr="::/0")).json()["security_group_rule"]
    assert v6["ip_range"] == {"cidr": "::/0"}
    shown = (await body(door, "reader", f"GET /os-security-groups/{group['id']}"))["security_group"]["rules"]
    assert {found["id"] for found in shown} == {tcp["id"], of_group["id"], icmp["id"], v6["id"]}
    for wrong in (
        {"ip_protocol": "tcp"},
        {"from_port": 1, "to_port": 2},
        {"ip_protocol": "tcp", "from_port": 2, "to_port": 1},
        {"ip_protocol": "tcp", "from_port": 0, "to_port": 1},
        {"ip_protocol": "tcp", "from_port": 1, "to_port": 65536},
        {"ip_protocol": "tcp", "from_port": "a", "to_port": {}},
        {"ip_protocol": "icmp", "from_port": 256, "to_port": 0},
        {"ip_protocol": "sctp", "from_port": 1, "to_port": 1},
        {"ip_protocol": "tcp", "from_port": 1, "to_port": 1, "cidr": "10.0.0.0/99"},
        {"ip_protocol": "tcp", "from_port": 1, "to_port": 1, "cidr": "10.0.0.0/0"} | {"cidr": ["x"]},
        {"group_id": "x"},
        {"parent_group_id": "x"},
    ):
        assert (await rule(**wrong)).status_code == 400, wrong
    assert (await rule(parent_group_id=UNKNOWN, ip_protocol="tcp", from_port=1, to_port=1)).status_code == 404
    assert (await rule(group_id=UNKNOWN)).status_code == 404
    path = f"/os-security-group-rules/{tcp['id']}"
    assert (await ask(door, "stranger", f"DELETE {path}")).status_code == 404
    assert (await ask(door, "member", f"DELETE {path}")).status_code == 202
    assert (await ask(door, "member", f"DELETE {path}")).status_code == 404
    assert (await ask(door, "member", "DELETE /os-security-group-rules/x")).status_code == 400


# --- a server's --------------------------------------------------------------------------------------------


async def networked(door: Door, network_id: str) -> str:
    """A server with a port on the network, as if it had been built."""
    server_id = (await things(door))["server"]
    project = door.cloud.bootstrapped.demo_project_id
    nics = await door.cloud.networks.allocate(server_id, project, "one", [RequestedNic(network_id=network_id)])

    def write(connection: Connection) -> None:
        servers.update(connection, server_id, addresses=[msgspec.to_builtins(nic) for nic in nics])

    await door.cloud.database.run(write)
    return server_id


def neutron(door: Door) -> Networking:
    """The member's view of the network service."""
    http = httpx.AsyncClient(
        transport=door.http._transport,
        base_url="http://cloud.test:8774",
        headers={"x-auth-token": door.tokens["member"]},
    )
    return Networking(http)


async def routed(door: Door) -> Routed:
    return await Routed.make(neutron(door))


async def test_floating_addresses(door: Door) -> None:
    pools = (await body(door, "reader", "GET /os-floating-ip-pools"))["floating_ip_pools"]
    assert pools == [{"name": "public"}]
    made = (await body(door, "member", "POST /os-floating-ips"))["floating_ip"]
    assert (made["pool"], made["fixed_ip"], made["instance_id"]) == ("public", None, None)
    named = (await body(door, "member", "POST /os-floating-ips", 35, {"pool": "public"}))["floating_ip"]
    found = (await body(door, "reader", "GET /os-floating-ips"))["floating_ips"]
    assert sorted(entry["id"] for entry in found) == sorted([made["id"], named["id"]])
    path = f"/os-floating-ips/{made['id']}"
    assert (await body(door, "reader", f"GET {path}"))["floating_ip"] == made
    for who, call, status in (
        ("stranger", f"GET {path}", 404),
        ("stranger", f"DELETE {path}", 404),
        ("reader", f"GET /os-floating-ips/{UNKNOWN}", 404),
        ("reader", "GET /os-floating-ips/x", 400),
        ("member", "DELETE /os-floating-ips/x", 400),
    ):
        assert (await ask(door, who, call)).status_code == status, call
    assert (await ask(door, "member", "POST /os-floating-ips", 1, {"pool": "none"})).status_code == 404
    assert (await ask(door, "member", "POST /os-floating-ips", 1, {"pool": 7})).status_code == 400
    assert (await ask(door, "stranger", "GET /os-floating-ips")).json() == {"floating_ips": []}
    assert (await ask(door, "member", f"DELETE {path}")).status_code == 202
    assert (await ask(door, "member", f"GET {path}")).status_code == 404


async def test_no_more_floating_addresses_than_the_quota(door: Door) -> None:
    project = door.cloud.bootstrapped.demo_project_id
    headers = {"x-auth-token": door.tokens["admin"]}
    quota = {"quota": {"floatingip": 1}}
    assert (await door.http.put(f"/network/v2.0/quotas/{project}", json=quota, headers=headers)).is_success
    answers = [(await ask(door, "member", "POST /os-floating-ips")).status_code for _ in range(2)]
    assert answers == [200, 403]


async def test_a_floating_address_of_a_server(door: Door) -> None:
    server_id = await networked(door, (await routed(door)).network)
    made = (await body(door, "member", "POST /os-floating-ips"))["floating_ip"]
    call = f"POST /servers/{server_id}/action"

    async def add(who: str = "member", version: int = 43, **values: str) -> int:
        sent = {"addFloatingIp": {"address": made["ip"], **values}}
        return (await ask(door, who, call, version, sent)).status_code

    assert await add("reader") == 403
    assert await add("stranger") == 404
    assert await add(version=44) == 404
    assert await add(address="192.0.2.1") == 404
    assert await add(address="x") == 400
    assert await add(fixed_address="192.0.2.1") == 400
    assert await add() == 202
    shown = (await body(door, "reader", f"GET /os-floating-ips/{made['id']}"))["floating_ip"]
    assert shown["instance_id"] == server_id and shown["fixed_ip"].startswith("10.1.0.")
    other = (await body(door, "member", "POST /os-floating-ips"))["floating_ip"]
    assert await add(address=other["ip"]) == 400  # that address has one

    async def remove(address: str) -> int:
        sent = {"removeFloatingIp": {"address": address}}
        return (await ask(door, "member", call, 43, sent)).status_code

    assert await remove(other["ip"]) == 409
    assert await remove("192.0.2.1") == 404
    assert await remove(made["ip"]) == 202
    shown = (await body(door, "reader", f"GET /os-floating-ips/{made['id']}"))["floating_ip"]
    assert (shown["instance_id"], shown["fixed_ip"]) == (None, None)
    assert await add(fixed_address=(await networked_address(door, server_id))) == 202


async def networked_address(door: Door, server_id: str) -> str:
    found = (await body(door, "reader", f"GET /servers/{server_id}/ips"))["addresses"]
    return str(found["n"][0]["addr"])


async def test_a_server_without_addresses(door: Door) -> None:
    server_id = (await things(door))["server"]
    made = (await body(door, "member", "POST /os-floating-ips"))["floating_ip"]
    sent = {"addFloatingIp": {"address": made["ip"]}}
    assert (await ask(door, "member", f"POST /servers/{server_id}/action", 1, sent)).status_code == 400


async def test_there_is_no_bare_metal(door: Door) -> None:
    for who, call, status in (
        ("admin", "GET /os-baremetal-nodes", 501),
        ("admin", "GET /os-baremetal-nodes/x", 501),
        ("member", "GET /os-baremetal-nodes", 403),
        ("member", "POST /os-baremetal-nodes", 400),
        ("member", "DELETE /os-baremetal-nodes/x", 400),
    ):
        assert (await ask(door, who, call)).status_code == status
    sent: dict[str, Any] = {"add_interface": {}}
    assert (await ask(door, "member", "POST /os-baremetal-nodes/x/action", 1, sent)).status_code == 400
    assert (await ask(door, "admin", "GET /os-baremetal-nodes", 36)).status_code == 404
