"""A server's security groups: those of its ports. Shown, put on all of them, taken off all of them."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.security_group_views import group_view
from kilonova.api.compute.submission import find
from kilonova.model.errors import Invalid
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, Versioned

_LIST = (
    Versioned({"type": "object"}, since=1, until=101),
    Versioned({"type": "object", "properties": {}, "additionalProperties": False}, since=102),
)


def _named(action: str) -> tuple[Versioned, ...]:
    name: Schema = {"type": "string", "minLength": 1}
    group: Schema = {
        "type": "object",
        "properties": {"name": name},
        "required": ["name"],
        "additionalProperties": False,
    }
    return (Versioned({"type": "object", "properties": {action: group}, "required": [action]}),)


async def index(cloud: Deployment, call: Call) -> Reply:
    """``GET /servers/{id}/os-security-groups``."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    found = await cloud.networks.groups_of(server.id)
    rules = [rule for group in found for rule in group["security_group_rules"]]
    sources = {rule["remote_group_id"]: rule["remote_group"] for rule in rules if rule.get("remote_group")}
    groups = [group_view(group, sources) for group in found]
    return Reply(200, {"security_groups": sorted(groups, key=lambda group: (group["tenant_id"], group["name"]))})


async def add(cloud: Deployment, call: Call) -> Reply:
    """``addSecurityGroup``: by name or id, on every port of the server."""
    server, group_id = await _asked(cloud, call, "addSecurityGroup")
    await cloud.networks.add_group(server, group_id)
    return Reply(202)


async def remove(cloud: Deployment, call: Call) -> Reply:
    """``removeSecurityGroup``: by name or id, off every port that carries it."""
    server, group_id = await _asked(cloud, call, "removeSecurityGroup")
    await cloud.networks.remove_group(server, group_id)
    return Reply(202)


async def _asked(cloud: Deployment, call: Call, action: str) -> tuple[str, str]:
    """The server's and the group's ids. Raises ``NotFound``, or ``Conflict`` for a name that several groups have."""
    body: dict[str, Any] = call.body[action]
    name: str = body["name"]
    if not name.strip():
        raise Invalid("Security group name cannot be empty")
    server = await cloud.database.run(find, call, call.params["id"])
    ((group_id, _),) = await cloud.networks.find_groups(call.project_id, [name])
    return server.id, group_id


ROUTES = [
    Route(
        method="GET",
        path="/servers/{server_id}/os-security-groups",
        handler=index,
        rule="os_compute_api:os-security-groups:list",
        role="reader",
        query=_LIST,
        summary="The security groups of a server's ports",
    ),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="addSecurityGroup",
        handler=add,
        rule="os_compute_api:os-security-groups:add",
        role="member",
        body=_named("addSecurityGroup"),
        summary="Put a security group on a server's ports",
    ),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="removeSecurityGroup",
        handler=remove,
        rule="os_compute_api:os-security-groups:remove",
        role="member",
        body=_named("removeSecurityGroup"),
        summary="Take a security group off a server's ports",
    ),
]
