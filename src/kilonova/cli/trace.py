"""``kilonova trace``: a request's way through the sub-services, drawn in the terminal."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kilonova.cli import timelines
from kilonova.cli.client import Cloud, Refused
from kilonova.cli.servers import find_server
from kilonova.model.errors import NotFound

_REQUEST = re.compile(r"req-[0-9a-f-]{36}")
_SEARCHED = 1000
_AT_ONCE = 8


def find(cloud: Cloud, what: str) -> tuple[list[timelines.Journey], list[dict[str, Any]]]:
    """The journeys to draw, and the server's other actions. Raises ``NotFound``."""
    if _REQUEST.fullmatch(what):
        return _of_request(cloud, what), []
    server = find_server(cloud, what, "server and no request")
    actions: list[dict[str, Any]] = cloud.get("compute", f"/servers/{server['id']}/os-instance-actions")[
        "instanceActions"
    ]
    if not actions:
        raise NotFound(f"server {what} has no recorded requests")
    newest = actions[0]
    return [timelines.read_journey(cloud, server["id"], server["name"], newest["request_id"])], actions[1:]


def _of_request(cloud: Cloud, request_id: str) -> list[timelines.Journey]:
    """The Compute API finds no action by its request alone, so the newest servers are asked, deleted ones too."""
    candidates = cloud.get("compute", "/servers", all_tenants=1, limit=_SEARCHED)["servers"]
    candidates += cloud.get("compute", "/servers", all_tenants=1, deleted="true", limit=_SEARCHED)["servers"]

    def look(server: dict[str, Any]) -> timelines.Journey | None:
        try:
            return timelines.read_journey(cloud, server["id"], server["name"], request_id)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = [journey for journey in pool.map(look, candidates) if journey is not None]
    if not found:
        raise NotFound(f"no request {request_id} among the newest {_SEARCHED} servers; name its server instead")
    return found


def show(cloud: Cloud, what: str) -> None:
    """Draw it."""
    from rich.console import Console

    journeys, others = find(cloud, what)
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 140)
    for journey in journeys:
        console.print(
            f"[bold]{journey.kind}[/] of server {journey.server_name} ({journey.server_id}), {journey.request_id}"
        )
        timelines.draw(journey, console, detailed=True)
        console.print(timelines.summary(journey), markup=False)
    if others:
        console.print("\nEarlier requests of this server (`kilonova trace REQUEST` draws one):")
        for action in others:
            console.print(f"  {action['request_id']}  {action['start_time'][:19]}  {action['action']}", markup=False)
