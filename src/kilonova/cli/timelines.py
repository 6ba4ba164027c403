"""Reads actions and their timelines through the Compute API, and draws a request's way in the terminal."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from kilonova.cli.client import Cloud
from kilonova.messaging.contract import TimelineEvent
from kilonova.telemetry import way

if TYPE_CHECKING:
    from rich.console import Console

_BAR = 24
_NAME_WIDTH = 15


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """One action on one server and its way. ``message`` is the error, if it ended with one."""

    server_id: str
    server_name: str
    kind: str
    request_id: str
    message: str | None
    events: list[TimelineEvent]


def read_journey(cloud: Cloud, server_id: str, server_name: str, request_id: str) -> Journey:
    """What one request did to one server."""
    path = f"/servers/{server_id}/os-instance-actions/{request_id}"
    action = cloud.get("compute", path)["instanceAction"]
    return Journey(
        server_id=server_id,
        server_name=server_name,
        kind=action["action"],
        request_id=action["request_id"],
        message=action["message"],
        events=[_event(event) for event in action["events"]],
    )


def _event(event: dict[str, Any]) -> TimelineEvent:
    details = event.get("details")
    started_at = _micros(event["start_time"])
    return TimelineEvent(
        name=event["event"],
        service=way.service_of(event["event"]),
        host=event.get("host") or "",
        started_at=started_at,
        finished_at=_micros(event["finish_time"]) if event["finish_time"] else started_at,
        result=event["result"] or "unfinished",
        details=msgspec.json.decode(details, type=dict[str, Any]) if details else {},
    )


def _micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def as_json(journey: Journey) -> dict[str, Any]:
    """For programs: the legs with their stretches, times in milliseconds from the request's arrival."""
    legs = way.legs(journey.events)
    origin = min((leg.started_at for leg in legs), default=0)
    return {
        "server_id": journey.server_id,
        "server_name": journey.server_name,
        "action": journey.kind,
        "request_id": journey.request_id,
        "error": journey.message,
        "milliseconds": way.total_milliseconds(legs),
        "steps": [
            {
                "number": leg.number,
                "service": leg.service,
                "host": leg.host,
                "doing": leg.doing,
                "at": (leg.started_at - origin) / 1000,
                "milliseconds": leg.milliseconds,
                "result": leg.result,
                "stretches": [
                    {
                        "name": stretch.name,
                        "at": (stretch.started_at - origin) / 1000,
                        "milliseconds": (stretch.finished_at - stretch.started_at) / 1000,
                        "result": stretch.result,
                        "details": stretch.details,
                    }
                    for stretch in leg.stretches
                ],
            }
            for leg in legs
        ],
    }


def draw(journey: Journey, console: "Console", *, detailed: bool) -> None:
    """The numbered steps, each with a bar where in the whole it lies; with ``detailed`` the stretches below each."""
    from rich.table import Table
    from rich.text import Text

    legs = way.legs(journey.events)
    if not legs:
        console.print("  nothing is recorded of it yet")
        return
    origin = min(leg.started_at for leg in legs)
    whole = max(max(leg.finished_at for leg in legs) - origin, 1)
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("service", min_width=_NAME_WIDTH, no_wrap=True)
    table.add_column("host", no_wrap=True, overflow="ellipsis")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("", width=_BAR, no_wrap=True)
    table.add_column("what it did", overflow="fold", ratio=1)
    for leg in legs:
        failed = leg.result != "Success"
        table.add_row(
            str(leg.number),
            Text(leg.service, style="bold red" if failed else "bold"),
            leg.host,
            f"{leg.milliseconds:.1f}",
            _bar(leg.started_at - origin, leg.finished_at - origin, whole, "red" if failed else "green"),
            leg.doing + (f" ({leg.result})" if failed else ""),
        )
        if detailed:
            _add_stretches(table, leg, origin, whole)
    console.print(table)


def _add_stretches(table: Any, leg: way.Leg, origin: int, whole: int) -> None:
    from rich.text import Text

    if len(leg.stretches) < 2:
        return
    for stretch in leg.stretches:
        failed = stretch.result != "Success"
        table.add_row(
            "",
            Text(f"  {stretch.name}", style="dim"),
            "",
            Text(f"{(stretch.finished_at - stretch.started_at) / 1000:.1f}", style="dim"),
            _bar(stretch.started_at - origin, stretch.finished_at - origin, whole, "red" if failed else "dim"),
            Text("  " + way.describe(stretch) + (f" ({stretch.result})" if failed else ""), style="dim"),
        )


def _bar(begin: int, end: int, whole: int, style: str) -> Any:
    from rich.text import Text

    first = min(int(begin * _BAR / whole), _BAR - 1)
    length = max(round((end - begin) * _BAR / whole), 1)
    return Text.assemble(("·" * first, "dim"), ("█" * min(length, _BAR - first), style))


def summary(journey: Journey) -> str:
    """How it ended, in one line."""
    total = way.total_milliseconds(way.legs(journey.events))
    if journey.message:
        return f"{journey.kind} of {journey.server_name} failed after {total:.0f} ms: {journey.message}"
    return f"{journey.kind} of {journey.server_name}: {total:.0f} ms from the request to the last word on it"
