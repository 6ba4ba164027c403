"""Usage reports: how long each project had which servers, in hours times cores, MiB and GiB."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import query_object
from kilonova.api.compute.rules import OTHER_USAGE
from kilonova.api.paging import links, page
from kilonova.database.usage import Lifetime, lifetimes
from kilonova.model.errors import Forbidden, Invalid
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros, parse_moment
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned

_PAGES_SINCE = 40
_HOUR = 3_600_000_000
_USUAL = 4 * 7 * 24 * _HOUR  # four weeks back, when no start is given


async def index(cloud: Deployment, call: Call) -> Reply:
    """Of every project; with ``detailed=1`` also server by server."""
    start, stop = _stretch(call)
    found, more = await _page(cloud, call, "tenant_usages", start, stop, None)
    projects: dict[str, list[Lifetime]] = {}
    for life in found:
        projects.setdefault(life.project_id, []).append(life)
    detailed = call.first("detailed") == "1"
    reports = [_report(name, lives, start, stop, call, detailed) for name, lives in projects.items()]
    return Reply(200, {"tenant_usages": reports, **more})


async def show(cloud: Deployment, call: Call) -> Reply:
    """Of one project, server by server; empty if it had none."""
    project_id = call.params["id"]
    if project_id != call.caller.project_id and not call.allows(OTHER_USAGE):
        raise Forbidden("Policy doesn't allow os_compute_api:os-simple-tenant-usage:show to be performed.")
    start, stop = _stretch(call)
    found, more = await _page(cloud, call, "tenant_usage", start, stop, project_id)
    report = _report(project_id, found, start, stop, call, True) if found else {}
    return Reply(200, {"tenant_usage": report, **more})


def _stretch(call: Call) -> tuple[int, int]:
    begin, end = call.first("start"), call.first("end")
    stop = parse_moment(end, "end") if end else call.started_at
    start = parse_moment(begin, "start") if begin else max(0, stop - _USUAL)
    if start >= stop:
        raise Invalid("Invalid start time. The start time cannot occur after the end time.")
    return start, stop


async def _page(
    cloud: Deployment, call: Call, name: str, start: int, stop: int, project_id: str | None
) -> tuple[list[Lifetime], dict[str, Any]]:
    limit, marker = page(call, cloud.config.api.max_limit) if call.version >= _PAGES_SINCE else (None, None)
    found = await cloud.database.run(_lifetimes, start, stop, project_id, limit, marker)
    if limit is None:
        return found, {}
    return found, links(call, name, found, limit, found[-1].id if found else None)


def _lifetimes(
    connection: Connection, start: int, stop: int, project_id: str | None, limit: int | None, marker: str | None
) -> list[Lifetime]:
    return lifetimes(connection, start=start, stop=stop, project_id=project_id, limit=limit, marker=marker)


def _report(
    project_id: str, lives: list[Lifetime], start: int, stop: int, call: Call, detailed: bool
) -> dict[str, Any]:
    entries = [_entry(life, start, min(stop, call.started_at), call.started_at) for life in lives]
    report: dict[str, Any] = {
        "tenant_id": project_id,
        "start": iso_micros(start),
        "stop": iso_micros(stop),
        "total_hours": sum(entry["hours"] for entry in entries),
    }
    for amount in ("vcpus", "memory_mb", "local_gb"):
        report[f"total_{amount}_usage"] = sum(entry[amount] * entry["hours"] for entry in entries)
    if detailed:
        report["server_usages"] = entries
    return report


def _entry(life: Lifetime, start: int, stop: int, now: int) -> dict[str, Any]:
    """``hours`` within the stretch; ``uptime`` in seconds since the launch, wherever that was."""
    flavor = life.flavor
    ended = now if life.ended_at is None else life.ended_at
    return {
        "instance_id": life.id,
        "name": life.name,
        "tenant_id": life.project_id,
        "flavor": str(flavor.get("name", "")),
        "vcpus": int(flavor.get("vcpus", 0)),
        "memory_mb": int(flavor.get("memory_mb", 0)),
        "local_gb": int(flavor.get("disk_gb", 0)) + int(flavor.get("ephemeral_gb", 0)),
        "hours": max(0, min(stop, ended) - max(start, life.launched_at)) / _HOUR,
        "uptime": max(0, ended - life.launched_at) // 1_000_000,
        "started_at": iso_micros(life.launched_at),
        "ended_at": iso_micros(life.ended_at),
        "state": life.vm_state if life.ended_at is None else "terminated",
    }


_TIMES: dict[str, Schema] = {"start": TEXT, "end": TEXT}
_PAGES: dict[str, Schema] = {"limit": NON_NEGATIVE, "marker": TEXT}


def _queries(properties: dict[str, Schema]) -> tuple[Versioned, ...]:
    return (
        Versioned(query_object(properties), 0, 39),
        Versioned(query_object(properties | _PAGES), 40, 74),
        Versioned(query_object(properties | _PAGES, strict=True), 75),
    )


_RULE = "os_compute_api:os-simple-tenant-usage"

ROUTES = [
    Route(
        method="GET",
        path="/os-simple-tenant-usage",
        handler=index,
        rule=f"{_RULE}:list",
        role="admin",
        query=_queries(_TIMES | {"detailed": TEXT}),
        summary="Report the use of all projects",
    ),
    Route(
        method="GET",
        path="/os-simple-tenant-usage/{id}",
        handler=show,
        rule=f"{_RULE}:show",
        role="reader",
        query=_queries(_TIMES),
        summary="Report the use of one project",
    ),
]
