"""Rules of security groups. Reference: Networking API v2.0, "Security group rules"."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.database import port_groups
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.network import SecurityGroupRule
from kilonova.network import quotas
from kilonova.network.addresses import read_prefix
from kilonova.network.resource import Resource, View, lists, written
from kilonova.network.rule_views import normalized, rule_view
from kilonova.network.security_groups import GROUPS, make_default
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply

_NUMBERS = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "egp": 8,
    "udp": 17,
    "dccp": 33,
    "ipv6-encap": 41,
    "ipv6-route": 43,
    "ipv6-frag": 44,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "icmpv6": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ospf": 89,
    "vrrp": 112,
    "pgm": 113,
    "sctp": 132,
    "udplite": 136,
}
"""IP protocols by the names that may be written instead of their numbers (IANA's)."""
_LONGEST_PREFIX = 64
_WITH_PORTS = {6, 17, 33, 132, 136}
_ICMP = {1, 58}
_IPV6_ONLY = {41, 43, 44, 58, 59, 60}


def _views(connection: Connection, found: Sequence[SecurityGroupRule], admin: bool) -> list[View]:
    return [rule_view(rule) for rule in found]


RULES = Resource(
    kind=SecurityGroupRule,
    name="security_group_rule",
    title="Security group rule",
    missing="SecurityGroupRuleNotFound",
    views=_views,
)


async def list_security_group_rules(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/security-group-rules``"""
    await make_default(networks, call.caller)
    return await lists(RULES)(networks, call)


async def create_security_group_rule(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/security-group-rules``"""
    body = written(call, "security_group_rule")
    now = networks.clock.now()
    rule = SecurityGroupRule(
        id=networks.ids.uuid(),
        security_group_id=body["security_group_id"],
        project_id="",  # the group's
        direction=body["direction"],
        ethertype=_ethertype(body.get("ethertype") or "IPv4"),
        protocol=_protocol(body.get("protocol")),
        port_range_min=_port(body.get("port_range_min")),
        port_range_max=_port(body.get("port_range_max")),
        remote_ip_prefix=_prefix(body.get("remote_ip_prefix")),
        remote_group_id=body.get("remote_group_id"),
        description=body.get("description") or "",
        created_at=now,
        updated_at=now,
    )
    _check(rule)
    view = await networks.database.run(_create, call.caller, rule, networks.settings.quotas)
    return Reply(201, {"security_group_rule": view})


def _ethertype(text: str) -> str:
    return {"ipv4": "IPv4", "ipv6": "IPv6"}[text.lower()]


def _protocol(wanted: str | int | None) -> str | None:
    """The name in small letters, or the number; None: any. Raises ``Invalid``."""
    if wanted is None or str(wanted).lower() in ("any", ""):
        return None
    text = str(wanted).lower()
    if text not in _NUMBERS and not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255):
        raise Invalid(
            f"Security group rule protocol {text[:40]} not supported: a name that is known or a number of 0 to 255.",
            name="SecurityGroupRuleInvalidProtocol",
        )
    return text


def _number(protocol: str | None) -> int | None:
    if protocol is None:
        return None
    return _NUMBERS[protocol] if protocol in _NUMBERS else int(protocol)


def _port(wanted: int | str | None) -> int | None:
    return None if wanted is None else int(wanted)


def _prefix(text: str | None) -> str | None:
    """As it was written, if it says its length; what it means is compared, and shown as ``normalized_cidr``."""
    if text is None:
        return None
    network = str(read_prefix(text, "remote_ip_prefix"))
    return text if "/" in text and len(text) <= _LONGEST_PREFIX else network


def _check(rule: SecurityGroupRule) -> None:
    """What must fit together in a rule. Raises ``Invalid``."""
    number = _number(rule.protocol)
    if rule.remote_ip_prefix is not None and rule.remote_group_id is not None:
        raise Invalid("Only one of remote_ip_prefix and remote_group_id may be provided.")
    if rule.remote_ip_prefix is not None and (":" in rule.remote_ip_prefix) is (rule.ethertype == "IPv4"):
        raise Invalid(
            f"Conflicting value ethertype {rule.ethertype} for CIDR {rule.remote_ip_prefix}",
            name="SecurityGroupRuleParameterConflict",
        )
    if number in _IPV6_ONLY and rule.ethertype == "IPv4":
        raise Invalid(
            f"Invalid ethertype IPv4 for protocol {rule.protocol}.", name="SecurityGroupEthertypeConflictWithProtocol"
        )
    if rule.port_range_min is None and rule.port_range_max is None:
        return
    if number is None:
        raise Invalid(
            "Must also specify protocol if port range is given.", name="SecurityGroupProtocolRequiredWithPorts"
        )
    if number in _ICMP:
        _check_icmp(rule)
    elif number in _WITH_PORTS:
        _check_ports(rule)
    else:
        raise Invalid(
            f"Ports cannot be specified for protocol {rule.protocol}.", name="SecurityGroupInvalidProtocolForPort"
        )


def _check_icmp(rule: SecurityGroupRule) -> None:
    for what, value in (("type", rule.port_range_min), ("code", rule.port_range_max)):
        if value is not None and value > 255:
            raise Invalid(
                f"Invalid value for ICMP {what}: {value}, it must be 0 to 255.", name="SecurityGroupInvalidIcmpValue"
            )
    if rule.port_range_min is None:
        raise Invalid("ICMP code (port-range-max) is provided but ICMP type (port-range-min) is missing.")


def _check_ports(rule: SecurityGroupRule) -> None:
    first, last = rule.port_range_min, rule.port_range_max
    if first is None or last is None or not 1 <= first <= last <= 65535:
        raise Invalid(
            "Invalid port range: it needs a first and a last port, 1 to 65535, in this order.",
            name="SecurityGroupInvalidPortRange",
        )


def _create(connection: Connection, caller: Caller, rule: SecurityGroupRule, limits: dict[str, int]) -> View:
    known = GROUPS.visible(connection, caller, rule.security_group_id)
    rule = msgspec.structs.replace(rule, project_id=known.project_id)
    # The project's row before its groups', as whoever makes a port takes them. A group that is spoken of is not deleted now.
    quotas.admit(connection, limits, SecurityGroupRule, rule.project_id)
    group = GROUPS.owned(connection, caller, known.id)
    if rule.remote_group_id is not None:
        GROUPS.visible(connection, caller, rule.remote_group_id)
        if not port_groups.keep(connection, [rule.remote_group_id]):
            raise GROUPS.absent(rule.remote_group_id)
    asked = queries.Question(filters={"security_group_id": [group.id]}, limit=100_000)
    for other in queries.find(connection, SecurityGroupRule, asked):
        if _meaning(other) == _meaning(rule):
            raise Conflict(
                f"Security group rule already exists. Rule id is {other.id}.", name="SecurityGroupRuleExists"
            )
    queries.insert(connection, rule)
    queries.touch(connection, group, rule.created_at)
    return RULES.view(connection, caller, rule)


def _meaning(rule: SecurityGroupRule) -> tuple[Any, ...]:
    """Two rules that agree in this pass the same traffic."""
    prefix = normalized(rule.remote_ip_prefix)
    return (
        rule.direction,
        rule.ethertype,
        _number(rule.protocol),
        rule.port_range_min,
        rule.port_range_max,
        None if prefix in ("0.0.0.0/0", "::/0") else prefix,
        rule.remote_group_id,
    )


async def delete_security_group_rule(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/security-group-rules/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["id"], networks.clock.now())
    return Reply(204)


def _delete(connection: Connection, caller: Caller, rule_id: str, now: int) -> None:
    rule = RULES.owned(connection, caller, rule_id)
    queries.remove(connection, SecurityGroupRule, rule.id)
    group = queries.get(connection, GROUPS.kind, rule.security_group_id, lock=True)
    if group is not None:
        queries.touch(connection, group, now)
