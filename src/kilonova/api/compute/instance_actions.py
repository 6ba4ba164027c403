"""What was done to a server: its actions, and the timeline of each through the sub-services."""

import hashlib
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries, query_object
from kilonova.api.compute.rules import ACTION_DETAILS, ACTION_EVENTS, ALL_ACTIONS
from kilonova.api.paging import links, page
from kilonova.database import actions, servers
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import Action
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.kinds.catalog import KINDS
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros, parse_moment
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned

_DELETED_SINCE = 21
_EVENTS_SINCE = 51
_PAGES_SINCE = 58
_BEFORE_SINCE = 66


async def index(cloud: Deployment, call: Call) -> Reply:
    """All actions of a server, the newest first; in pages and between moments from 2.58."""
    found, _ = await cloud.database.run(_of_server, *_whose(call))
    more: dict[str, Any] = {}
    if call.version >= _PAGES_SINCE:
        limit, marker = page(call, cloud.config.api.max_limit)
        found = _behind(_between(call, found), marker)[:limit]
        next_page = links(call, "actions", found, limit, found[-1].request_id if found else None)
        more = {"links": next_page["actions_links"]} if next_page else {}  # Nova's one list that says just "links"
    return Reply(200, {"instanceActions": [_view(call, action) for action in found], **more})


def _whose(call: Call) -> tuple[str, str | None, bool]:
    """The server's id, the project it must belong to (None: any), and whether a deleted one counts."""
    project_id = None if call.allows(ALL_ACTIONS) else call.project_id
    return call.params["server_id"], project_id, call.version >= _DELETED_SINCE


def _of_server(
    connection: Connection, server_id: str, project_id: str | None, deleted: bool
) -> tuple[list[Action], str]:
    server = servers.get(connection, server_id, project_id, deleted=deleted)
    return actions.of_server(connection, server_id), server.project_id


def _between(call: Call, found: list[Action]) -> list[Action]:
    since, before = call.first("changes-since"), call.first("changes-before")
    first = parse_moment(since, "changes-since") if since is not None else None
    last = parse_moment(before, "changes-before") if before is not None and call.version >= _BEFORE_SINCE else None
    if first is not None and last is not None and last < first:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return [
        action
        for action in found
        if (first is None or action.updated_at >= first) and (last is None or action.updated_at <= last)
    ]


def _behind(found: list[Action], marker: str | None) -> list[Action]:
    if marker is None:
        return found
    for position, action in enumerate(found):
        if action.request_id == marker:
            return found[position + 1 :]
    raise Invalid(f"marker [{marker}] not found")


async def show(cloud: Deployment, call: Call) -> Reply:
    """What one request did to the server, with its events: for administrators, from 2.51 for all who see the server."""
    action, events, project_id = await cloud.database.run(_timeline, *_whose(call), call.params["id"])
    view = _view(call, action)
    if call.version >= _EVENTS_SINCE or call.allows(ACTION_EVENTS):
        view["events"] = [_event(call, event, project_id) for event in events]
    return Reply(200, {"instanceAction": view})


def _timeline(
    connection: Connection, server_id: str, project_id: str | None, deleted: bool, request_id: str
) -> tuple[Action, list[TimelineEvent], str]:
    found, owner = _of_server(connection, server_id, project_id, deleted)
    for action in found:
        if action.request_id == request_id:
            return action, actions.timeline(connection, action.id), owner
    raise NotFound(f"Action for request_id {request_id[:255]} on instance {server_id} not found")


def _view(call: Call, action: Action) -> dict[str, Any]:
    view: dict[str, Any] = {
        "action": shown(action.kind),
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": iso_micros(action.started_at),
        "message": action.message,
    }
    if call.version >= _PAGES_SINCE:
        view["updated_at"] = iso_micros(action.updated_at)
    return view


def shown(kind: str) -> str:
    """Nova's name of an action; what needs no engine (``lock``) is recorded under it and has no kind."""
    known = KINDS.get(kind)
    return (known.action or kind) if known else kind


def _event(call: Call, event: TimelineEvent, project_id: str) -> dict[str, Any]:
    """One event. Hosts and traces are the operator's business, so users get a hash and nothing."""
    trusted = call.allows(ACTION_EVENTS)
    view: dict[str, Any] = {
        "event": event.name,
        "start_time": iso_micros(event.started_at),
        "finish_time": iso_micros(event.finished_at),
        "result": event.result,
    }
    if trusted:
        view["traceback"] = event.details.get("traceback")
    if call.version >= 62:
        view["hostId"] = host_id(project_id, event.host)
        if trusted:
            view["host"] = event.host
    if call.version >= 84 and call.allows(ACTION_DETAILS):
        view["details"] = msgspec.json.encode(event.details).decode() if event.details else None
    return view


@lru_cache(maxsize=8192)
def host_id(project_id: str, host: str | None) -> str:
    """A host's name as its tenants may know it: the same for a project's servers on one host, meaningless else."""
    return hashlib.sha224((project_id + host).encode()).hexdigest() if host else ""


_MOMENT: Schema = {"type": "string", "minLength": 1, "maxLength": 64}
_PAGE: dict[str, Schema] = {"limit": NON_NEGATIVE, "marker": TEXT, "changes-since": _MOMENT}
_LIST = (
    Versioned(query_object(_PAGE, strict=True), 58, 65),
    Versioned(query_object(_PAGE | {"changes-before": _MOMENT}, strict=True), 66),
)
_RULE = "os_compute_api:os-instance-actions"
_PATH = "/servers/{server_id}/os-instance-actions"

ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=index,
        rule=f"{_RULE}:list",
        role="reader",
        query=_LIST,
        summary="List what was done to a server",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        handler=show,
        rule=f"{_RULE}:show",
        role="reader",
        query=queries(102),
        summary="Show one action with its timeline",
    ),
]
