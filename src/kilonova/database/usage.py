"""Which servers lived in a stretch of time, for usage reports."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import servers
from kilonova.model.errors import Invalid

_s = servers.c
_ENDED = sa.func.coalesce(_s.terminated_at, _s.deleted_at)


class Lifetime(msgspec.Struct, frozen=True, kw_only=True):
    """A server as far as a report needs it. Moments in microseconds; ``ended_at`` None: it still lives."""

    seq: int
    id: str
    project_id: str
    name: str
    vm_state: str
    flavor: dict[str, Any]
    launched_at: int
    ended_at: int | None


def lifetimes(
    connection: Connection,
    *,
    start: int,
    stop: int,
    project_id: str | None,
    limit: int | None = None,
    marker: str | None = None,
) -> list[Lifetime]:
    """Servers that ran between ``start`` and ``stop``, in the order they were made. ``Invalid`` for a strange marker."""
    query = sa.select(
        _s.seq, _s.id, _s.project_id, _s.name, _s.vm_state, _s.flavor, _s.launched_at, _ENDED.label("ended_at")
    ).where(_s.launched_at.is_not(None), _s.launched_at < stop, sa.or_(_ENDED.is_(None), start < _ENDED))
    if project_id is not None:
        query = query.where(_s.project_id == project_id)
    if marker is not None:
        seq = connection.execute(sa.select(_s.seq).where(_s.id == marker)).scalar()
        if seq is None:
            raise Invalid(f"marker [{marker}] not found")
        query = query.where(_s.seq > seq)
    query = query.order_by(_s.seq)
    if limit is not None:
        query = query.limit(limit)
    return [Lifetime(**row._mapping) for row in connection.execute(query)]
