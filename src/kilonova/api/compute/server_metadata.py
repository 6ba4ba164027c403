"""A server's metadata: what its owner writes beside it, key by key or all at once."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document, queries
from kilonova.api.compute.server_lookup import SETTLED, find_unlocked
from kilonova.api.compute.server_schemas import METADATA
from kilonova.api.compute.submission import find
from kilonova.database import ledger, servers
from kilonova.model.errors import Invalid, NotFound, QuotaExceeded
from kilonova.model.server import Server
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import always

Items = dict[str, str]


async def index(cloud: Deployment, call: Call) -> Reply:
    """All of it."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    return Reply(200, {"metadata": server.metadata})


async def show(cloud: Deployment, call: Call) -> Reply:
    """One item."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    key = call.params["id"]
    return Reply(200, {"meta": {key: _item(server, key)}})


async def merge(cloud: Deployment, call: Call) -> Reply:
    """Add and overwrite items; the others stay."""
    found = await cloud.database.run(_change, cloud, call, lambda old: old | call.body["metadata"])
    return Reply(200, {"metadata": found})


async def replace(cloud: Deployment, call: Call) -> Reply:
    """These items and no others."""
    found = await cloud.database.run(_change, cloud, call, lambda old: dict(call.body["metadata"]))
    return Reply(200, {"metadata": found})


async def put(cloud: Deployment, call: Call) -> Reply:
    """Set one item, which body and path must name alike."""
    item: Items = call.body["meta"]

    def change(old: Items) -> Items:
        if call.params["id"] not in item:
            raise Invalid("Request body and URI mismatch")
        return old | item

    await cloud.database.run(_change, cloud, call, change)
    return Reply(200, {"meta": item})


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Take one item away."""
    await cloud.database.run(_delete, cloud, call)
    return Reply(204)


def _item(server: Server, key: str) -> str:
    if key not in server.metadata:
        raise NotFound("Metadata item was not found")
    return server.metadata[key]


def _delete(connection: Connection, cloud: Deployment, call: Call) -> None:
    key = call.params["id"]
    _item(find(connection, call, call.params["server_id"]), key)
    _change(connection, cloud, call, lambda old: {name: value for name, value in old.items() if name != key})


def _change(connection: Connection, cloud: Deployment, call: Call, change: Callable[[Items], Items]) -> Items:
    """Two at once wait for each other at the server's row, so that neither loses the other's items."""
    server_id, now = call.params["server_id"], cloud.clock.now()
    servers.update(connection, server_id, updated_at=now)
    server = find_unlocked(connection, call, server_id, "update metadata", SETTLED)
    found = change(server.metadata)
    check_quota(connection, cloud, server.project_id, found)
    servers.update(connection, server_id, metadata=found)
    return found


def check_quota(connection: Connection, cloud: Deployment, project_id: str, items: Items) -> None:
    """Raise ``QuotaExceeded`` if one server of the project may not have so many items."""
    if not items:
        return
    limit = ledger.limits(connection, project_id, cloud.config.quota.model_dump())["metadata_items"]
    if 0 <= limit < len(items):
        raise QuotaExceeded(f"Maximum number of metadata items exceeds {limit}")


_ALL = always(document(["metadata"], {"metadata": METADATA}))
_ONE = always(document(["meta"], {"meta": METADATA | {"minProperties": 1, "maxProperties": 1}}))
_RULE = "os_compute_api:server-metadata"
_PATH = "/servers/{server_id}/metadata"


def _route(method: str, rule: str, role: str, path: str = _PATH, **rest: Any) -> Route:
    return Route(method=method, path=path, rule=f"{_RULE}:{rule}", role=role, **rest)


_ITEM = f"{_PATH}/{{id}}"
ROUTES = [
    _route("GET", "index", "reader", handler=index, query=queries(102), summary="List a server's metadata"),
    _route("POST", "create", "member", handler=merge, body=_ALL, summary="Merge items into a server's metadata"),
    _route("PUT", "update_all", "member", handler=replace, body=_ALL, summary="Replace a server's metadata"),
    _route("GET", "show", "reader", _ITEM, handler=show, query=queries(102), summary="Show an item of metadata"),
    _route("PUT", "update", "member", _ITEM, handler=put, body=_ONE, summary="Set an item of metadata"),
    _route("DELETE", "delete", "member", _ITEM, handler=delete, summary="Delete an item of metadata"),
]
