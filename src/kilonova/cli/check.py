"""``kilonova check``: whether everything is as it must be, as the database and the hosts' last comparisons tell."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kilonova.cli.direct import ask, configuration_of
from kilonova.cli.state import State

if TYPE_CHECKING:
    from kilonova.database.operations import FindingLine

FOUND = 1
"""Exit code when something is not as it must be."""


def show(state: State, file: Path | None, overrides: list[str], *, json_output: bool) -> int:
    """Print what is wrong; the exit code."""
    from kilonova.database.operations import list_findings

    found = ask(configuration_of(state, file, overrides), list_findings)
    if json_output:
        print(json.dumps({"clean": not found, "findings": [msgspec.to_builtins(line) for line in found]}, indent=2))
    elif found:
        _draw(found)
    else:
        print("All is as it must be.")
    return FOUND if found else 0


def _draw(found: "list[FindingLine]") -> None:
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
