"""Resource classes: the standard ones, and those that operators make. Reference: Placement API, "Resource classes"."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import resource_classes
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.inventory import STANDARD_CLASSES
from kilonova.placement import schemas
from kilonova.placement.answers import answered, link
from kilonova.placement.microversion import V
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import always, validate

PATH = "/resource_classes"
NAMED = f"{PATH}/{{name}}"
_CUSTOM_NAME = always(schemas.CUSTOM_NAME)


def _view(call: Call, name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": link(call, f"{PATH}/{name}")}]}


async def list_classes(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_classes``"""
    names = [*STANDARD_CLASSES, *await placement.database.run(resource_classes.custom)]
    return answered(call, {"resource_classes": [_view(call, name) for name in names]})


async def show_class(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_classes/{name}``"""
    name = call.params["name"]
    await placement.database.run(_check, name)
    return answered(call, _view(call, name))


def _check(connection: Connection, name: str) -> None:
    if not resource_classes.exists(connection, name):
        raise NotFound(f"No such resource class {name[:255]}.")


async def create_class(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``POST /resource_classes``"""
    name = call.body["name"]
    if not await placement.database.run(resource_classes.make, name, placement.clock.now()):
        raise Conflict(f"Conflicting resource class already exists: {name}")
    return Reply(201, None, {"location": link(call, f"{PATH}/{name}")})


async def rename_class(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT /resource_classes/{name}`` up to 1.6: another name."""
    name, other = call.params["name"], call.body["name"]
    if name in STANDARD_CLASSES:
        raise Invalid(f"Cannot update standard resource class {name}")
    await placement.database.run(_rename, name, other)
    return answered(call, _view(call, other))


def _rename(connection: Connection, name: str, other: str) -> None:
    _check(connection, name)
    resource_classes.rename(connection, name, other)


async def ensure_class(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT /resource_classes/{name}`` since 1.7: 201, or 204 if it is there."""
    name = call.params["name"]
    validate(_CUSTOM_NAME, name, call.version, "the resource class's name")
    made = await placement.database.run(resource_classes.make, name, placement.clock.now())
    return Reply(201 if made else 204, None, {"location": link(call, f"{PATH}/{name}")})


async def delete_class(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE /resource_classes/{name}``"""
    name = call.params["name"]
    if name in STANDARD_CLASSES:
        raise Invalid(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    if not await placement.database.run(resource_classes.remove, name):
        raise NotFound(f"No such resource class {name[:255]}.")
    return Reply(204)


_RULE = "placement:resource_classes"
ROUTES = [
    Route(
        method="GET",
        path=PATH,
        handler=list_classes,
        rule=f"{_RULE}:list",
        role="service",
        since=V(2),
        summary="List resource classes",
    ),
    Route(
        method="POST",
        path=PATH,
        handler=create_class,
        rule=f"{_RULE}:create",
        role="service",
        since=V(2),
        body=schemas.RESOURCE_CLASS,
        summary="Create a resource class",
    ),
    Route(
        method="GET",
        path=NAMED,
        handler=show_class,
        rule=f"{_RULE}:show",
        role="service",
        since=V(2),
        summary="Show a resource class",
    ),
    Route(
        method="PUT",
        path=NAMED,
        handler=rename_class,
        rule=f"{_RULE}:update",
        role="service",
        since=V(2),
        until=V(6),
        body=schemas.RESOURCE_CLASS,
        summary="Rename a resource class",
    ),
    Route(
        method="PUT",
        path=NAMED,
        handler=ensure_class,
        rule=f"{_RULE}:update",
        role="service",
        since=V(7),
        summary="Create a resource class if it is missing",
    ),
    Route(
        method="DELETE",
        path=NAMED,
        handler=delete_class,
        rule=f"{_RULE}:delete",
        role="service",
        since=V(2),
        summary="Delete a resource class",
    ),
]
