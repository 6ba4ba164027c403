"""``kilonova check``: whether everything is as it must be, as the database and the hosts' last comparisons tell."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy.engine import Connection

from kilonova.cli.direct import ask, configuration_of
from kilonova.cli.state import State

FOUND = 1
"""Exit code when something is not as it must be."""
GRACE_SECONDS = 10.0
"""An action may be late by this much before that is a finding: the sweep looks every second, and a restart takes some."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One finding as it is shown. ``host`` and ``since`` are those of what a host reported itself."""

    kind: str
    subject: str
    message: str
    host: str | None = None
    since: str | None = None


def show(state: State, file: Path | None, overrides: list[str], *, json_output: bool) -> int:
    """Print what is wrong; the exit code."""
    found = ask(configuration_of(state, file, overrides), collect)
    if json_output:
        print(json.dumps({"clean": not found, "findings": [msgspec.to_builtins(line) for line in found]}, indent=2))
    elif found:
        _draw(found)
    else:
        print("All is as it must be.")
    return FOUND if found else 0


def collect(connection: Connection, now: int) -> list[Line]:
    """The database's own breaches first, then what hosts have reported."""
    from kilonova.database import findings
    from kilonova.database.checks import check

    own = [
        Line(kind=one.kind, subject=one.subject, message=one.message)
        for one in check(connection, now, int(GRACE_SECONDS * 1_000_000))
    ]
    return own + [
        Line(
            kind=one.kind,
            subject=one.subject,
            message=one.message,
            host=one.host,
            since=datetime.fromtimestamp(one.first_seen_at / 1_000_000, UTC).isoformat(timespec="seconds"),
        )
        for one in findings.listing(connection)
    ]


def _draw(found: list[Line]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("finding", "of", "what is so"):
        table.add_column(column, overflow="fold")
    for line in found:
        where = f"on {line.host} since {line.since}: " if line.host else ""
        table.add_row(line.kind, line.subject, where + line.message)
    console.print(table)
    console.print(f"\n{len(found)} finding{'s' if len(found) != 1 else ''}", markup=False)
