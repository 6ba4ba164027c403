"""``kilonova explain``: why a server is where it is, or nowhere, as the scheduler's kept decisions tell it."""

import json
import sys
from typing import TYPE_CHECKING, Any

from kilonova.cli.client import Cloud, Refused
from kilonova.cli.servers import find_server
from kilonova.model.errors import NotFound

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PAGE = 100
_MOST = 1000  # decisions that are shown of one server
_WIDTH = 130  # of what is not a terminal
_UNITS = {"vcpus": "cores", "memory_mb": "MiB memory", "disk_gb": "GiB disk"}


def show(cloud: Cloud, what: str, *, every: bool, json_output: bool) -> None:
    """Print the decisions of the newest action that needed a host, or ``every`` one. Raises ``NotFound``."""
    server, found = find(cloud, what, every=every)
    if json_output:
        print(json.dumps({"server": server, "decisions": found}, indent=2))
        return
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    for number, decision in enumerate(reversed(found)):
        if number:
            console.print()
        draw(console, server["name"], decision)


def find(cloud: Cloud, what: str, *, every: bool) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The server and its decisions, the newest first. Raises ``NotFound`` if there is no such server, or none is kept."""
    server = _server(cloud, what)
    found = _decisions(cloud, server["id"], _MOST if every else _PAGE)
    if not found:
        raise NotFound(
            f"no decision on server {what} is kept: it is not decided yet, or too long ago (scheduler.keep_decisions_days)"
        )
    if not every:
        found = [one for one in found if one["request_id"] == found[0]["request_id"]]
    return server, found


def _server(cloud: Cloud, what: str) -> dict[str, str]:
    try:
        server = find_server(cloud, what)
    except NotFound:
        try:
            [deleted] = _decisions(cloud, what, 1)  # a server that is deleted is known by its id alone
        except (Refused, ValueError):
            pass
        else:
            return {"id": deleted["server_id"], "name": what}
        raise
    return {"id": server["id"], "name": server["name"]}


def _decisions(cloud: Cloud, server_id: str, most: int) -> list[dict[str, Any]]:
    path = f"/servers/{server_id}/decisions"
    found: list[dict[str, Any]] = []
    while len(found) < most:
        marker = {"marker": found[-1]["id"]} if found else {}
        page = cloud.get("kilonova", path, limit=min(_PAGE, most), **marker)["decisions"]
        found += page
        if len(page) < _PAGE:
            break
    return found


# --- in the terminal -------------------------------------------------------------------------------------------


def draw(console: "Console", name: str, decision: dict[str, Any]) -> None:
    """One decision: what was asked for, what was dropped, how the rest ranked, how it ended."""
    title = f"{name}: {decision['action']}, {decision['decided_at'][:19]}, {_ending(decision)}"
    console.print(title, style="bold", markup=False)
    _line(console, "asked for", _asked(decision["asked"]))
    _line(console, "considered", considered(decision))
    draw_reasons(console, decision)
    if decision["outcome"] != "failed":
        where = f"{decision['host']} in zone" if decision.get("host") else "a host in zone"
        lost = ", which had changed meanwhile" if decision["outcome"] == "lost" else ""
        _line(console, "chosen", f"{where} {decision['zone']}{lost}")


def draw_reasons(console: "Console", decision: dict[str, Any]) -> None:
    """The tables of a decision, as far as they are told: hosts that were dropped, the ranking, the nearest fit."""
    if decision.get("dropped"):
        draw_table(
            console,
            "dropped",
            ["host", "rule", "needed", "there was"],
            [[one["host"], one["rule"], one["need"], one["have"]] for one in decision["dropped"]],
        )
    if decision.get("ranking"):
        weighers = sorted({name for one in decision["ranking"] for name in one["parts"]})
        draw_table(
            console,
            "ranking",
            ["host", "weight", *weighers],
            [
                [one["host"], f"{one['weight']:.3f}", *(f"{one['parts'].get(name, 0):.3f}" for name in weighers)]
                for one in decision["ranking"]
            ],
            numbers_from=1,
        )
    for at, near in enumerate(decision.get("nearest", [])):
        _line(console, "" if at else "nearest fit", nearest(near))


def _ending(decision: dict[str, Any]) -> str:
    return {"placed": "placed", "lost": "its claim was lost", "failed": "no host could take it"}[decision["outcome"]]


def considered(decision: dict[str, Any]) -> str:
    """How many hosts there were, and how many each rule was the first to drop."""
    hosts, dropped = decision["considered"], decision["dropped_by"]
    whole = f"{hosts} host" if hosts == 1 else f"{hosts} hosts"
    rules = ", ".join(f"{rule} dropped {count}" for rule, count in dropped.items())
    return f"{whole}; {rules}" if rules else f"{whole}, none of them dropped"


def nearest(near: dict[str, Any]) -> str:
    """One change with which it would have fitted."""
    if "host" not in near:
        return str(near["text"])
    others = f" and {near['hosts'] - 1} more" if near["hosts"] > 1 else ""
    if near["change"] != "host":
        return f"{near['text']} ({near['host']}{others})"
    wants = zip(near["rules"], near["need"], near["have"], strict=True)
    return f"{near['host']}{others}: " + "; ".join(
        f"{rule} needs {need}, there is {have}" for rule, need, have in wants
    )


def _asked(asked: dict[str, Any]) -> str:
    sizes = [f"{asked[key]} {unit}" for key, unit in _UNITS.items() if key in asked]
    sizes = [size.replace("1 cores", "1 core") if size.startswith("1 ") else size for size in sizes]
    sizes += [f"{amount} {name}" for name, amount in asked.get("resources", {}).items()]
    parts = [f"{asked['flavor']} ({', '.join(sizes)})" if "flavor" in asked else ", ".join(sizes)]
    if zone := asked.get("availability_zone"):
        parts.append(f"zone {zone}")
    if host := asked.get("requested_host"):
        parts.append(f"host {host}" + (" by force" if asked.get("forced") else ""))
    if excluded := asked.get("excluded_hosts"):
        parts.append(f"not {', '.join(excluded)}")
    for key in ("hints", "image_properties", "extra_specs"):
        parts += [f"{name}={_plain(value)}" for name, value in asked.get(key, {}).items()]
    return "; ".join(parts)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _line(console: "Console", label: str, said: str) -> None:
    from rich.text import Text

    table = _grid()
    table.add_row(Text(label, style="dim"), Text(said))
    console.print(table)


def draw_table(
    console: "Console", label: str, columns: list[str], rows: list[list[str]], *, numbers_from: int | None = None
) -> None:
    """A labelled table; columns from ``numbers_from`` on hold numbers."""
    from rich.table import Table
    from rich.text import Text

    inner = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for at, column in enumerate(columns):
        right = numbers_from is not None and at >= numbers_from
        inner.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        inner.add_row(*(Text(cell) for cell in row))
    table = _grid()
    table.add_row(Text(label, style="dim"), inner)
    console.print(table)


def _grid() -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=13, no_wrap=True)
    table.add_column(overflow="fold")
    return table
