"""Security groups through Compute, up to 2.35: passed on to the network service."""

import ipaddress
from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import query_object
from kilonova.api.compute.network_proxy import UNTIL, networks_of
from kilonova.api.compute.security_group_views import Group, group_view, named_sources, rule_view
from kilonova.api.paging import offset, page
from kilonova.model.errors import Conflict, Invalid, NotFound, QuotaExceeded
from kilonova.network.inside import ask
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, always, is_uuid

_MOST_AT_ONCE = 100  # groups that one look asks for by id


async def _groups(cloud: Deployment, call: Call, **query: list[str]) -> list[Group]:
    found: list[Group] = (await ask(networks_of(cloud), call.caller, "GET", "security-groups", query=query))[
        "security_groups"
    ]
    return found


async def _sources(cloud: Deployment, call: Call, groups: list[Group]) -> dict[str, Group]:
    """The groups that rules name; those listed already need no look."""
    known = {group["id"]: group for group in groups}
    missing = sorted(named_sources(groups) - known.keys())
    for at in range(0, len(missing), _MOST_AT_ONCE):
        for group in await _groups(cloud, call, id=missing[at : at + _MOST_AT_ONCE]):
            known[group["id"]] = group
    return known


async def _group(cloud: Deployment, call: Call, group_id: str) -> Group:
    if not is_uuid(group_id):
        raise Invalid("Security group id should be uuid")
    try:
        found: Group = await ask(networks_of(cloud), call.caller, "GET", f"security-groups/{group_id}")
    except NotFound:
        raise NotFound(f"Security group {group_id} not found.") from None
    return dict(found["security_group"])


async def index(cloud: Deployment, call: Call) -> Reply:
    """Those of the project; with ``all_tenants`` an administrator's list of all."""
    limit, _ = page(call, cloud.config.api.max_limit)
    begin = offset(call)
    everybody = call.caller.is_admin and "all_tenants" in call.query
    asked = {} if everybody else {"project_id": [call.project_id]}
    found = (await _groups(cloud, call, **asked))[begin : begin + limit]
    sources = await _sources(cloud, call, found)
    return Reply(200, {"security_groups": _sorted(found, sources)})


def _sorted(groups: list[Group], sources: dict[str, Group]) -> list[Group]:
    views = [group_view(group, sources) for group in groups]
    return sorted(views, key=lambda view: (view["tenant_id"], view["name"]))


async def show(cloud: Deployment, call: Call) -> Reply:
    """One with its rules."""
    group = await _group(cloud, call, call.params["id"])
    return Reply(200, {"security_group": group_view(group, await _sources(cloud, call, [group]))})


async def create(cloud: Deployment, call: Call) -> Reply:
    """A new one."""
    body = {"security_group": _described(call)}
    try:
        made = await ask(networks_of(cloud), call.caller, "POST", "security-groups", body=body)
    except Conflict as error:
        raise (QuotaExceeded if error.name == "OverQuota" else Invalid)(error.message) from None
    return Reply(200, {"security_group": group_view(made["security_group"], {})})


async def update(cloud: Deployment, call: Call) -> Reply:
    """Another name and description."""
    group = await _group(cloud, call, call.params["id"])
    path, body = f"security-groups/{group['id']}", {"security_group": _described(call)}
    try:
        changed = await ask(networks_of(cloud), call.caller, "PUT", path, body=body)
    except Conflict as error:
        raise Invalid(error.message) from None
    view = group_view(changed["security_group"], await _sources(cloud, call, [changed["security_group"]]))
    return Reply(200, {"security_group": view})


def _described(call: Call) -> dict[str, str]:
    asked = call.body["security_group"]
    return {"name": asked["name"], "description": asked["description"]}


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Delete one that no port carries."""
    group = await _group(cloud, call, call.params["id"])
    try:
        await ask(networks_of(cloud), call.caller, "DELETE", f"security-groups/{group['id']}")
    except Conflict as error:
        raise Invalid(error.message) from None
    return Reply(202)


# --- rules -------------------------------------------------------------------------------------------------


async def create_rule(cloud: Deployment, call: Call) -> Reply:
    """Let something in: from an address range, or from the members of a group."""
    asked = call.body["security_group_rule"]
    parent = await _group(cloud, call, asked["parent_group_id"])
    source_id = asked.get("group_id")
    sources = {} if source_id is None else {source_id: await _group(cloud, call, source_id)}
    rule = {**_rule(asked), "security_group_id": parent["id"], "direction": "ingress"}
    try:
        made = await ask(
            networks_of(cloud), call.caller, "POST", "security-group-rules", body={"security_group_rule": rule}
        )
    except Conflict as error:
        raise (QuotaExceeded if error.name == "OverQuota" else Invalid)(error.message) from None
    return Reply(200, {"security_group_rule": rule_view(made["security_group_rule"], sources)})


def _rule(asked: dict[str, Any]) -> dict[str, Any]:
    """In the network service's words. Raises ``Invalid`` as Nova does."""
    low, high, protocol = asked.get("from_port"), asked.get("to_port"), asked.get("ip_protocol")
    source_id = asked.get("group_id")
    rule: dict[str, Any] = {"ethertype": "IPv4"}
    if source_id is not None:
        rule["remote_group_id"] = source_id
    else:
        rule |= _range(asked.get("cidr"))
    if protocol and low is None and high is None and source_id is not None:
        low, high = (-1, -1) if str(protocol).lower() == "icmp" else (1, 65535)
    if not protocol or low is None or high is None:
        if source_id is None:
            raise Invalid("Not enough parameters to build a valid rule.")
        return rule
    return rule | _ports(str(protocol), low, high)


def _range(cidr: Any) -> dict[str, str]:
    try:
        network = ipaddress.ip_network(str(cidr or "0.0.0.0/0"), strict=False)
    except ValueError:
        raise Invalid(f"Invalid cidr {str(cidr)[:64]}.") from None
    if network.prefixlen == 0 and not network.network_address.is_unspecified:
        raise Invalid(f"Bad prefix for network in cidr {str(cidr)[:64]}")
    return {"remote_ip_prefix": str(cidr or network), "ethertype": f"IPv{network.version}"}


def _ports(protocol: str, low: Any, high: Any) -> dict[str, Any]:
    try:
        first, last = int(low), int(high)
    except (TypeError, ValueError):
        raise Invalid("Invalid input received: To and From ports must be integers") from None
    word = protocol.lower()
    if word not in ("tcp", "udp", "icmp"):
        raise Invalid(f"Invalid IP protocol {protocol[:64]}.")
    lowest, highest = (-1, 255) if word == "icmp" else (1, 65535)
    if not (lowest <= first <= highest and lowest <= last <= highest) or (word != "icmp" and first > last):
        raise Invalid(f"Invalid port range {first}:{last}.")
    given = {"port_range_min": first, "port_range_max": last}
    return {"protocol": word} | {name: number for name, number in given.items() if number >= 0}


async def delete_rule(cloud: Deployment, call: Call) -> Reply:
    """Let it in no more."""
    rule_id = call.params["id"]
    if not is_uuid(rule_id):
        raise Invalid("Security group rule id should be uuid")
    try:
        await ask(networks_of(cloud), call.caller, "DELETE", f"security-group-rules/{rule_id}")
    except NotFound:
        raise NotFound(f"Rule ({rule_id}) not found") from None
    return Reply(202)


_WORDS: Schema = {"type": "string", "maxLength": 255, "pattern": r"^[^\x00]*$"}
_GROUP: Schema = {
    "type": "object",
    "properties": {
        "security_group": {
            "type": "object",
            "properties": {"name": _WORDS, "description": _WORDS},
            "required": ["name", "description"],
        }
    },
    "required": ["security_group"],
}
_RULE_BODY: Schema = {
    "type": "object",
    "properties": {
        "security_group_rule": {
            "type": "object",
            "properties": {
                "group_id": {"type": ["string", "null"], "format": "uuid"},
                "parent_group_id": {"type": "string", "format": "uuid"},
            },
            "required": ["parent_group_id"],
        }
    },
    "required": ["security_group_rule"],
}
_LIST = always(query_object({"limit": NON_NEGATIVE, "offset": NON_NEGATIVE, "all_tenants": TEXT}))
_RULE = "os_compute_api:os-security-groups"
_PATH = "/os-security-groups"
_ONE = f"{_PATH}/{{id}}"
_RULES = "/os-security-group-rules"


def _route(method: str, path: str, name: str, role: str, handler: Handler, summary: str, **rest: Any) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=f"{_RULE}:{name}",
        role=role,
        until=UNTIL,
        summary=summary,
        **rest,
    )


ROUTES = [
    _route("GET", _PATH, "get", "reader", index, "List security groups", query=_LIST),
    _route("POST", _PATH, "create", "member", create, "Create a security group", body=always(_GROUP)),
    _route("GET", _ONE, "show", "reader", show, "Show a security group"),
    _route("PUT", _ONE, "update", "member", update, "Change a security group", body=always(_GROUP)),
    _route("DELETE", _ONE, "delete", "member", delete, "Delete a security group"),
    _route("POST", _RULES, "rule:create", "member", create_rule, "Create a rule", body=always(_RULE_BODY)),
    _route("DELETE", f"{_RULES}/{{id}}", "rule:delete", "member", delete_rule, "Delete a rule"),
]
