"""A server's tags: words its owner finds it by, since 2.26."""

import re
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document, queries
from kilonova.api.compute.server_lookup import SETTLED, require_state
from kilonova.api.compute.server_schemas import TAGS
from kilonova.api.compute.submission import find
from kilonova.database import servers
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.server import Server
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import always

MOST = 50
LONGEST = 60
_SINCE = 26
_TAG = re.compile(r"[^,/]*")


async def index(cloud: Deployment, call: Call) -> Reply:
    """All of them."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    return Reply(200, {"tags": server.tags})


async def check(cloud: Deployment, call: Call) -> Reply:
    """Whether the server has a tag."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    _require(server, call.params["id"])
    return Reply(204)


async def replace(cloud: Deployment, call: Call) -> Reply:
    """These tags and no others."""
    tags = sorted(set(call.body["tags"]))
    await cloud.database.run(_replace, cloud, call, "update tags", tags)
    return Reply(200, {"tags": tags})


async def put(cloud: Deployment, call: Call) -> Reply:
    """Add a tag: 201 and where it is, or 204 if it was there."""
    added = await cloud.database.run(_add, cloud, call)
    if not added:
        return Reply(204)
    where = f"{call.base_url}/v2.1/servers/{call.params['server_id']}/tags/{quote(call.params['id'], safe='')}"
    return Reply(201, headers={"location": where})


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Take a tag away."""
    await cloud.database.run(_remove, cloud, call)
    return Reply(204)


async def delete_all(cloud: Deployment, call: Call) -> Reply:
    """Take all of them away."""
    await cloud.database.run(_replace, cloud, call, "delete tags", [])
    return Reply(204)


def _held(connection: Connection, cloud: Deployment, call: Call, doing: str) -> Server:
    """The server, its row taken first, so that of two changes at once none is lost."""
    servers.update(connection, call.params["server_id"], updated_at=cloud.clock.now())
    server = find(connection, call, call.params["server_id"])
    require_state(server, doing, SETTLED)
    return server


def _replace(connection: Connection, cloud: Deployment, call: Call, doing: str, tags: list[str]) -> None:
    server = _held(connection, cloud, call, doing)
    servers.update(connection, server.id, tags=tags)


def _add(connection: Connection, cloud: Deployment, call: Call) -> bool:
    server, tag = _held(connection, cloud, call, "update tag"), call.params["id"]
    if not _TAG.fullmatch(tag) or len(tag) > LONGEST:
        raise Invalid(f"Tag '{tag[:LONGEST]}' is invalid. It has up to {LONGEST} letters, and neither '/' nor ','.")
    if len(server.tags) >= MOST:
        raise Invalid(f"The number of tags exceeded the per-server limit {MOST}")
    if tag in server.tags:
        return False
    servers.update(connection, server.id, tags=sorted([*server.tags, tag]))
    return True


def _remove(connection: Connection, cloud: Deployment, call: Call) -> None:
    server, tag = _held(connection, cloud, call, "delete tag"), call.params["id"]
    _require(server, tag)
    servers.update(connection, server.id, tags=[known for known in server.tags if known != tag])


def _require(server: Server, tag: str) -> None:
    if tag not in server.tags:
        raise NotFound(f"Server {server.id} has no tag '{tag[:LONGEST]}'")


_RULE = "os_compute_api:os-server-tags"
_PATH = "/servers/{server_id}/tags"
_ONE = f"{_PATH}/{{id}}"
_ALL = always(document(["tags"], {"tags": TAGS}))
_NOTHING = always({"type": "null"})


def _route(method: str, rule: str, role: str, path: str = _PATH, **rest: Any) -> Route:
    return Route(method=method, path=path, rule=f"{_RULE}:{rule}", role=role, since=_SINCE, **rest)


ROUTES = [
    _route("GET", "index", "reader", handler=index, query=queries(102), summary="List a server's tags"),
    _route("PUT", "update_all", "member", handler=replace, body=_ALL, summary="Replace a server's tags"),
    _route("DELETE", "delete_all", "member", handler=delete_all, summary="Delete all of a server's tags"),
    _route("GET", "show", "reader", _ONE, handler=check, query=queries(102), summary="Check for a tag"),
    _route("PUT", "update", "member", _ONE, handler=put, body=_NOTHING, summary="Add a tag"),
    _route("DELETE", "delete", "member", _ONE, handler=delete, summary="Delete a tag"),
]
