"""``kilonova actions``: what is being done to servers now, what is late, what failed."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kilonova.cli.direct import ask, configuration_of
from kilonova.cli.state import State

if TYPE_CHECKING:
    from kilonova.database.operations import ActionLine


def show(
    state: State, file: Path | None, overrides: list[str], *, late: bool, failed: bool, json_output: bool
) -> None:
    """Print them: the open ones and those that failed, or only what is asked for."""
    from kilonova.database.operations import list_actions

    config = configuration_of(state, file, overrides)
    found = ask(config, lambda connection, now: list_actions(connection, now, late=late, failed=failed))
    if json_output:
        print(json.dumps([msgspec.to_builtins(line) for line in found], indent=2))
    elif found:
        _draw(found)
    else:
        print("There are none.")


def _draw(found: "list[ActionLine]") -> None:
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
