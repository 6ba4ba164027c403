"""The security groups of a whole server: those of its ports together, and put on or taken off all of them at once."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.database import port_groups
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.network import Port, SecurityGroup, SecurityGroupRule
from kilonova.network import server_rows
from kilonova.network.rule_views import rule_view


def shown(connection: Connection, server_id: str) -> list[dict[str, Any]]:
    """Name, id, project, description and rules of each; a rule about another group says its name and project."""
    groups = port_groups.of_server(connection, server_id)
    asked = queries.Question(filters={"security_group_id": [group.id for group in groups]}, limit=10_000)
    rules = queries.find(connection, SecurityGroupRule, asked)
    remote_ids = sorted({rule.remote_group_id for rule in rules if rule.remote_group_id is not None})
    remote = {
        group.id: {"name": group.name, "project_id": group.project_id}
        for group in queries.find(
            connection, SecurityGroup, queries.Question(filters={"id": remote_ids}, limit=10_000)
        )
    }
    return [
        {
            "id": group.id,
            "name": group.name,
            "project_id": group.project_id,
            "description": group.description,
            "security_group_rules": [
                {**rule_view(rule), "remote_group": remote.get(rule.remote_group_id or "")}
                for rule in rules
                if rule.security_group_id == group.id
            ],
        }
        for group in groups
    ]


def add(connection: Connection, server_id: str, group_id: str, now: int) -> None:
    """Put it on every port. Raises ``NotFound`` without ports, ``Invalid`` for a port that no group can be put on."""
    ports = _ports(connection, server_id)
    carried = port_groups.groups_of(connection, [port.id for port in ports])
    if not port_groups.keep(connection, [group_id]):
        raise NotFound(f"Security group {group_id} not found.")
    for port in ports:
        if not port.port_security_enabled:
            raise Invalid(
                "Network requires port_security_enabled and subnet associated in order to apply security groups."
            )
        if group_id not in carried[port.id]:
            port_groups.replace(connection, port.id, [*carried[port.id], group_id])
            queries.touch(connection, port, now)
    server_rows.refresh(connection, server_id)


def remove(connection: Connection, server_id: str, group_id: str, now: int) -> None:
    """Take it off every port. Raises ``NotFound`` if none carries it."""
    ports = _ports(connection, server_id)
    carried = port_groups.groups_of(connection, [port.id for port in ports])
    bearers = [port for port in ports if group_id in carried[port.id]]
    if not bearers:
        raise NotFound(f"Security group {group_id} not associated with the instance {server_id}")
    for port in bearers:
        port_groups.replace(connection, port.id, [group for group in carried[port.id] if group != group_id])
        queries.touch(connection, port, now)
    server_rows.refresh(connection, server_id)


def _ports(connection: Connection, server_id: str) -> list[Port]:
    """The server's ports, held: of two changes of their groups at once none is lost."""
    ports = held.ports_of_server(connection, server_id, lock=True)
    if not ports:
        raise NotFound(f"Instance {server_id} has no port that a security group could be put on.")
    return ports
