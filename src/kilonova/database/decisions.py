"""Rows of ``decisions``: why servers are where they are, and why some are nowhere.

Written in the transaction that claims the host, or that ends the action; read by ``kilonova explain`` and the operations API;
purged by the sweep, the oldest first.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import decisions
from kilonova.model.decision import DecisionRecord, KeptDecision

_d = decisions.c
_INSERT = decisions.insert()
_OLDEST = sa.select(_d.seq, _d.decided_at).order_by(_d.seq).limit(sa.bindparam("most", type_=sa.Integer))
_NEWEST = sa.select(sa.func.max(_d.seq))
_FORGET = decisions.delete().where(_d.seq <= sa.bindparam("last"))


class DecisionListing(msgspec.Struct, frozen=True, kw_only=True):
    """Which decisions are asked for: of a server, with an outcome, for a host; those before the one numbered ``marker``."""

    limit: int
    marker: int | None = None
    server_id: str | None = None
    outcome: str | None = None
    host: str | None = None


def record(connection: Connection, made: Sequence[DecisionRecord]) -> None:
    """Keep them, in the order they were made."""
    if made:
        connection.execute(_INSERT, [msgspec.structs.asdict(one) for one in made])


def listing(connection: Connection, asked: DecisionListing) -> list[KeptDecision]:
    """One page, the newest first."""
    query = sa.select(decisions).order_by(_d.seq.desc()).limit(asked.limit)
    for column, wanted in ((_d.server_id, asked.server_id), (_d.outcome, asked.outcome), (_d.host, asked.host)):
        if wanted is not None:
            query = query.where(column == wanted)
    if asked.marker is not None:
        query = query.where(_d.seq < asked.marker)
    return [KeptDecision(**row._mapping) for row in connection.execute(query)]


def purge(connection: Connection, *, before: int, keep: int, most: int) -> int:
    """Forget decisions made before a moment and those beyond the newest ``keep``, at most ``most`` at once; how many."""
    oldest = connection.execute(_OLDEST, {"most": 1}).first()
    if oldest is None:
        return 0
    newest = connection.execute(_NEWEST).scalar()
    if newest is None:  # another conductor has forgotten them all since
        return 0
    beyond = int(newest) - keep
    if oldest.seq > beyond and oldest.decided_at >= before:
        return 0
    rows = connection.execute(_OLDEST, {"most": most}).all()
    last = max((row.seq for row in rows if row.seq <= beyond or row.decided_at < before), default=None)
    return 0 if last is None else connection.execute(_FORGET, {"last": last}).rowcount
