"""What an operator asks of a running cloud: what is being done, what is late, what is not as it must be.

``kilonova actions`` and ``kilonova check``, the operations API and the metrics all ask here.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import checks, findings, membership
from kilonova.database.tables import actions, servers
from kilonova.database.tables import findings as findings_table
from kilonova.model.action import ActionState

MOST = 200
"""Actions listed of each sort; a cloud has thousands of failed ones in its history."""
GRACE = 10_000_000
"""Microseconds an action may be late before that is a finding: the sweep looks every second, and a restart takes some."""

_a, _s = actions.c, servers.c


class ActionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One action. Seconds: ``age`` since it was asked for, ``lease`` until another may take it over (negative: late)."""

    id: str
    server_id: str
    server: str
    kind: str
    step: str
    state: str
    owner: str | None
    host: str | None
    age: float
    lease: float | None
    attempts: int
    request_id: str
    message: str | None


def list_actions(connection: Connection, now: int, *, late: bool, failed: bool) -> list[ActionLine]:
    """The open ones, the latest first; then the failed ones, the newest first. Or only what is asked for."""
    columns = (
        *(column for column in actions.columns if column.name != "id"),
        _a.id,
        _s.host,
        _s.name.label("server"),
    )
    query = sa.select(*columns).outerjoin(servers, _s.id == _a.server_id).limit(MOST)
    wanted = []
    if late or not failed:
        due = _a.lease_until < now if late else _a.lease_until.is_not(None)
        wanted.append(query.where(due).order_by(_a.lease_until))
    if failed or not late:
        wanted.append(query.where(_a.state == ActionState.FAILED).order_by(_a.seq.desc()))
    return [_action(row, now) for one in wanted for row in connection.execute(one)]


def _action(row: sa.Row[Any], now: int) -> ActionLine:
    ended = row.finished_at if row.finished_at is not None else now
    return ActionLine(
        id=row.id,
        server_id=row.server_id,
        server=row.server or "",
        kind=row.kind,
        step=row.step,
        state=row.state,
        owner=row.owner,
        host=row.host,
        age=round((ended - row.started_at) / 1_000_000, 1),
        lease=None if row.lease_until is None else round((row.lease_until - now) / 1_000_000, 1),
        attempts=row.attempts,
        request_id=row.request_id,
        message=row.message,
    )


class FindingLine(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. ``host`` and ``since`` are those of what a host reported itself."""

    kind: str
    subject: str
    message: str
    host: str | None = None
    since: str | None = None


def list_findings(connection: Connection, now: int, *, rules: bool = True) -> list[FindingLine]:
    """The database's own breaches first (``rules``: they cost a look at every row), then what hosts have reported."""
    own = checks.check(connection, now, GRACE) if rules else []
    found = [FindingLine(kind=one.kind, subject=one.subject, message=one.message) for one in own]
    return found + [
        FindingLine(
            kind=one.kind,
            subject=one.subject,
            message=one.message,
            host=one.host,
            since=datetime.fromtimestamp(one.first_seen_at / 1_000_000, UTC).isoformat(timespec="seconds"),
        )
        for one in findings.listing(connection)
    ]


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud in numbers that cost little however large it is. ``late`` is normally 0."""

    late: int
    open_actions: dict[tuple[str, str], int]  # by kind and state
    findings: dict[str, int]  # by kind
    services_up: dict[str, int]  # by binary
    services_down: dict[str, int]


def pulse(connection: Connection, now: int, down_after: float) -> Pulse:
    """The numbers of this moment; ``down_after`` in seconds, as in membership."""
    late = sa.select(sa.func.count()).select_from(actions).where(_a.lease_until < now)
    opened = sa.select(_a.kind, _a.state, sa.func.count()).where(_a.lease_until.is_not(None))
    reported = sa.select(findings_table.c.kind, sa.func.count()).group_by(findings_table.c.kind)
    up: dict[str, int] = {}
    down: dict[str, int] = {}
    for service in membership.list_services(connection):
        into = up if service.up(now, down_after) else down
        into[service.binary] = into.get(service.binary, 0) + 1
    return Pulse(
        late=int(connection.execute(late).scalar_one()),
        open_actions={
            (kind, state): int(count) for kind, state, count in connection.execute(opened.group_by(_a.kind, _a.state))
        },
        findings={kind: int(count) for kind, count in connection.execute(reported)},
        services_up=up,
        services_down=down,
    )
