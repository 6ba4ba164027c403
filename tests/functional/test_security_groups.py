"""Security groups and their rules over HTTP."""

from typing import Any

import pytest

from kilonova.network import SHARED_NETWORK_ID
from tests.functional.neighbours import Neighbours
from tests.functional.network_api import Networking, networking, second_project

UNKNOWN = "99999999-9999-4999-8999-999999999999"


async def test_every_project_has_a_default_group(cloud: Neighbours, demo: Networking, admin: Networking) -> None:
    project = cloud.bootstrapped.demo_project_id
    (group,) = (await demo("GET security-groups"))["security_groups"]
    assert group["name"] == "default" and group["project_id"] == project and group["stateful"] is True
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]}
    assert rules == {("egress", family, None) for family in ("IPv4", "IPv6")} | {
        ("ingress", family, group["id"]) for family in ("IPv4", "IPv6")
    }
    url = f"security-groups/{group['id']}"
    await demo.refused("SecurityGroupCannotRemoveDefault", f"DELETE {url}")
    await demo.refused("SecurityGroupCannotUpdateDefault", f"PUT {url}", {"security_group": {"name": "x"}})
    await demo(f"PUT {url}", {"security_group": {"description": "mine"}})
    named = {"security_group": {"name": "default"}}
    await demo.refused("SecurityGroupDefaultAlreadyExists", "POST security-groups", named)
    found = await admin(f"GET security-groups?tenant_id={project}&name=default")
    assert [entry["id"] for entry in found["security_groups"]] == [group["id"]]
    await admin(f"DELETE {url}", status=204)  # as whoever clears away a project does
    assert (await admin(f"GET security-groups?tenant_id={project}"))["security_groups"] == []
    assert (await demo(f"GET {url}"))["security_group"]["description"] == "Default security group"


async def test_life_of_a_group(demo: Networking) -> None:
    group = await demo.make("security_group", name="web", description="d")
    assert {rule["direction"] for rule in group["security_group_rules"]} == {"egress"}
    assert (await demo.make("security_group", name="web"))["id"] != group["id"]
    url = f"security-groups/{group['id']}"
    changed = (await demo(f"PUT {url}", {"security_group": {"name": "www"}}))["security_group"]
    assert changed["name"] == "www" and len(changed["security_group_rules"]) == 2
    rule = await demo.make(
        "security_group_rule",
        security_group_id=group["id"],
        direction="ingress",
        ethertype="ipv4",
        protocol="TCP",
        port_range_min="22",
        port_range_max=22,
        remote_ip_prefix="10.0.0.7/8",
        description="ssh",
    )
    assert rule["protocol"] == "tcp" and rule["port_range_min"] == 22 and rule["ethertype"] == "IPv4"
    assert (rule["remote_ip_prefix"], rule["normalized_cidr"]) == ("10.0.0.7/8", "10.0.0.0/8")
    assert (await demo(f"GET security-group-rules/{rule['id']}"))["security_group_rule"] == rule
    shown = (await demo(f"GET {url}"))["security_group"]
    assert rule in shown["security_group_rules"] and shown["revision_number"] > changed["revision_number"]
    found = await demo(f"GET security-group-rules?security_group_id={group['id']}&direction=ingress&protocol=tcp")
    assert found["security_group_rules"] == [rule]
    await demo(f"DELETE security-group-rules/{rule['id']}", status=204)
    await demo.refused("SecurityGroupRuleNotFound", f"GET security-group-rules/{rule['id']}", status=404)
    about = await demo.make("security_group", name="other")
    body = {"security_group_id": about["id"], "direction": "ingress", "remote_group_id": group["id"]}
    rule = await demo.make("security_group_rule", **body)
    await demo(f"DELETE {url}", status=204)
    await demo(f"GET security-group-rules/{rule['id']}", status=404)  # it spoke of the group
    await demo.refused("SecurityGroupNotFound", f"DELETE {url}", status=404)


@pytest.mark.parametrize(
    ("status", "rule"),
    [
        (400, {"direction": "sideways"}),
        (400, {"ethertype": "IPX"}),
        (400, {"protocol": "smoke"}),
        (400, {"protocol": 256}),
        (400, {"port_range_min": 22, "port_range_max": 22}),
        (400, {"protocol": "tcp", "port_range_min": 22}),
        (400, {"protocol": "tcp", "port_range_min": 23, "port_range_max": 22}),
        (400, {"protocol": "tcp", "port_range_min": 0, "port_range_max": 22}),
        (400, {"protocol": "tcp", "port_range_min": 1, "port_range_max": 70000}),
        (400, {"protocol": "gre", "port_range_min": 1, "port_range_max": 1}),
        (400, {"protocol": "icmp", "port_range_min": 256}),
        (400, {"protocol": "icmp", "port_range_max": 1}),
        (400, {"protocol": "ipv6-icmp", "ethertype": "IPv4"}),
        (400, {"remote_ip_prefix": "nonsense"}),
        (400, {"remote_ip_prefix": "2001:db8::/64", "ethertype": "IPv4"}),
        (400, {"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": UNKNOWN}),
        (404, {"remote_group_id": UNKNOWN}),
        (404, {"security_group_id": UNKNOWN}),
    ],
    ids=str,
)
async def test_bad_rules(demo: Networking, status: int, rule: dict[str, Any]) -> None:
    group = (await demo.make("security_group", name="g"))["id"]
    body = {"security_group_id": group, "direction": "ingress", **rule}
    await demo("POST security-group-rules", {"security_group_rule": body}, status=status)
    assert len((await demo(f"GET security-group-rules?security_group_id={group}"))["security_group_rules"]) == 2


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({}, {}),
        ({"protocol": "tcp"}, {"protocol": 6}),
        ({"protocol": "icmpv6", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp", "ethertype": "IPv6"}),
        ({"remote_ip_prefix": "0.0.0.0/0"}, {"description": "the same in other words"}),
    ],
    ids=str,
)
async def test_the_same_rule_twice(demo: Networking, first: dict[str, Any], again: dict[str, Any]) -> None:
    group = (await demo.make("security_group", name="g"))["id"]
    made = await demo.make("security_group_rule", security_group_id=group, direction="ingress", **first)
    body = {"security_group_id": group, "direction": "ingress", **again}
    message = await demo.refused(
        "SecurityGroupRuleExists", "POST security-group-rules", {"security_group_rule": body}
    )
    assert made["id"] in message


async def test_ports_carry_groups(demo: Networking) -> None:
    one, two = [(await demo.make("security_group", name=name))["id"] for name in ("one", "two")]
    default = (await demo("GET security-groups?name=default"))["security_groups"][0]["id"]
    plain = await demo.make("port", network_id=SHARED_NETWORK_ID)
    assert plain["security_groups"] == [default]
    bare = await demo.make("port", network_id=SHARED_NETWORK_ID, security_groups=None)
    assert bare["security_groups"] == []
    port = await demo.make("port", network_id=SHARED_NETWORK_ID, name="p", security_groups=[one, two])
    assert set(port["security_groups"]) == {one, two}
    assert await demo.names(f"ports?security_groups={one}") == ["p"]
    changed = (await demo(f"PUT ports/{port['id']}", {"port": {"security_groups": [two]}}))["port"]
    assert changed["security_groups"] == [two] and changed["revision_number"] > port["revision_number"]
    await demo.refused("SecurityGroupInUse", f"DELETE security-groups/{two}")
    await demo(f"DELETE security-groups/{one}", status=204)
    for groups in ([one], [UNKNOWN]):
        wanted = {"port": {"security_groups": groups}}
        await demo.refused("SecurityGroupNotFound", f"PUT ports/{port['id']}", wanted, 404)
    await demo(f"DELETE ports/{port['id']}", status=204)
    await demo(f"DELETE security-groups/{two}", status=204)


async def test_groups_of_others(cloud: Neighbours, demo: Networking) -> None:
    own = (await demo.make("security_group", name="g"))["id"]
    await second_project(cloud)
    async with networking(cloud, "other") as other:
        await other(f"GET security-groups/{own}", status=404)
        await other(f"PUT security-groups/{own}", {"security_group": {"name": "x"}}, status=404)
        await other(f"DELETE security-groups/{own}", status=404)
        rule = {"security_group_rule": {"security_group_id": own, "direction": "ingress"}}
        await other.refused("SecurityGroupNotFound", "POST security-group-rules", rule, 404)
        port = {"port": {"network_id": SHARED_NETWORK_ID, "security_groups": [own]}}
        await other.refused("SecurityGroupNotFound", "POST ports", port, 404)
        assert own not in str(await other("GET security-groups")) + str(await other("GET security-group-rules"))


async def test_group_quotas(cloud: Neighbours, demo: Networking, admin: Networking) -> None:
    await demo("GET security-groups")
    limits = {"security_group": 2, "security_group_rule": 7}
    await admin(f"PUT quotas/{cloud.bootstrapped.demo_project_id}", {"quota": limits})
    group = (await demo.make("security_group", name="g"))["id"]
    await demo.refused("OverQuota", "POST security-groups", {"security_group": {"name": "h"}})
    await demo.make("security_group_rule", security_group_id=group, direction="ingress")
    body = {"security_group_id": group, "direction": "ingress", "protocol": "tcp"}
    await demo.refused("OverQuota", "POST security-group-rules", {"security_group_rule": body})
