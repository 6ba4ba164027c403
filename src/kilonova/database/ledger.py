"""The one ledger: what servers take from hosts and from their project's quota.

Always changed in the transaction that changes the server, by conditional updates: two that race for the last
slot are told apart by the database, nothing is counted twice and nothing has to be healed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import custom_claims, topologies
from kilonova.database.tables import allocations, hosts, quota_limits, quota_usages
from kilonova.messaging.contract import Need
from kilonova.model.errors import QuotaExceeded

_h = hosts.c
_CLAIM = (
    hosts.update()
    .where(
        _h.host == sa.bindparam("on_host"),
        _h.vcpus_used + sa.bindparam("vcpus_needed", type_=sa.Integer) <= _h.vcpus_capacity,
        _h.memory_mb_used + sa.bindparam("memory_needed", type_=sa.Integer) <= _h.memory_mb_capacity,
        _h.disk_gb_used + sa.bindparam("disk_needed", type_=sa.Integer) <= _h.disk_gb_capacity,
    )
    .values(
        vcpus_used=_h.vcpus_used + sa.bindparam("vcpus_needed", type_=sa.Integer),
        memory_mb_used=_h.memory_mb_used + sa.bindparam("memory_needed", type_=sa.Integer),
        disk_gb_used=_h.disk_gb_used + sa.bindparam("disk_needed", type_=sa.Integer),
        servers_count=_h.servers_count + 1,
        generation=_h.generation + 1,
    )
)
_RETURN = (
    hosts.update()
    .where(_h.host == sa.bindparam("on_host"))
    .values(
        vcpus_used=_h.vcpus_used - sa.bindparam("vcpus_needed", type_=sa.Integer),
        memory_mb_used=_h.memory_mb_used - sa.bindparam("memory_needed", type_=sa.Integer),
        disk_gb_used=_h.disk_gb_used - sa.bindparam("disk_needed", type_=sa.Integer),
        servers_count=_h.servers_count - 1,
        generation=_h.generation + 1,
    )
)
_ALLOCATE = allocations.insert()
_ALLOCATIONS_OF = sa.select(allocations).where(allocations.c.server_id == sa.bindparam("of_server"))
_HELD_BY = sa.select(allocations).where(allocations.c.consumer == sa.bindparam("of_consumer"))
_FREE = allocations.delete().where(
    allocations.c.consumer == sa.bindparam("of_consumer"), allocations.c.host == sa.bindparam("on_host")
)
_RENAME = (
    allocations.update()
    .where(allocations.c.consumer == sa.bindparam("of_consumer"))
    .values(consumer=sa.bindparam("new_consumer"))
)


def claim(
    connection: Connection,
    *,
    server_id: str,
    project_id: str,
    host: str,
    need: Need,
    now: int,
    held_by: str | None = None,
) -> bool:
    """Take what the server needs from the host, or False if it no longer fits. ``held_by``: the move that may bring it there."""
    amounts = {"vcpus_needed": need.vcpus, "memory_needed": need.memory_mb, "disk_needed": need.disk_gb}
    if connection.execute(_CLAIM, {"on_host": host, **amounts}).rowcount != 1:
        return False
    if not custom_claims.claim(connection, host, need.custom):
        return False
    connection.execute(
        _ALLOCATE,
        {
            "consumer": held_by or server_id,
            "host": host,
            "server_id": server_id,
            "project_id": project_id,
            "vcpus": need.vcpus,
            "memory_mb": need.memory_mb,
            "disk_gb": need.disk_gb,
            "custom": need.custom or None,
            "created_at": now,
        },
    )
    return True


_HOLD = (
    sa.select(_h.host).where(_h.host.in_(sa.bindparam("these", expanding=True))).order_by(_h.host).with_for_update()
)
_CLAIM_ALIKE = (
    hosts.update()
    .where(
        _h.host.in_(sa.bindparam("these", expanding=True)),
        _h.vcpus_used + sa.bindparam("vcpus_needed", type_=sa.Integer) <= _h.vcpus_capacity,
        _h.memory_mb_used + sa.bindparam("memory_needed", type_=sa.Integer) <= _h.memory_mb_capacity,
        _h.disk_gb_used + sa.bindparam("disk_needed", type_=sa.Integer) <= _h.disk_gb_capacity,
    )
    .values(
        vcpus_used=_h.vcpus_used + sa.bindparam("vcpus_needed", type_=sa.Integer),
        memory_mb_used=_h.memory_mb_used + sa.bindparam("memory_needed", type_=sa.Integer),
        disk_gb_used=_h.disk_gb_used + sa.bindparam("disk_needed", type_=sa.Integer),
        servers_count=_h.servers_count + sa.bindparam("more", type_=sa.Integer),
        generation=_h.generation + 1,
    )
)


def hold(connection: Connection, names: Sequence[str]) -> None:
    """Lock the rows of hosts, in the order of their names: whoever changes several at once waits in one direction."""
    connection.execute(_HOLD, {"these": list(names)}).all()


def claim_all(connection: Connection, claims: Sequence[tuple[str, str, str, Need]], now: int) -> bool:
    """Take from hosts what many new servers need: (server, project, host, need). False if any does not fit; roll back then.

    Hosts that give the same are changed by one statement.
    """
    taken: dict[str, tuple[int, int, int, int]] = {}
    for _, _, host, need in claims:
        vcpus, memory, disk, more = taken.get(host, (0, 0, 0, 0))
        taken[host] = (vcpus + need.vcpus, memory + need.memory_mb, disk + need.disk_gb, more + 1)
    alike: dict[tuple[int, int, int, int], list[str]] = {}
    for host, amounts in taken.items():
        alike.setdefault(amounts, []).append(host)
    for (vcpus, memory, disk, more), names in alike.items():
        values = {"vcpus_needed": vcpus, "memory_needed": memory, "disk_needed": disk, "more": more}
        if connection.execute(_CLAIM_ALIKE, {"these": sorted(names), **values}).rowcount != len(names):
            return False
    for _, _, host, need in sorted(claims, key=lambda claim: claim[2]):
        if need.custom and not custom_claims.claim(connection, host, need.custom):
            return False
    connection.execute(
        _ALLOCATE,
        [
            {
                "consumer": server_id,
                "host": host,
                "server_id": server_id,
                "project_id": project_id,
                "vcpus": need.vcpus,
                "memory_mb": need.memory_mb,
                "disk_gb": need.disk_gb,
                "custom": need.custom or None,
                "created_at": now,
            }
            for server_id, project_id, host, need in claims
        ],
    )
    return True


def give_back(connection: Connection, server_id: str) -> None:
    """Return all that a server has claimed, on whatever host. Nothing happens if it has claimed nothing."""
    _return(connection, connection.execute(_ALLOCATIONS_OF, {"of_server": server_id}).all())


def let_go(connection: Connection, consumer: str) -> None:
    """Return what one consumer has claimed: a server where it is, or a move at its other side."""
    _return(connection, connection.execute(_HELD_BY, {"of_consumer": consumer}).all())


def _return(connection: Connection, rows: Sequence[sa.Row[Any]]) -> None:
    for row in rows:
        if connection.execute(_FREE, {"of_consumer": row.consumer, "on_host": row.host}).rowcount == 1:
            amounts = {"vcpus_needed": row.vcpus, "memory_needed": row.memory_mb, "disk_needed": row.disk_gb}
            connection.execute(_RETURN, {"on_host": row.host, **amounts})
            custom_claims.give_back(connection, row.host, row.custom or {})
            if row.topology is not None:
                topologies.count(connection, row.host)


def change_places(connection: Connection, server_id: str, move: str) -> None:
    """The server's own claim becomes the one that the move holds, and the held one its own."""
    for consumer, becomes in ((server_id, f"{move} away"), (move, server_id), (f"{move} away", move)):
        connection.execute(_RENAME, {"of_consumer": consumer, "new_consumer": becomes})


def held_elsewhere(connection: Connection, server_id: str) -> list[str]:
    """The hosts on which a move holds something for the server."""
    rows = connection.execute(_ALLOCATIONS_OF, {"of_server": server_id}).all()
    return [row.host for row in rows if row.consumer != server_id]


_u = quota_usages.c
_FIRST_USE = quota_usages.insert()
_USE = (
    quota_usages.update()
    .where(
        _u.project_id == sa.bindparam("of_project"),
        _u.resource == sa.bindparam("of_resource"),
        sa.or_(
            sa.bindparam("hard_limit", type_=sa.BigInteger) < 0,
            _u.in_use + sa.bindparam("amount", type_=sa.BigInteger)
            <= sa.bindparam("hard_limit", type_=sa.BigInteger),
        ),
    )
    .values(in_use=_u.in_use + sa.bindparam("amount", type_=sa.BigInteger))
)
_DROP = (
    quota_usages.update()
    .where(_u.project_id == sa.bindparam("of_project"), _u.resource == sa.bindparam("of_resource"))
    .values(in_use=_u.in_use - sa.bindparam("amount", type_=sa.BigInteger))
)
_LIMITS = sa.select(quota_limits).where(quota_limits.c.project_id.in_([sa.bindparam("of_project"), ""]))
_USAGES = sa.select(_u.resource, _u.in_use).where(_u.project_id == sa.bindparam("of_project"))


def limits(connection: Connection, project_id: str, defaults: Mapping[str, int]) -> dict[str, int]:
    """The limits of a project: its own, else the default class, else the configuration. -1 is none."""
    found = connection.execute(_LIMITS, {"of_project": project_id}).all()
    own = {row.resource: int(row.hard_limit) for row in found if row.project_id == project_id}
    classes = {row.resource: int(row.hard_limit) for row in found if row.project_id == ""}
    return {**defaults, **classes, **own}


def usages(connection: Connection, project_id: str) -> dict[str, int]:
    """What a project uses of each resource; resources it never touched are missing."""
    return {row.resource: int(row.in_use) for row in connection.execute(_USAGES, {"of_project": project_id})}


def use_quota(
    connection: Connection,
    project_id: str,
    amounts: Mapping[str, int],
    defaults: Mapping[str, int],
    *,
    limited: bool = True,
) -> None:
    """Count new use against the project's limits. Raises ``QuotaExceeded`` naming each resource that would not fit.

    Not ``limited``: what is there is counted, whatever the limits say.
    """
    allowed = limits(connection, project_id, defaults) if limited else {}
    for resource in sorted(amounts):  # one order for all, so that two requests never wait for each other
        values = {
            "of_project": project_id,
            "of_resource": resource,
            "amount": amounts[resource],
            "hard_limit": allowed.get(resource, -1),
        }
        if connection.execute(_USE, values).rowcount == 1:
            continue
        if not _first_use(connection, values):
            raise _exceeded(connection, project_id, amounts, allowed)


def _first_use(connection: Connection, values: Mapping[str, object]) -> bool:
    """Make the usage row if it is missing; False if it is there, and the limit was what refused."""
    row = {"project_id": values["of_project"], "resource": values["of_resource"], "in_use": 0}
    try:
        with connection.begin_nested():
            connection.execute(_FIRST_USE, row)
    except sa.exc.IntegrityError:
        return connection.execute(_USE, values).rowcount == 1
    return connection.execute(_USE, values).rowcount == 1


def _exceeded(
    connection: Connection, project_id: str, amounts: Mapping[str, int], allowed: Mapping[str, int]
) -> QuotaExceeded:
    used = usages(connection, project_id)
    over = [r for r in sorted(amounts) if 0 <= allowed.get(r, -1) < used.get(r, 0) + amounts[r]] or sorted(amounts)

    def numbers(of: Mapping[str, int]) -> str:
        return ", ".join(str(of.get(resource, 0)) for resource in over)

    return QuotaExceeded(
        f"Quota exceeded for {', '.join(over)}: Requested {numbers(amounts)}, but already used "
        f"{numbers(used)} of {numbers(allowed)} {', '.join(over)}"
    )


def room(connection: Connection, project_id: str, each: Mapping[str, int], defaults: Mapping[str, int]) -> int | None:
    """How many more of ``each`` the project's limits allow now; None for any number."""
    allowed, used = limits(connection, project_id, defaults), usages(connection, project_id)
    fits = [
        max(allowed[resource] - used.get(resource, 0), 0) // amount
        for resource, amount in each.items()
        if amount > 0 and allowed.get(resource, -1) >= 0
    ]
    return min(fits) if fits else None


def drop_quota(connection: Connection, project_id: str, amounts: Mapping[str, int]) -> None:
    """Count use that has ended."""
    for resource in sorted(amounts):
        connection.execute(_DROP, {"of_project": project_id, "of_resource": resource, "amount": amounts[resource]})
