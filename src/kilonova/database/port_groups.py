"""Queries on which ports carry which security groups."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import network_tables as t
from kilonova.database.networks import columns
from kilonova.model.network import SecurityGroup

_pg = t.port_security_groups.c
_s = t.security_groups.c
_r = t.security_group_rules.c
_p = t.ports.c
_PUT_ON = sa.insert(t.port_security_groups)
_BY_IDS = sa.select(*columns(SecurityGroup)).where(_s.id.in_(sa.bindparam("ids", expanding=True)))
_KEPT = _BY_IDS.with_for_update(read=True)
_KEPT_ONE = sa.select(*columns(SecurityGroup)).where(_s.id == sa.bindparam("id")).with_for_update(read=True)


def keep(connection: Connection, group_ids: Sequence[str]) -> list[SecurityGroup]:
    """Those of the groups that exist; nobody deletes them until this transaction ends."""
    wanted = sorted(set(group_ids))
    if not wanted:
        return []
    # Nearly always it is one, and a statement without a list is the cheaper one.
    rows = connection.execute(*((_KEPT_ONE, {"id": wanted[0]}) if len(wanted) == 1 else (_KEPT, {"ids": wanted})))
    return [SecurityGroup(**row._mapping) for row in rows]


def named(connection: Connection, project_id: str, name: str) -> list[SecurityGroup]:
    """The project's groups of that id or, if there is none, of that name."""
    query = sa.select(*columns(SecurityGroup)).where(_s.project_id == project_id)
    found = (
        connection.execute(query.where(_s.id == name)).all() or connection.execute(query.where(_s.name == name)).all()
    )
    return [SecurityGroup(**row._mapping) for row in found]


def put_on(connection: Connection, port_id: str, group_ids: Sequence[str]) -> None:
    """Give a new port its groups."""
    rows = [{"port_id": port_id, "security_group_id": group_id} for group_id in sorted(set(group_ids))]
    if rows:
        connection.execute(_PUT_ON, rows)


def replace(connection: Connection, port_id: str, group_ids: Sequence[str]) -> None:
    """The groups of a port are these and no others."""
    connection.execute(t.port_security_groups.delete().where(_pg.port_id == port_id))
    put_on(connection, port_id, group_ids)


def groups_of(connection: Connection, port_ids: Sequence[str]) -> dict[str, list[str]]:
    """The ids of ports' groups."""
    found: dict[str, list[str]] = {port_id: [] for port_id in port_ids}
    if port_ids:
        query = sa.select(_pg.port_id, _pg.security_group_id).where(_pg.port_id.in_(list(port_ids)))
        for row in connection.execute(query.order_by(_pg.security_group_id)):
            found[row.port_id].append(row.security_group_id)
    return found


def of_server(connection: Connection, server_id: str) -> list[SecurityGroup]:
    """The groups of a server's ports, each once, by name."""
    carried = sa.select(_pg.security_group_id).join(t.ports, _p.id == _pg.port_id).where(_p.device_id == server_id)
    query = sa.select(*columns(SecurityGroup)).where(_s.id.in_(carried)).order_by(_s.name, _s.id)
    return [SecurityGroup(**row._mapping) for row in connection.execute(query)]


def names_of(connection: Connection, server_id: str) -> list[str]:
    """The names of the groups of a server's ports, each once."""
    return list(dict.fromkeys(group.name for group in of_server(connection, server_id)))


def is_used(connection: Connection, group_id: str) -> bool:
    """Whether a port carries the group."""
    return (
        connection.execute(sa.select(_pg.port_id).where(_pg.security_group_id == group_id).limit(1)).first()
        is not None
    )


def servers_with(connection: Connection, group_id: str) -> list[str]:
    """The devices whose ports carry the group."""
    query = sa.select(_p.device_id).join(t.port_security_groups, _p.id == _pg.port_id).distinct()
    return list(connection.execute(query.where(_pg.security_group_id == group_id, _p.binding != "")).scalars())


def remove_rules_about(connection: Connection, group_id: str) -> None:
    """Remove the group's rules, and those of others that speak of it."""
    about = sa.or_(_r.security_group_id == group_id, _r.remote_group_id == group_id)
    connection.execute(t.security_group_rules.delete().where(about))
