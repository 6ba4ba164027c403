"""Rows of ``actions`` and ``action_events``: the engine's log book. Every change names the epoch it was made under."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import action_events, actions
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import Action, ActionState, Kind

_a = actions.c
_COLUMNS = [
    column for column in actions.columns if column.name in {field.name for field in msgspec.structs.fields(Action)}
]
_NAMES = [column.name for column in _COLUMNS]
_SELECT = sa.select(*_COLUMNS)
_BY_ID = _SELECT.where(_a.id == sa.bindparam("action_id"))
_OF_SERVER = _SELECT.where(_a.server_id == sa.bindparam("of_server")).order_by(_a.started_at.desc(), _a.seq.desc())
_LAST_EPOCH = sa.select(sa.func.max(_a.epoch)).where(_a.server_id == sa.bindparam("of_server"))
_LATE = (
    _SELECT.where(_a.lease_until < sa.bindparam("now"))
    .order_by(_a.lease_until)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_OPEN_ON_HOST = _SELECT.where(_a.on_host == sa.bindparam("of_host"), _a.lease_until.is_not(None))
_OF_REQUEST = _SELECT.where(_a.request_id == sa.bindparam("of_request")).order_by(_a.seq)
_IMAGES_NOT_MADE = sa.select(_a.input).where(
    _a.server_id == sa.bindparam("of_server"),
    _a.kind.in_(("createImage", "createBackup", "shelve")),
    _a.state.in_((ActionState.FAILED, ActionState.UNDONE)),
)
_HELD_BY = sa.and_(
    _a.id.in_(sa.bindparam("these", expanding=True)),
    _a.state == ActionState.RUNNING,
    _a.owner == sa.bindparam("of_owner"),
)
_HELD = sa.select(_a.id, _a.epoch).where(_HELD_BY)
_RENEW = actions.update().where(_HELD_BY).values(lease_until=sa.bindparam("until"))
_EXPIRE = (
    actions.update()
    .where(_a.id == sa.bindparam("the_action"), _a.state == ActionState.PENDING)
    .values(lease_until=sa.bindparam("until"))
)
_INSERT = actions.insert()
_INSERT_EVENTS = action_events.insert()
_EVENTS = (
    sa.select(action_events)
    .where(action_events.c.action_id == sa.bindparam("of_action"))
    .order_by(action_events.c.started_at, action_events.c.seq)
)
_CHANGES: dict[tuple[str, ...], sa.Update] = {}


def new_row(
    *,
    action_id: str,
    server_id: str,
    kind: Kind,
    request_id: str,
    user_id: str | None,
    project_id: str | None,
    before: dict[str, Any],
    now: int,
    dispatch: int,
) -> dict[str, Any]:
    """A new action's row, waiting for its first step to be begun within ``dispatch`` microseconds."""
    return {
        "id": action_id,
        "server_id": server_id,
        "kind": kind.name,
        "request_id": request_id,
        "global_request_id": None,
        "traceparent": None,
        "user_id": user_id,
        "project_id": project_id,
        "input": {},
        "work": {},
        "step": kind.steps[0].name,
        "on_host": None,
        "state": str(ActionState.PENDING),
        "epoch": 0,
        "lease_until": now + dispatch,
        "attempts": 0,
        "excluded_hosts": [],
        "before": before,
        "started_at": now,
        "updated_at": now,
    }


def insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """New actions, pending."""
    connection.execute(_INSERT, list(rows))


def find(connection: Connection, action_id: str) -> Action | None:
    """One action, or None."""
    row = connection.execute(_BY_ID, {"action_id": action_id}).first()
    return None if row is None else _action(row)


def _action(row: sa.Row[Any]) -> Action:
    return Action(**dict(zip(_NAMES, row, strict=True)))


def of_server(connection: Connection, server_id: str) -> list[Action]:
    """All actions of a server, the newest first."""
    return [_action(row) for row in connection.execute(_OF_SERVER, {"of_server": server_id})]


def last_epoch(connection: Connection, server_id: str) -> int:
    """The highest epoch that an action of the server has come to; -1 if there was none."""
    highest = connection.execute(_LAST_EPOCH, {"of_server": server_id}).scalar()
    return -1 if highest is None else int(highest)


def images_not_made(connection: Connection, server_id: str) -> list[dict[str, Any]]:
    """What actions on a server that did not succeed may have left: images (``image.protocol.NewImage`` as plain data)."""
    found = connection.execute(_IMAGES_NOT_MADE, {"of_server": server_id})
    return [row.input["image"] for row in found]


def of_request(connection: Connection, request_id: str) -> list[Action]:
    """The actions one request asked for (several, when it made several servers)."""
    return [_action(row) for row in connection.execute(_OF_REQUEST, {"of_request": request_id})]


def late(connection: Connection, now: int, most: int) -> list[Action]:
    """Actions whose lease has run out, the latest first."""
    return [_action(row) for row in connection.execute(_LATE, {"now": now, "most": most})]


def open_on_host(connection: Connection, host: str) -> list[Action]:
    """Unfinished actions whose step is the host's to perform."""
    return [_action(row) for row in connection.execute(_OPEN_ON_HOST, {"of_host": host})]


def change(
    connection: Connection,
    action_id: str,
    values: dict[str, Any],
    *,
    epoch: int,
    states: tuple[ActionState, ...],
    step: str | None = None,
    leased_until: int | None = None,
) -> bool:
    """Set columns while the action is at that epoch, in one of ``states`` (at ``step``, with that lease). False: a successor
    was faster."""
    key = (
        *sorted(values),
        str(len(states)),
        "step" if step is not None else "",
        "" if leased_until is None else "lease",
    )
    statement = _CHANGES.get(key)
    if statement is None:
        statement = actions.update().where(_a.id == sa.bindparam("the_action"), _a.epoch == sa.bindparam("at_epoch"))
        statement = statement.where(_a.state.in_([sa.bindparam(f"state_{n}") for n in range(len(states))]))
        if step is not None:
            statement = statement.where(_a.step == sa.bindparam("at_step"))
        if leased_until is not None:
            statement = statement.where(_a.lease_until == sa.bindparam("at_lease"))
        statement = _CHANGES.setdefault(
            key, statement.values({name: sa.bindparam(f"v_{name}", type_=_a[name].type) for name in values})
        )
    parameters: dict[str, Any] = {f"v_{name}": value for name, value in values.items()}
    parameters |= {"the_action": action_id, "at_epoch": epoch}
    parameters |= {f"state_{n}": str(state) for n, state in enumerate(states)}
    if step is not None:
        parameters["at_step"] = step
    if leased_until is not None:
        parameters["at_lease"] = leased_until
    return connection.execute(statement, parameters).rowcount == 1


def expire(connection: Connection, action_id: str, now: int) -> None:
    """What a pending step was waiting for will not come: it is late again at once."""
    connection.execute(_EXPIRE, {"the_action": action_id, "until": now - 1})


def renew(connection: Connection, host: str, running: Sequence[tuple[str, int]], until: int) -> list[str]:
    """Renew the leases a host holds; returns the actions that are no longer its own."""
    if not running:
        return []
    wanted = dict(running)
    found = connection.execute(_HELD, {"these": list(wanted), "of_owner": host})
    held = {row.id: row.epoch for row in found}
    mine = [action_id for action_id, epoch in wanted.items() if held.get(action_id) == epoch]
    if mine:
        connection.execute(_RENEW, {"these": mine, "of_owner": host, "until": until})
    return [action_id for action_id in wanted if action_id not in mine]


def record(connection: Connection, action_id: str, events: Sequence[TimelineEvent]) -> None:
    """Add to an action's timeline."""
    if events:
        connection.execute(
            _INSERT_EVENTS, [{"action_id": action_id, **msgspec.structs.asdict(event)} for event in events]
        )


def record_all(connection: Connection, events: Mapping[str, Sequence[TimelineEvent]]) -> None:
    """Add to the timelines of several actions."""
    rows = [
        {"action_id": action_id, **msgspec.structs.asdict(event)}
        for action_id, found in events.items()
        for event in found
    ]
    if rows:
        connection.execute(_INSERT_EVENTS, rows)


def timeline(connection: Connection, action_id: str) -> list[TimelineEvent]:
    """What happened in an action, in order."""
    return [
        TimelineEvent(
            name=row.name,
            service=row.service,
            host=row.host,
            started_at=row.started_at,
            finished_at=row.finished_at,
            result=row.result,
            details=row.details,
        )
        for row in connection.execute(_EVENTS, {"of_action": action_id})
    ]
