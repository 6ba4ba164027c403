"""The ``default`` security group that every project has: made when it is first looked for, its id known before."""

from uuid import UUID, uuid5

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.errors import Conflict
from kilonova.model.network import SecurityGroup, SecurityGroupRule

_NAMESPACE = UUID("0f4c8f0f-2b8e-5ad1-9c55-7f0e2a7c4b1e")
NAME = "default"


def group_id_of(project_id: str) -> str:
    """The id of a project's default group: always the same, so that two requests cannot make two."""
    return str(uuid5(_NAMESPACE, f"group/{project_id}"))


def default_group(connection: Connection, project_id: str, now: int) -> SecurityGroup:
    """The project's default group, made with its rules if it is not there: everything out, in from its own members."""
    group_id = group_id_of(project_id)
    found = queries.get(connection, SecurityGroup, group_id)
    if found is not None:
        return found
    group = SecurityGroup(
        id=group_id,
        project_id=project_id,
        name=NAME,
        description="Default security group",
        created_at=now,
        updated_at=now,
    )
    try:
        with connection.begin_nested():
            for record in (group, *_first_rules(group, now)):
                queries.insert(connection, record)
    except Conflict:  # somebody else made it at the same moment
        made = queries.get(connection, SecurityGroup, group_id)
        return made or group
    return group


def egress_rules(group: SecurityGroup, ids: tuple[str, str], now: int) -> list[SecurityGroupRule]:
    """What every new group begins with: everything may go out."""
    return [
        SecurityGroupRule(
            id=rule_id,
            security_group_id=group.id,
            project_id=group.project_id,
            direction="egress",
            ethertype=family,
            created_at=now,
            updated_at=now,
        )
        for rule_id, family in zip(ids, ("IPv4", "IPv6"), strict=True)
    ]


def _first_rules(group: SecurityGroup, now: int) -> list[SecurityGroupRule]:
    def rule_id(direction: str, family: str) -> str:
        return str(uuid5(_NAMESPACE, f"rule/{group.project_id}/{direction}/{family}"))

    ingress = [
        SecurityGroupRule(
            id=rule_id("ingress", family),
            security_group_id=group.id,
            project_id=group.project_id,
            direction="ingress",
            ethertype=family,
            remote_group_id=group.id,
            created_at=now,
            updated_at=now,
        )
        for family in ("IPv4", "IPv6")
    ]
    return [*egress_rules(group, (rule_id("egress", "IPv4"), rule_id("egress", "IPv6")), now), *ingress]
