"""``kilonova api-report``: every operation of the Compute API we offer, out of the route table itself.

What is not in the table is not offered. ``docs/conformance.md`` tells which of Nova's operations that leaves out.
"""

import json
from typing import Any

from kilonova.api.microversion import MAXIMUM
from kilonova.api.table import compute_routes
from kilonova.web.policy import NOBODY_NEEDED
from kilonova.web.routes import Route


def rows() -> list[dict[str, Any]]:
    """One for each row of the table, in the order of paths."""
    found = [_row(route) for route in compute_routes().routes]
    return sorted(found, key=lambda row: (row["path"], row["method"], row["action"] or "", row["since"]))


def _row(route: Route) -> dict[str, Any]:
    return {
        "method": route.method,
        "path": route.path,
        "action": route.action,
        "since": f"2.{route.since}",
        "until": f"2.{MAXIMUM if route.until is None else route.until}",
        "rule": route.rule,
        "role": route.role,
        "versioned": route.role != NOBODY_NEEDED,
        "summary": route.summary,
    }


def show(*, json_output: bool) -> None:
    """Print them."""
    found = rows()
    if json_output:
        print(json.dumps(found, indent=2))
        return
    path = max(len(_operation(row)) for row in found)
    span = max(len(_span(row)) for row in found)
    role = max(len(row["role"]) for row in found)
    for row in found:
        line = f"{row['method']:6} {_operation(row):{path}}  {_span(row):{span}}  {row['role']:{role}}  {row['rule']}"
        print(line)
    print(f"{len(found)} operations; the role is the least that the default policy lets in.")


def _operation(row: dict[str, Any]) -> str:
    return f"{row['path']} {row['action']}" if row["action"] else str(row["path"])


def _span(row: dict[str, Any]) -> str:
    return f"{row['since']}-{row['until']}"
