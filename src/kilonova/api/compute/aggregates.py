"""Host aggregates: an operator's groups of hosts; those with a zone in their metadata are availability zones."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import HOSTNAME, PRINTABLE_NAME, as_number, document, queries
from kilonova.database import aggregates
from kilonova.model.aggregate import ZONE_KEY, Aggregate
from kilonova.model.errors import Invalid, NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schema, Schemas, always

_UUIDS_SINCE = 41


async def index(cloud: Deployment, call: Call) -> Reply:
    """All of them."""
    found = await cloud.database.run(aggregates.listing)
    return Reply(200, {"aggregates": [_view(call, aggregate) for aggregate in found]})


async def show(cloud: Deployment, call: Call) -> Reply:
    """One with its hosts and metadata."""
    return await _answer(cloud, call, aggregates.get)


async def create(cloud: Deployment, call: Call) -> Reply:
    """A new one without hosts; the answer leaves out what it cannot have yet."""
    body: dict[str, Any] = call.body["aggregate"]
    made = await cloud.database.run(
        aggregates.insert,
        uuid=cloud.ids.uuid(),
        name=body["name"],
        zone=body.get(ZONE_KEY),
        now=cloud.clock.now(),
    )
    view = _view(call, made)
    del view["hosts"], view["metadata"]
    return Reply(200, {"aggregate": view})


async def update(cloud: Deployment, call: Call) -> Reply:
    """Another name, another zone."""
    body: dict[str, Any] = call.body["aggregate"]
    now = cloud.clock.now()

    def change(connection: Connection, number: int) -> Aggregate:
        aggregates.get(connection, number)
        if "name" in body:
            aggregates.rename(connection, number, body["name"].strip(), now)
        if ZONE_KEY in body:
            aggregates.change_metadata(connection, number, {ZONE_KEY: body[ZONE_KEY]}, now)
        return aggregates.get(connection, number)

    return await _answer(cloud, call, change)


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Forget an empty one."""
    await cloud.database.run(aggregates.delete, number_of(call))
    return Reply(200)


async def add_host(cloud: Deployment, call: Call) -> Reply:
    """Put a host in."""
    host, now = call.body["add_host"]["host"], cloud.clock.now()

    def change(connection: Connection, number: int) -> Aggregate:
        aggregates.add_host(connection, number, host, now)
        return aggregates.get(connection, number)

    return await _answer(cloud, call, change)


async def remove_host(cloud: Deployment, call: Call) -> Reply:
    """Take a host out."""
    host, now = call.body["remove_host"]["host"], cloud.clock.now()

    def change(connection: Connection, number: int) -> Aggregate:
        aggregates.remove_host(connection, number, host, now)
        return aggregates.get(connection, number)

    return await _answer(cloud, call, change)


async def set_metadata(cloud: Deployment, call: Call) -> Reply:
    """Merge keys; those with null are taken away."""
    metadata, now = call.body["set_metadata"]["metadata"], cloud.clock.now()

    def change(connection: Connection, number: int) -> Aggregate:
        aggregates.change_metadata(connection, number, metadata, now)
        return aggregates.get(connection, number)

    return await _answer(cloud, call, change)


async def _answer(cloud: Deployment, call: Call, work: Callable[[Connection, int], Aggregate]) -> Reply:
    found = await cloud.database.run(work, number_of(call))
    return Reply(200, {"aggregate": _view(call, found)})


def number_of(call: Call) -> int:
    """The aggregate's number in the path. Raises ``Invalid`` for what is none, ``NotFound`` for one that no row can have."""
    text = call.params["id"]
    number = as_number(text)
    if number is not None:
        return number
    if as_number(text.removeprefix("-")) is not None or (text.isascii() and text.isdigit()):
        raise NotFound(f"Aggregate {text[:64]} could not be found.")
    raise Invalid(f"Invalid input received: id must be an integer, not '{text[:64]}'")


def _view(call: Call, aggregate: Aggregate) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": aggregate.id,
        "name": aggregate.name,
        "availability_zone": aggregate.availability_zone,
        "hosts": aggregate.hosts,
        "metadata": aggregate.metadata,
        "created_at": iso_micros(aggregate.created_at),
        "updated_at": iso_micros(aggregate.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
    if call.version >= _UUIDS_SINCE:
        view["uuid"] = aggregate.uuid
    return view


_ZONE: Schema = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\s:\x00-\x1f\x7f]([^:\x00-\x1f\x7f]*[^\s:\x00-\x1f\x7f])?$",  # a colon divides zone and host
}
_LOOSE_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$",
}
_CREATE = document(["aggregate"], {"aggregate": document(["name"], {"name": PRINTABLE_NAME, ZONE_KEY: _ZONE})})
_UPDATE = document(
    ["aggregate"], {"aggregate": {**document([], {"name": _LOOSE_NAME, ZONE_KEY: _ZONE}), "minProperties": 1}}
)
_METADATA: Schema = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "null"], "maxLength": 255}},
    "additionalProperties": False,
}
_RULE = "os_compute_api:os-aggregates"
_PATH = "/os-aggregates"
_ONE = f"{_PATH}/{{id}}"


def _route(
    method: str, path: str, name: str, handler: Handler, summary: str, body: Schemas = (), **rest: Any
) -> Route:
    return Route(
        method=method,
        path=path,
        rule=f"{_RULE}:{name}",
        role="admin",
        handler=handler,
        body=body,
        summary=summary,
        **rest,
    )


def _action(name: str, handler: Handler, argument: Schema, summary: str) -> Route:
    body = always(document([name], {name: argument}))
    return _route("POST", f"{_ONE}/action", name, handler, summary, body, action=name)


_HOST = document(["host"], {"host": HOSTNAME})
ROUTES = [
    _route("GET", _PATH, "index", index, "List aggregates", query=queries(102)),
    _route("POST", _PATH, "create", create, "Create an aggregate", always(_CREATE)),
    _route("GET", _ONE, "show", show, "Show an aggregate", query=queries(102)),
    _route("PUT", _ONE, "update", update, "Rename an aggregate, or change its zone", always(_UPDATE)),
    _route("DELETE", _ONE, "delete", delete, "Delete an aggregate"),
    _action("add_host", add_host, _HOST, "Add a host to an aggregate"),
    _action("remove_host", remove_host, _HOST, "Remove a host from an aggregate"),
    _action("set_metadata", set_metadata, document(["metadata"], {"metadata": _METADATA}), "Change its metadata"),
]
