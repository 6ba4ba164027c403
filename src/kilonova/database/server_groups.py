"""Rows of ``server_groups`` and their members.

A deleted server's row stays, and so does its membership: members are counted and shown without the deleted.
"""

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import ledger, user_quotas
from kilonova.database.tables import allocations, servers
from kilonova.database.tables import server_group_members as members
from kilonova.database.tables import server_groups as groups
from kilonova.model.errors import Invalid, NotFound, QuotaExceeded
from kilonova.model.placement import HARD, GroupPolicy, Neighbours, ServerGroup

RESOURCE = "server_groups"

_g, _l, _m, _s = groups.c, allocations.c, members.c, servers.c
_FIELDS = [_g[name] for name in ServerGroup.__struct_fields__]
_BY_ID = sa.select(*_FIELDS).where(_g.id == sa.bindparam("of_group"))
_LIVE_MEMBERS = members.join(servers, sa.and_(_s.id == _m.server_id, _s.deleted_at.is_(None)))
_BY_HOST = (  # by what they claim: a server on its way counts where it goes as well as where it may have to come back to
    sa.select(_l.host, sa.func.count(sa.distinct(_l.server_id)))
    .select_from(members.join(allocations, _l.server_id == _m.server_id))
    .where(_m.group_id == sa.bindparam("of_group"), _m.server_id != sa.bindparam("but"))
    .group_by(_l.host)
)
_COUNT = sa.select(sa.func.count()).select_from(_LIVE_MEMBERS).where(_m.group_id == sa.bindparam("of_group"))
_OF_SERVER = sa.select(_m.group_id).where(_m.server_id == sa.bindparam("of_server")).order_by(_m.group_id)
_QUEUE_UP = groups.update().where(_g.id == sa.bindparam("of_group")).values(placements=_g.placements + 1)


def insert(
    connection: Connection,
    *,
    group_id: str,
    project_id: str,
    user_id: str,
    name: str,
    policy: GroupPolicy,
    rules: Mapping[str, int],
    now: int,
    quota_defaults: Mapping[str, int],
) -> ServerGroup:
    """A new, empty group. Raises ``QuotaExceeded``."""
    try:
        ledger.use_quota(connection, project_id, {RESOURCE: 1}, quota_defaults)
    except QuotaExceeded:
        raise QuotaExceeded("Quota exceeded, too many server groups.") from None
    row = {"id": group_id, "project_id": project_id, "user_id": user_id, "name": name, "policy": str(policy)}
    connection.execute(groups.insert(), {**row, "rules": dict(rules), "placements": 0, "created_at": now})
    user_quotas.check(connection, project_id, user_id)
    return get(connection, group_id, None)


def find(connection: Connection, group_id: str) -> ServerGroup | None:
    """One group, or None."""
    row = connection.execute(_BY_ID, {"of_group": group_id}).first()
    return None if row is None else ServerGroup(**row._mapping)


def get(connection: Connection, group_id: str, project_id: str | None) -> ServerGroup:
    """One group of a project (None: of any). Raises ``NotFound``, also for other projects'."""
    group = find(connection, group_id)
    if group is None or (project_id is not None and group.project_id != project_id):
        raise NotFound(f"Instance group {group_id} could not be found.")
    return group


def listing(connection: Connection, project_id: str | None, limit: int, offset: int) -> list[ServerGroup]:
    """One page of the groups of a project (None: of all), the oldest first."""
    query = sa.select(*_FIELDS).order_by(_g.seq).limit(limit).offset(offset)
    if project_id is not None:
        query = query.where(_g.project_id == project_id)
    return [ServerGroup(**row._mapping) for row in connection.execute(query)]


def members_of(connection: Connection, group_ids: Collection[str]) -> dict[str, list[str]]:
    """The servers of each group that are not deleted; groups without any are missing."""
    found: dict[str, list[str]] = {}
    query = sa.select(_m.group_id, _m.server_id).select_from(_LIVE_MEMBERS).where(_m.group_id.in_(list(group_ids)))
    for row in connection.execute(query.order_by(_s.seq)):
        found.setdefault(row.group_id, []).append(row.server_id)
    return found


def of_server(connection: Connection, server_id: str) -> list[str]:
    """The group a server is in, as the list that clients see."""
    return list(connection.execute(_OF_SERVER, {"of_server": server_id}).scalars())


def delete(connection: Connection, group: ServerGroup) -> None:
    """Forget a group; its servers stay where they are. Nothing happens if it is gone already."""
    if connection.execute(groups.delete().where(_g.id == group.id)).rowcount == 1:
        connection.execute(members.delete().where(_m.group_id == group.id))
        ledger.drop_quota(connection, group.project_id, {RESOURCE: 1})


def join(
    connection: Connection,
    group_id: str,
    server_ids: Sequence[str],
    project_id: str,
    quota_defaults: Mapping[str, int],
) -> None:
    """Make new servers members, as they are created. Raises ``Invalid`` if the group is gone, or ``QuotaExceeded``."""
    if connection.execute(_QUEUE_UP, {"of_group": group_id}).rowcount != 1:  # who counts members waits here
        raise Invalid(f"Instance group {group_id} could not be found.")
    limit = ledger.limits(connection, project_id, quota_defaults)["server_group_members"]
    if 0 <= limit < int(connection.execute(_COUNT, {"of_group": group_id}).scalar_one()) + len(server_ids):
        raise QuotaExceeded("Quota exceeded, too many servers in group")
    rows = [{"group_id": group_id, "server_id": server_id} for server_id in server_ids]
    connection.execute(members.insert(), rows)


def claim_place(connection: Connection, group_id: str, server_id: str, host: str) -> bool:
    """Whether the group's policy lets the server go to ``host`` now; part of the transaction that puts it there.

    Those who place servers of one group queue up at its row, so of two that chose by the same look only one is let through.
    """
    group = find(connection, group_id)
    if group is None or group.policy not in HARD:
        return True
    connection.execute(_QUEUE_UP, {"of_group": group_id})
    return group.allows(host, _members_by_host(connection, group_id, server_id))


def claim_places(connection: Connection, places: Sequence[tuple[str, str]]) -> bool:
    """``claim_place`` for many new servers at once, as (group, host): whether all of them may go where they are sent."""
    wanted: dict[str, list[str]] = {}
    for group_id, host in places:
        wanted.setdefault(group_id, []).append(host)
    for group_id in sorted(wanted):
        group = find(connection, group_id)
        if group is None or group.policy not in HARD:
            continue
        connection.execute(_QUEUE_UP, {"of_group": group_id})
        members = _members_by_host(connection, group_id, "")
        for host in wanted[group_id]:
            if not group.allows(host, members):
                return False
            members[host] = members.get(host, 0) + 1
    return True


def _members_by_host(connection: Connection, group_id: str, but: str) -> dict[str, int]:
    found = connection.execute(_BY_HOST, {"of_group": group_id, "but": but})
    return {host: int(count) for host, count in found}


def neighbours(
    connection: Connection,
    *,
    server_id: str,
    project_id: str,
    group_id: str | None,
    same: Sequence[str],
    different: Sequence[str],
) -> Neighbours:
    """What a request for a host has to mind. Servers that are named are those of the project; others are on no host."""
    group = None if group_id is None else find(connection, group_id)
    return Neighbours(
        group=group,
        members={} if group is None else _members_by_host(connection, group.id, server_id),
        same=_hosts(connection, project_id, same) if same else None,
        different=_hosts(connection, project_id, different),
    )


def _hosts(connection: Connection, project_id: str, server_ids: Sequence[str]) -> frozenset[str]:
    if not server_ids:
        return frozenset()
    query = sa.select(_s.host).where(
        _s.id.in_(list(server_ids)), _s.project_id == project_id, _s.deleted_at.is_(None), _s.host.is_not(None)
    )
    return frozenset(connection.execute(query).scalars())
