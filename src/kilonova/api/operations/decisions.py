"""Decisions of nova-scheduler: those on one server for its owner, and all of them for administrators.

An owner is told rules, counts, and what would have helped in the request's own terms; names of hosts, what they have, and how
they were ranked are for administrators.
"""

from typing import Any
from urllib.parse import urlencode

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import HOSTNAME, query_object
from kilonova.api.paging import page
from kilonova.database import decisions, servers
from kilonova.database.decisions import DecisionListing
from kilonova.model.decision import Ending, KeptDecision
from kilonova.model.errors import Invalid
from kilonova.model.kinds.catalog import KINDS
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, Schema, always

ALL = "kilonova:decisions:all_projects"
HOSTS = "kilonova:decisions:hosts"
RULES = {ALL: "admin", HOSTS: "admin"}
"""What no route carries: seeing the decisions on servers of other projects, and hosts in decisions."""

_OWNERS = ("considered", "dropped_by")
_ADMINISTRATORS = (*_OWNERS, "ranking", "dropped", "nearest")
_HIDDEN = ("requested_host", "excluded_hosts", "forced")  # of what was asked for: administrators did


async def of_server(cloud: Deployment, call: Call) -> Reply:
    """``GET /kilonova/v1/servers/{id}/decisions``: the newest first, of deleted servers too while they are kept."""
    project_id = None if call.allows(ALL) else call.project_id
    asked = _listing(call, cloud, server_id=call.params["server_id"])
    found = await cloud.database.run(_of_server, asked, project_id)
    return _reply(call, found, asked.limit)


def _of_server(connection: Connection, asked: DecisionListing, project_id: str | None) -> list[KeptDecision]:
    server = servers.get(connection, asked.server_id or "", project_id, deleted=True)
    return decisions.listing(connection, msgspec.structs.replace(asked, server_id=server.id))


async def index(cloud: Deployment, call: Call) -> Reply:
    """``GET /kilonova/v1/decisions``: of all servers; ``outcome`` and ``host`` narrow it."""
    asked = _listing(call, cloud, outcome=call.first("outcome"), host=call.first("host"))
    return _reply(call, await cloud.database.run(decisions.listing, asked), asked.limit)


def _listing(call: Call, cloud: Deployment, **wanted: Any) -> DecisionListing:
    limit, marker = page(call, cloud.config.api.max_limit)
    if marker is not None and len(marker) > 18:
        raise Invalid("marker is the id of a decision, and none has so many digits")
    return DecisionListing(limit=limit, marker=None if marker is None else int(marker), **wanted)


def _reply(call: Call, found: list[KeptDecision], limit: int) -> Reply:
    body: dict[str, Any] = {"decisions": [_view(call, one) for one in found]}
    if found and len(found) == limit:
        query = {key: values for key, values in call.query.items() if key != "marker"}
        query["marker"] = [str(found[-1].seq)]
        url = f"{call.base_url}{call.path}?{urlencode(query, doseq=True)}"
        body["decisions_links"] = [{"rel": "next", "href": url}]
    return Reply(200, body)


def _view(call: Call, one: KeptDecision) -> dict[str, Any]:
    kind = KINDS.get(one.kind)
    view: dict[str, Any] = {
        "id": one.seq,
        "server_id": one.server_id,
        "request_id": one.request_id,
        "action": (kind.action or kind.name) if kind else one.kind,
        "outcome": one.outcome,
        "decided_at": iso_micros(one.decided_at),
        "zone": one.zone,
    }
    asked = one.details.get("asked", {})
    if call.allows(HOSTS):
        told = {key: one.details[key] for key in _ADMINISTRATORS if key in one.details}
        return {**view, "host": one.host, "asked": asked, **told}
    view["asked"] = {key: value for key, value in asked.items() if key not in _HIDDEN}
    view |= {key: one.details[key] for key in _OWNERS if key in one.details}
    nearest = [_told_to_owners(near) for near in one.details.get("nearest", []) if near.get("text")]
    return {**view, "nearest": nearest} if nearest else view


def _told_to_owners(near: dict[str, Any]) -> dict[str, Any]:
    return {key: near[key] for key in ("change", "name", "text", "hosts") if key in near}


_PAGE: dict[str, Schema] = {"limit": NON_NEGATIVE, "marker": NON_NEGATIVE}
_ENDINGS: Schema = {"type": "string", "enum": [str(ending) for ending in Ending]}

ROUTES = [
    Route(
        method="GET",
        path="/v1/servers/{server_id}/decisions",
        handler=of_server,
        rule="kilonova:decisions:show",
        role="reader",
        query=always(query_object(_PAGE, strict=True)),
        summary="Why a server is where it is, or nowhere",
    ),
    Route(
        method="GET",
        path="/v1/decisions",
        handler=index,
        rule="kilonova:decisions:index",
        role="admin",
        query=always(query_object({**_PAGE, "outcome": _ENDINGS, "host": HOSTNAME}, strict=True)),
        summary="All decisions of the scheduler",
    ),
]
