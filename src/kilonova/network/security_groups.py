"""Security groups. Reference: Networking API v2.0, "Security groups". They are kept and checked; nothing filters by them yet."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.database import port_groups
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict
from kilonova.model.network import SecurityGroup, SecurityGroupRule
from kilonova.network import default_group, quotas, server_rows
from kilonova.network.resource import Resource, View, lists, owner_of, shows, written
from kilonova.network.rule_views import rule_view
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z


def _views(connection: Connection, found: Sequence[SecurityGroup], admin: bool) -> list[View]:
    ids = [group.id for group in found]
    rules: dict[str, list[View]] = {group_id: [] for group_id in ids}
    if ids:
        asked = queries.Question(filters={"security_group_id": ids}, limit=100_000)
        for rule in queries.find(connection, SecurityGroupRule, asked):
            rules[rule.security_group_id].append(rule_view(rule))
    tags = queries.tags_of(connection, ids)
    return [_view(group, rules[group.id], tags[group.id]) for group in found]


def _view(group: SecurityGroup, rules: list[View], tags: list[str]) -> View:
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "project_id": group.project_id,
        "stateful": group.stateful,
        "shared": False,
        "tags": tags,
        "revision_number": group.revision,
        "created_at": iso_z(group.created_at),
        "updated_at": iso_z(group.updated_at),
        "security_group_rules": rules,
    }


GROUPS = Resource(
    kind=SecurityGroup,
    name="security_group",
    title="Security group",
    missing="SecurityGroupNotFound",
    views=_views,
)


async def list_security_groups(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/security-groups``: who looks finds at least the project's ``default`` group."""
    await make_default(networks, call.caller)
    return await lists(GROUPS)(networks, call)


async def show_security_group(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/security-groups/{id}``"""
    await make_default(networks, call.caller)
    return await shows(GROUPS)(networks, call)


async def make_default(networks: EmbeddedNetworks, caller: Caller) -> None:
    if caller.project_id is not None:
        await networks.database.run(default_group.default_group, caller.project_id, networks.clock.now())


async def create_security_group(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/security-groups``"""
    body = written(call, "security_group")
    now = networks.clock.now()
    group = SecurityGroup(
        id=networks.ids.uuid(),
        project_id=owner_of(call, body),
        name=body.get("name", ""),
        description=body.get("description", ""),
        stateful=body.get("stateful", True),
        created_at=now,
        updated_at=now,
    )
    rules = default_group.egress_rules(group, (networks.ids.uuid(), networks.ids.uuid()), now)
    view = await networks.database.run(_create, call.caller, group, rules, networks.settings.quotas)
    return Reply(201, {"security_group": view})


def _create(
    connection: Connection,
    caller: Caller,
    group: SecurityGroup,
    rules: Sequence[SecurityGroupRule],
    limits: dict[str, int],
) -> View:
    default_group.default_group(connection, group.project_id, group.created_at)
    if group.name == default_group.NAME:
        raise Conflict("Default security group already exists.", name="SecurityGroupDefaultAlreadyExists")
    quotas.admit(connection, limits, SecurityGroup, group.project_id)
    quotas.admit(connection, limits, SecurityGroupRule, group.project_id, len(rules))
    for record in (group, *rules):
        queries.insert(connection, record)
    return GROUPS.view(connection, caller, group)


async def update_security_group(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/security-groups/{id}``"""
    body = written(call, "security_group")
    view = await networks.database.run(_update, call.caller, call.params["id"], body, networks.clock.now())
    return Reply(200, {"security_group": view})


def _update(connection: Connection, caller: Caller, group_id: str, body: dict[str, Any], now: int) -> View:
    group = GROUPS.owned(connection, caller, group_id)
    is_default = group.id == default_group.group_id_of(group.project_id)
    wanted = body.get("name", group.name)
    if wanted != group.name and is_default:
        raise Conflict("Updating default security group not allowed.", name="SecurityGroupCannotUpdateDefault")
    if wanted == default_group.NAME and not is_default:
        raise Conflict("Default security group already exists.", name="SecurityGroupDefaultAlreadyExists")
    if body.get("stateful", group.stateful) != group.stateful and port_groups.is_used(connection, group.id):
        raise Conflict(f"Security Group {group.id} in use.", name="SecurityGroupInUse")
    changed = queries.revise(connection, group, body, now)
    if changed.name != group.name:
        for server_id in sorted(port_groups.servers_with(connection, group.id)):
            server_rows.refresh(connection, server_id)
    return GROUPS.view(connection, caller, changed)


async def delete_security_group(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/security-groups/{id}``: the default one only by an administrator, who deletes a project's leftovers."""
    await networks.database.run(_delete, call.caller, call.params["id"])
    return Reply(204)


def _delete(connection: Connection, caller: Caller, group_id: str) -> None:
    group = GROUPS.owned(connection, caller, group_id)
    if group.id == default_group.group_id_of(group.project_id) and not caller.is_admin:
        raise Conflict("Removing default security group not allowed.", name="SecurityGroupCannotRemoveDefault")
    if port_groups.is_used(connection, group.id):
        raise Conflict(f"Security Group {group.id} in use.", name="SecurityGroupInUse")
    port_groups.remove_rules_about(connection, group.id)
    queries.remove(connection, SecurityGroup, group.id)
