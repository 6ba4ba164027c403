"""Queries on trunks and the ports they carry. The rows of their ports' networks are locked by whoever changes them."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import network_tables as t

_t = t.trunks.c
_s = t.trunk_subports.c
_CARRIED = sa.select(_s.port_id).join(t.trunks, _t.id == _s.trunk_id).where(_t.port_id == sa.bindparam("parent"))
_FOLLOW = (
    t.ports.update()
    .where(t.ports.c.id.in_(_CARRIED))
    .values(host=sa.bindparam("to_host"), status=sa.bindparam("to_status"))
)


def subports_of(connection: Connection, trunk_ids: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    """What each trunk carries, as the API says it, in the order of the numbers."""
    found: dict[str, list[dict[str, object]]] = {trunk_id: [] for trunk_id in trunk_ids}
    if trunk_ids:
        query = sa.select(t.trunk_subports).where(_s.trunk_id.in_(list(trunk_ids))).order_by(_s.segmentation_id)
        for row in connection.execute(query):
            entry = {"segmentation_type": row.segmentation_type, "segmentation_id": row.segmentation_id}
            found[row.trunk_id].append({"port_id": row.port_id, **entry})
    return found


def of_parent(connection: Connection, port_id: str) -> str | None:
    """The trunk of which that port is the parent."""
    found: str | None = connection.execute(sa.select(_t.id).where(_t.port_id == port_id)).scalar()
    return found


def drop_subport(connection: Connection, trunk_id: str, port_id: str) -> bool:
    """The trunk carries that port no longer. False if it did not."""
    statement = t.trunk_subports.delete().where(_s.trunk_id == trunk_id, _s.port_id == port_id)
    return connection.execute(statement).rowcount > 0


def follow(connection: Connection, parent_id: str, *, host: str, status: str) -> None:
    """What the parent of a trunk has become, the ports it carries have become as well; nothing happens to other ports."""
    connection.execute(_FOLLOW, {"parent": parent_id, "to_host": host, "to_status": status})
