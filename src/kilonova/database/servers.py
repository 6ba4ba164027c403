"""Rows of ``servers``: finding, listing and changing them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import actions, allocations, servers
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.server import Server, VmState, tasks_of, vm_states_of

_s = servers.c
_SELECT = sa.select(*(_s[name] for name in Server.__struct_fields__))
_BY_ID = _SELECT.where(_s.id == sa.bindparam("server_id"))
_ON_HOST = _SELECT.where(_s.host == sa.bindparam("on_host"), _s.deleted_at.is_(None))
_MOST = sa.bindparam("most", type_=sa.Integer)
_LIVE = _s.deleted_at.is_(None)
_STRANDED = (
    sa.select(_s.id, _s.addresses)
    .where(
        _s.host.is_(None),
        _s.deleted_at.is_(None),
        _s.vm_state == str(VmState.ERROR),
        _s.action_id.is_(None),
        sa.func.length(sa.cast(_s.addresses, sa.Text)) > len("[]"),
    )
    .limit(_MOST)
)
_WITH_CLAIMS_ON = _SELECT.where(
    _LIVE,
    sa.or_(
        _s.host == sa.bindparam("on_host"),
        _s.id.in_(sa.select(allocations.c.server_id).where(allocations.c.host == sa.bindparam("on_host"))),
    ),
).order_by(_s.seq)
_RECLAIMABLE = (
    _SELECT.where(
        _s.soft_deleted_at < sa.bindparam("before"),
        _s.vm_state == str(VmState.SOFT_DELETED),
        _s.action_id.is_(None),
    )
    .order_by(_s.soft_deleted_at)
    .limit(_MOST)
)
_UNCONFIRMED = _SELECT.where(_s.vm_state == str(VmState.RESIZED), _s.action_id.is_(None), _LIVE).order_by(_s.seq)
_LAST_ACTION_ENDED = (
    sa.select(sa.func.max(actions.c.finished_at)).where(actions.c.server_id == _s.id).scalar_subquery()
)
_TO_OFFLOAD = (
    _SELECT.where(
        _s.vm_state == str(VmState.SHELVED),
        _s.action_id.is_(None),
        _s.host.is_not(None),
        _LIVE,
        sa.bindparam("before") >= _LAST_ACTION_ENDED,
    )
    .order_by(_s.seq)
    .limit(_MOST)
)
_INSERT = servers.insert()
_HOLD = sa.select(_s.id).where(_s.id == sa.bindparam("the_server")).with_for_update()
_UPDATES: dict[tuple[str, ...], sa.Update] = {}


def insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New servers."""
    connection.execute(_INSERT, list(rows))


def find(connection: Connection, server_id: str) -> Server | None:
    """One server, deleted or not, or None."""
    row = connection.execute(_BY_ID, {"server_id": server_id}).first()
    return None if row is None else _server(row)


def get(connection: Connection, server_id: str, project_id: str | None, *, deleted: bool = False) -> Server:
    """One server of a project (None: of any). Raises ``NotFound``, also for other projects' and deleted ones."""
    server = find(connection, server_id)
    if server is None or (project_id is not None and server.project_id != project_id):
        raise NotFound(f"Instance {server_id} could not be found.")
    if server.deleted_at is not None and not deleted:
        raise NotFound(f"Instance {server_id} could not be found.")
    return server


def on_host(connection: Connection, host: str) -> list[Server]:
    """The servers that belong on a host."""
    return [_server(row) for row in connection.execute(_ON_HOST, {"on_host": host})]


def with_claims_on(connection: Connection, host: str) -> list[Server]:
    """The servers that may have a guest on a host: those that belong there, and those that a move brings or takes from there."""
    return [_server(row) for row in connection.execute(_WITH_CLAIMS_ON, {"on_host": host})]


def stranded(connection: Connection, most: int) -> list[str]:
    """Servers that ended in ERROR on no host and still have addresses."""
    return [row.id for row in connection.execute(_STRANDED, {"most": most})]


def reclaimable(connection: Connection, before: int, most: int) -> list[Server]:
    """Servers that were soft-deleted before a moment and that nothing changes now, the oldest first."""
    rows = connection.execute(_RECLAIMABLE, {"before": before, "most": most})
    return [_server(row) for row in rows]


def unconfirmed(connection: Connection, before: int, most: int) -> list[Server]:
    """Servers that were moved before a moment, await confirmation, and that nothing changes now."""
    found = (_server(row) for row in connection.execute(_UNCONFIRMED))
    return [server for server in found if (server.resized_from or {}).get("since", before + 1) <= before][:most]


def to_offload(connection: Connection, before: int, most: int) -> list[Server]:
    """Shelved servers that are still on a host, that nothing changes now, and whose last action ended before a moment."""
    rows = connection.execute(_TO_OFFLOAD, {"before": before, "most": most})
    return [_server(row) for row in rows]


def forget_addresses(connection: Connection, server_id: str) -> None:
    """The addresses of a stranded server are given back."""
    connection.execute(
        servers.update().where(_s.id == server_id, _s.host.is_(None), _s.action_id.is_(None)).values(addresses=[])
    )


def update(connection: Connection, server_id: str, *, held_by: str | None = None, **values: Any) -> bool:
    """Set columns; with ``held_by`` only while that action holds the server. False if nothing was changed."""
    key = (*sorted(values), "" if held_by is None else "held")
    statement = _UPDATES.get(key)
    if statement is None:
        statement = servers.update().where(_s.id == sa.bindparam("the_server"))
        if held_by is not None:
            statement = statement.where(_s.action_id == sa.bindparam("held_by"))
        statement = _UPDATES.setdefault(
            key, statement.values({name: sa.bindparam(f"v_{name}", type_=servers.c[name].type) for name in values})
        )
    parameters = {f"v_{name}": value for name, value in values.items()}
    parameters["the_server"] = server_id
    if held_by is not None:
        parameters["held_by"] = held_by
    return connection.execute(statement, parameters).rowcount == 1


def update_free(connection: Connection, server: Server, **values: Any) -> bool:
    """Set columns if no action holds the server, and it is where and what it was when it was read. False if it is not."""
    free = (_s.id == server.id, _s.action_id.is_(None), _s.vm_state == server.vm_state, _LIVE)
    same_host = _s.host.is_not_distinct_from(server.host)
    return connection.execute(servers.update().where(*free, same_host).values(**values)).rowcount == 1


def hold(connection: Connection, server_id: str) -> None:
    """Lock the row: what is read of the server from here on stays so until this transaction ends."""
    connection.execute(_HOLD, {"the_server": server_id}).first()


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What of the servers is asked for. ``project_id`` None: of all projects.

    ``match`` are equalities by column, ``like`` substrings (names: Nova takes a regular expression, of which every
    plain word is one), moments in microseconds. ``status`` is the user's word for it, ``tags`` are words by how they
    must be there (``TAG_FILTERS``).
    """

    project_id: str | None
    limit: int
    marker: str | None = None
    sort: list[tuple[str, bool]] = []  # column, ascending
    match: dict[str, Any] = {}
    like: dict[str, str] = {}
    status: list[str] = []
    metadata: dict[str, str] = {}
    tags: dict[str, list[str]] = {}
    deleted: bool | None = False
    changes_since: int | None = None
    changes_before: int | None = None


TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
SORTABLE = {
    "created_at",
    "updated_at",
    "display_name",
    "uuid",
    "host",
    "vm_state",
    "task_state",
    "power_state",
    "launched_at",
    "availability_zone",
    "project_id",
    "user_id",
    "key_name",
    "locked",
    "access_ip_v4",
    "access_ip_v6",
    "instance_type_id",
    "image_ref",
    "root_device_name",
    "display_description",
    "hostname",
    "launch_index",
    "progress",
    "terminated_at",
    "config_drive",
}
_COLUMN_OF = {
    "display_name": "name",
    "uuid": "id",
    "instance_type_id": "flavor_id",
    "image_ref": "image_id",
    "display_description": "description",
}


def listing(connection: Connection, asked: Listing) -> list[Server]:
    """One page, newest first unless asked otherwise. Raises ``Invalid`` for a marker that is nobody's."""
    return [_server(row) for row in connection.execute(_page(connection, _SELECT, asked))]


def names(connection: Connection, asked: Listing) -> list[tuple[str, str]]:
    """The same page: ids and names only."""
    return [(row.id, row.name) for row in connection.execute(_page(connection, sa.select(_s.id, _s.name), asked))]


def _server(row: sa.Row[*tuple[Any, ...]]) -> Server:
    """By position: on a page of a thousand rows half of the time was spent in asking each for its column names."""
    return Server(*row)


def _page(connection: Connection, query: sa.Select[Any], asked: Listing) -> sa.Select[Any]:
    query = _filtered(query, asked)
    keys = [(_COLUMN_OF.get(column, column), ascending) for column, ascending in asked.sort] or [
        ("created_at", False)
    ]
    keys.append(("seq", keys[-1][1]))
    if asked.marker is not None:
        query = query.where(_after(connection, asked, keys))
    for column, ascending in keys:
        query = query.order_by(_s[column].asc() if ascending else _s[column].desc())
    return query.limit(asked.limit)


def _filtered(query: sa.Select[Any], asked: Listing) -> sa.Select[Any]:
    if asked.project_id is not None:
        query = query.where(_s.project_id == asked.project_id)
    if asked.deleted is not None:
        query = query.where(_DELETED if asked.deleted else _s.deleted_at.is_(None))
    if asked.deleted is False and not _asks_for_soft_deleted(asked):
        query = query.where(_s.vm_state != str(VmState.SOFT_DELETED))
    for column, value in asked.match.items():
        query = query.where(_s[column].in_(value) if isinstance(value, list) else _s[column] == value)
    for column, value in asked.like.items():
        query = query.where(_has_address(value) if column == "addresses" else _looks_like(_s[column], value))
    if asked.changes_since is not None:
        query = query.where(sa.func.coalesce(_s.updated_at, _s.created_at) >= asked.changes_since)
    if asked.changes_before is not None:
        query = query.where(sa.func.coalesce(_s.updated_at, _s.created_at) <= asked.changes_before)
    if asked.status:
        query = query.where(sa.or_(*(_status_clause(word) for word in asked.status)))
    for how, words in asked.tags.items():
        query = query.where(_tagged(how, words))
    for key, value in asked.metadata.items():
        fragment = msgspec.json.encode(key).decode() + ":" + msgspec.json.encode(value).decode()
        query = query.where(sa.cast(_s.metadata, sa.Text).contains(fragment, autoescape=True))
    return query


_DELETED = sa.or_(_s.deleted_at.is_not(None), _s.vm_state == str(VmState.SOFT_DELETED))


def _asks_for_soft_deleted(asked: Listing) -> bool:
    """Soft-deleted servers are listed with the deleted ones, or by their name: a user takes them for gone."""
    wanted = [state for word in asked.status for state in vm_states_of(word)]
    matched = asked.match.get("vm_state", [])
    return VmState.SOFT_DELETED in (*wanted, *(matched if isinstance(matched, list) else [matched]))


def _tagged(how: str, words: list[str]) -> sa.ColumnElement[bool]:
    """Tags are kept as a JSON list: a word is there with its quotes."""
    there = [sa.cast(_s.tags, sa.Text).contains(msgspec.json.encode(w).decode(), autoescape=True) for w in words]
    clause = sa.or_(*there) if how.endswith("any") else sa.and_(*there)
    return sa.not_(clause) if how.startswith("not") else clause


def _looks_like(column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
    """Nova's name filters are regular expressions; a plain word, the usual case, is a cheap substring."""
    if all(letter.isalnum() or letter in "-_ :@/" for letter in pattern):
        return column.contains(pattern, autoescape=True)
    return column.regexp_match(pattern)


def _has_address(pattern: str) -> sa.ColumnElement[bool]:
    """A fixed address of a server's looks like that; nothing else that is known of its ports counts."""
    begin = "" if pattern.startswith("^") else '[^"]*'
    end = '"' if pattern.endswith("$") else ""
    place = r'("address":"|"more_addresses":\[("[^"]*",)*")'
    addresses = sa.cast(_s.addresses, sa.Text)
    return addresses.regexp_match(f"{place}{begin}({pattern.removeprefix('^').removesuffix('$')}){end}")


def _status_clause(word: str) -> sa.ColumnElement[bool]:
    tasks = tasks_of(word)
    if tasks:
        return sa.or_(*(sa.and_(_s.vm_state == vm, _s.task_state == task) for vm, task in tasks))
    return _s.vm_state.in_(vm_states_of(word))


def _after(connection: Connection, asked: Listing, keys: list[tuple[str, bool]]) -> sa.ColumnElement[bool]:
    """Everything behind the marker in the order of ``keys`` (NULLs sort first, as SQLite and MySQL do)."""
    marker = find(connection, asked.marker or "")
    if marker is None or (asked.project_id is not None and marker.project_id != asked.project_id):
        raise Invalid(f"marker [{asked.marker}] not found")
    clauses: list[sa.ColumnElement[bool]] = []
    for depth, (column, ascending) in enumerate(keys):
        same = [_s[name].is_not_distinct_from(getattr(marker, name)) for name, _ in keys[:depth]]
        value = getattr(marker, column)
        beyond: sa.ColumnElement[bool]
        if value is None:
            beyond = _s[column].is_not(None) if ascending else sa.false()
        elif ascending:
            beyond = _s[column] > value
        else:
            beyond = sa.or_(_s[column] < value, _s[column].is_(None))
        clauses.append(sa.and_(*same, beyond))
    return sa.or_(*clauses)
