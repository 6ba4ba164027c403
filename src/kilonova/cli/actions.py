"""``kilonova actions``: what is being done to servers now, what is late, what failed."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.cli.direct import ask, configuration_of
from kilonova.cli.state import State

MOST = 200
"""Rows shown of each sort; a cloud has thousands of failed ones in its history."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
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


def show(
    state: State, file: Path | None, overrides: list[str], *, late: bool, failed: bool, json_output: bool
) -> None:
    """Print them: the open ones and those that failed, or only what is asked for."""
    config = configuration_of(state, file, overrides)
    found = ask(config, lambda connection, now: collect(connection, now, late=late, failed=failed))
    if json_output:
        print(json.dumps([msgspec.to_builtins(line) for line in found], indent=2))
    elif found:
        _draw(found)
    else:
        print("There are none.")


def collect(connection: Connection, now: int, *, late: bool, failed: bool) -> list[Line]:
    """The open ones, the latest first; then the failed ones, the newest first."""
    from kilonova.database.tables import actions, servers
    from kilonova.model.action import ActionState

    a, s = actions.c, servers.c
    columns = (*(column for column in actions.columns if column.name != "id"), a.id, s.host, s.name.label("server"))
    query = sa.select(*columns).outerjoin(servers, s.id == a.server_id).limit(MOST)
    wanted = []
    if late or not failed:
        due = a.lease_until < now if late else a.lease_until.is_not(None)
        wanted.append(query.where(due).order_by(a.lease_until))
    if failed or not late:
        wanted.append(query.where(a.state == ActionState.FAILED).order_by(a.seq.desc()))
    return [_line(row, now) for one in wanted for row in connection.execute(one)]


def _line(row: sa.Row[Any], now: int) -> Line:
    ended = row.finished_at if row.finished_at is not None else now
    return Line(
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


def _draw(found: list[Line]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("server", "action", "step", "state", "owner", "host", "age", "lease", "tries", "message"):
        numeric = column in ("age", "lease", "tries")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for line in found:
        lease = (
            "" if line.lease is None else f"{line.lease:.1f} s" if line.lease >= 0 else f"late {-line.lease:.1f} s"
        )
        table.add_row(
            f"{line.server} {line.server_id}".strip(),
            line.kind,
            line.step,
            line.state,
            line.owner or "",
            line.host or "",
            f"{line.age:.1f} s",
            lease,
            str(line.attempts),
            line.message or "",
        )
    console.print(table)
