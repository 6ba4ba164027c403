"""Rows of ``server_migrations``: the history of moves. (Alembic's steps of the schema are in ``migrations/``.)

A row is written in the transaction that admits the action it belongs to, and changed in those that carry the action on, so
that history and server never disagree. Nothing here begins or ends a transaction.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import flavors
from kilonova.database.tables import server_migrations as table
from kilonova.model.errors import Invalid
from kilonova.model.migration import ENDS, LIVE_IN_PROGRESS, Migration, MigrationStatus, MigrationType, Wish
from kilonova.model.server import Server

_m = table.c
_BY_NUMBER = sa.select(table).where(_m.id == sa.bindparam("number"), _m.server_id == sa.bindparam("of_server"))
_BY_ACTION = sa.select(table).where(_m.action_id == sa.bindparam("of_action")).order_by(_m.id)
_BY_UUID = sa.select(table).where(_m.uuid == sa.bindparam("of_uuid"))
_FLAVOR_NUMBER = sa.select(flavors.c.id).where(flavors.c.flavorid == sa.bindparam("of_flavor"))
_CHANGE_OF_ACTION = table.update().where(_m.action_id == sa.bindparam("of_action"))
_ABANDON = (
    table.update()
    .where(_m.server_id == sa.bindparam("of_server"), _m.status.not_in([str(end) for end in ENDS]))
    .values(status=str(MigrationStatus.ERROR), updated_at=sa.bindparam("now"))
)
_EVACUATIONS = (_m.source_compute == sa.bindparam("of_host"), _m.migration_type == str(MigrationType.EVACUATION))
_NOT_LEFT_YET = (*_EVACUATIONS, _m.status == str(MigrationStatus.DONE))
_MAY_HAVE_GUESTS = (MigrationStatus.ACCEPTED, MigrationStatus.PRE_MIGRATING, MigrationStatus.DONE)
_EVACUATED_FROM = (
    sa.select(_m.id).where(*_EVACUATIONS, _m.status.in_([str(one) for one in _MAY_HAVE_GUESTS])).limit(1)
)
_LEFT_BEHIND = (
    table.update()
    .where(
        *_NOT_LEFT_YET,
        _m.server_id.not_in(sa.bindparam("guests", expanding=True)),
    )
    .values(status=str(MigrationStatus.COMPLETED), updated_at=sa.bindparam("now"))
)


def insert(
    connection: Connection,
    *,
    uuid: str,
    action_id: str | None,
    server: Server,
    migration_type: MigrationType,
    status: MigrationStatus,
    now: int,
    new_flavor_id: str | None = None,
    **places: str | None,
) -> Migration:
    """A move of ``server`` begins. ``new_flavor_id`` as users name it, None: it keeps its own.

    ``places`` are ``source_compute``, ``source_node``, ``dest_compute``, ``dest_node`` and ``dest_host`` as far as they are
    known; the source is the server's host unless it is given.
    """
    source = {"source_compute": server.host, "source_node": server.host}
    old_flavor = _flavor_number(connection, server.flavor_id)
    new_flavor = old_flavor if new_flavor_id is None else _flavor_number(connection, new_flavor_id)
    row: dict[str, Any] = {
        "uuid": uuid,
        "server_id": server.id,
        "action_id": action_id,
        "migration_type": str(migration_type),
        "status": str(status),
        "old_flavor_id": old_flavor,
        "new_flavor_id": new_flavor,
        "user_id": server.user_id,
        "project_id": server.project_id,
        "created_at": now,
        "updated_at": now,
        **source,
        **places,
    }
    connection.execute(table.insert(), row)
    found = connection.execute(_BY_UUID, {"of_uuid": uuid}).one()
    return Migration(**found._mapping)


def _flavor_number(connection: Connection, flavor_id: str) -> int | None:
    found = connection.execute(_FLAVOR_NUMBER, {"of_flavor": flavor_id}).scalar()
    return None if found is None else int(found)


def of_action(connection: Connection, action_id: str) -> Migration | None:
    """The move that an action performs, or None if it performs none."""
    row = connection.execute(_BY_ACTION, {"of_action": action_id}).first()
    return None if row is None else Migration(**row._mapping)


def change(
    connection: Connection,
    uuid: str,
    *,
    now: int,
    within: tuple[MigrationStatus, ...] = (),
    **values: Any,
) -> bool:
    """Set columns, with ``within`` only while the move is in one of those states. False if nothing was changed."""
    statement = table.update().where(_m.uuid == uuid)
    if within:
        statement = statement.where(_m.status.in_([str(status) for status in within]))
    return connection.execute(statement.values(**values, updated_at=now)).rowcount == 1


def change_of_action(connection: Connection, action_id: str, *, now: int, **values: Any) -> None:
    """Set columns of the move that an action performs; nothing happens if it performs none."""
    connection.execute(_CHANGE_OF_ACTION, {"of_action": action_id, **values, "updated_at": now})


def abandon(connection: Connection, server_id: str, now: int) -> None:
    """The server is gone: none of its moves goes on."""
    connection.execute(_ABANDON, {"of_server": server_id, "now": now})


def left_behind(connection: Connection, host: str, guests: Sequence[str], now: int) -> None:
    """Evacuations from a host that is back are complete once it has none of their guests any more."""
    connection.execute(_LEFT_BEHIND, {"of_host": host, "guests": list(guests), "now": now})


def evacuated_from(connection: Connection, host: str) -> bool:
    """Whether a host may have guests of servers that are or were evacuated from it: it was not back since, as far as is known."""
    return connection.execute(_EVACUATED_FROM, {"of_host": host}).first() is not None


def latest(connection: Connection, server_id: str, *within: MigrationStatus) -> Migration | None:
    """The newest move of a server in one of those states: what a confirm or a revert is about."""
    query = sa.select(table).where(_m.server_id == server_id, _m.status.in_([str(status) for status in within]))
    row = connection.execute(query.order_by(_m.id.desc()).limit(1)).first()
    return None if row is None else Migration(**row._mapping)


def find(connection: Connection, server_id: str, number: int) -> Migration | None:
    """One move of a server by its number, or None."""
    row = connection.execute(_BY_NUMBER, {"number": number, "of_server": server_id}).first()
    return None if row is None else Migration(**row._mapping)


def live_in_progress(connection: Connection, server_id: str) -> list[Migration]:
    """The live migrations of a server that have not ended."""
    query = sa.select(table).where(
        _m.server_id == server_id,
        _m.status.in_([str(status) for status in LIVE_IN_PROGRESS]),
        _m.migration_type == str(MigrationType.LIVE),
    )
    return [Migration(**row._mapping) for row in connection.execute(query.order_by(_m.id))]


def ask(connection: Connection, uuid: str, wish: Wish, within: tuple[MigrationStatus, ...], now: int) -> bool:
    """Write down what an operator asks of a move in one of those states. False if it has left them."""
    return change(connection, uuid, now=now, within=within, wish=str(wish))


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What of the moves is asked for: equalities by column, ``host`` and ``node`` at either end; moments in microseconds."""

    limit: int
    marker: str | None = None
    oldest_first: bool = False
    host: str | None = None
    node: str | None = None
    match: dict[str, str] = {}
    changes_since: int | None = None
    changes_before: int | None = None


def listing(connection: Connection, asked: Listing) -> list[Migration]:
    """One page, the newest first; or the newest in the order they came. Raises ``Invalid`` for a marker that is none."""
    query = sa.select(table)
    for column, value in asked.match.items():
        query = query.where(_m[column] == value)
    if asked.host is not None:
        query = query.where(sa.or_(_m.source_compute == asked.host, _m.dest_compute == asked.host))
    if asked.node is not None:
        query = query.where(sa.or_(_m.source_node == asked.node, _m.dest_node == asked.node))
    if asked.changes_since is not None:
        query = query.where(_m.updated_at >= asked.changes_since)
    if asked.changes_before is not None:
        query = query.where(_m.updated_at <= asked.changes_before)
    if asked.marker is not None:
        behind = connection.execute(_BY_UUID, {"of_uuid": asked.marker}).first()
        if behind is None:
            raise Invalid(f"Marker {asked.marker[:64]} could not be found.")
        same = sa.and_(_m.created_at == behind.created_at, _m.id < behind.id)
        query = query.where(sa.or_(_m.created_at < behind.created_at, same))
    rows = connection.execute(query.order_by(_m.created_at.desc(), _m.id.desc()).limit(asked.limit))
    found = [Migration(**row._mapping) for row in rows]
    return found[::-1] if asked.oldest_first else found
