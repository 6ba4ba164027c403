"""The ledger's claims as Placement's allocations: a server is the consumer, on two hosts while it moves."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import ledger
from kilonova.database.tables import allocations, hosts, servers
from kilonova.model.errors import Conflict
from kilonova.model.inventory import DEDICATED, HOST_CLASSES
from kilonova.model.provider import Consumer
from kilonova.model.topology.given import read_given

_a, _h, _s = allocations.c, hosts.c, servers.c
_CLAIMS = (
    sa.select(
        _a.server_id,
        _a.project_id,
        _a.created_at,
        _s.user_id,
        _h.uuid,
        *(_a[column] for column in HOST_CLASSES.values()),
        _a.custom,
        _a.topology,
    )
    .join(hosts, _h.host == _a.host)
    .outerjoin(servers, _s.id == _a.server_id)
    .order_by(_a.created_at, _a.consumer, _a.host)
)


def of_server(connection: Connection, server_id: str) -> Consumer | None:
    """What a server has claimed, on whatever host; None if it has claimed nothing."""
    return next(iter(_consumers(connection.execute(_CLAIMS.where(_a.server_id == server_id)))), None)


def on_provider(connection: Connection, uuid: str) -> list[Consumer]:
    """The servers that have claimed something of a host, and that only."""
    return _consumers(connection.execute(_CLAIMS.where(_h.uuid == uuid)))


def _consumers(rows: Iterable[sa.Row[Any]]) -> list[Consumer]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        consumer = found.setdefault(
            row.server_id,
            {"project_id": row.project_id, "user_id": row.user_id or "", "claims": {}},
        )
        consumer["claimed_at"] = row.created_at
        claim = consumer["claims"].setdefault(row.uuid, {})
        for name, column in HOST_CLASSES.items():
            if row._mapping[column]:
                claim[name] = claim.get(name, 0) + row._mapping[column]
        for name, amount in _beside(row.topology, row.custom):
            claim[name] = claim.get(name, 0) + amount
    return [Consumer(id=server_id, **values) for server_id, values in found.items()]


def _beside(topology: Mapping[str, Any] | None, custom: Mapping[str, int] | None) -> Iterator[tuple[str, int]]:
    """What a claim has that stands in no column of its own: processors for itself, and what operators added to hosts."""
    if topology is not None and (processors := len(read_given(topology).taken)):
        yield DEDICATED, processors
    yield from (custom or {}).items()


def repair(connection: Connection, server_id: str) -> bool:
    """Give back what is claimed for a server that is not there; False if nothing is. Raises ``Conflict`` for one that is."""
    if connection.execute(sa.select(_a.host).where(_a.server_id == server_id).limit(1)).first() is None:
        return False
    living = sa.select(_s.id).where(_s.id == server_id, _s.deleted_at.is_(None)).with_for_update(read=True)
    if connection.execute(living).first() is not None:
        raise Conflict(
            f"{server_id} is a server: what it has claimed changes with it, and is given back when it is deleted."
        )
    ledger.give_back(connection, server_id)
    return True


def usage(connection: Connection, project_id: str, user_id: str | None) -> tuple[dict[str, int], int]:
    """What the servers of a project, or of one user in it, have claimed in all, by class; and how many they are."""
    sums = [sa.func.coalesce(sa.func.sum(_a[column]), 0).label(column) for column in HOST_CLASSES.values()]
    of_project = _a.project_id == project_id
    if user_id is not None:
        of_project &= _a.server_id.in_(sa.select(_s.id).where(_s.project_id == project_id, _s.user_id == user_id))
    query = sa.select(sa.func.count(sa.distinct(_a.server_id)).label("consumers"), *sums).where(of_project)
    row = connection.execute(query).one()
    used = {name: int(row._mapping[column]) for name, column in HOST_CLASSES.items()}
    beside = sa.or_(_a.custom.is_not(None), _a.topology.is_not(None))
    for claim in connection.execute(sa.select(_a.custom, _a.topology).where(of_project, beside)):
        for name, amount in _beside(claim.topology, claim.custom):
            used[name] = used.get(name, 0) + amount
    return {name: amount for name, amount in used.items() if amount}, int(row.consumers)
