"""Extra specs: words on a flavor that scheduler and hypervisor read."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.extra_spec_rules import check_extra_spec
from kilonova.api.compute.inputs import document, queries
from kilonova.api.compute.rules import ALL_FLAVORS, FLAVOR_EXTRA_SPECS
from kilonova.database.flavors import get_flavor, hold_flavor, update_flavor
from kilonova.model.errors import Invalid, NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, always

_CHECKED_SINCE = 86


async def index(cloud: Deployment, call: Call) -> Reply:
    """All of a flavor."""
    return Reply(200, {"extra_specs": await _specs(cloud, call)})


async def show(cloud: Deployment, call: Call) -> Reply:
    """One of them."""
    specs = await _specs(cloud, call)
    key = call.params["id"]
    if key not in specs:
        raise _missing(call.params["flavor_id"], key)
    return Reply(200, {key: specs[key]})


async def _specs(cloud: Deployment, call: Call) -> dict[str, str]:
    flavorid = call.params["flavor_id"]
    flavor = await cloud.database.run(get_flavor, flavorid, call.caller.project_id, call.allows(ALL_FLAVORS))
    return flavor.extra_specs


async def create(cloud: Deployment, call: Call) -> Reply:
    """Add specs, replacing those of the same name."""
    given: dict[str, Any] = call.body["extra_specs"]
    await _set(cloud, call, given)
    return Reply(200, {"extra_specs": given})


async def update(cloud: Deployment, call: Call) -> Reply:
    """Set the one spec that both path and body name."""
    given: dict[str, Any] = call.body
    if call.params["id"] not in given:
        raise Invalid("Request body and URI mismatch")
    await _set(cloud, call, given)
    return Reply(200, given)


async def _set(cloud: Deployment, call: Call, given: dict[str, Any]) -> None:
    specs = {key: str(value) for key, value in given.items()}
    if call.version >= _CHECKED_SINCE:
        for key, value in specs.items():
            check_extra_spec(key, value)
    await cloud.database.run(_merge, call.params["flavor_id"], specs)


def _merge(connection: Connection, flavorid: str, specs: dict[str, str]) -> None:
    flavor = hold_flavor(connection, flavorid)
    update_flavor(connection, flavorid, extra_specs=flavor.extra_specs | specs)


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Remove one."""
    await cloud.database.run(_remove, call.params["flavor_id"], call.params["id"])
    return Reply(200)


def _remove(connection: Connection, flavorid: str, key: str) -> None:
    specs = dict(hold_flavor(connection, flavorid).extra_specs)
    if key not in specs:
        raise _missing(flavorid, key)
    del specs[key]
    update_flavor(connection, flavorid, extra_specs=specs)


def _missing(flavorid: str, key: str) -> NotFound:
    return NotFound(f"Flavor {flavorid} has no extra specs with key {key}.")


_SPECS: Schema = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9_:. -]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}
_RULE = "os_compute_api:os-flavor-extra-specs"
_PATH = "/flavors/{flavor_id}/os-extra_specs"

ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=index,
        rule=FLAVOR_EXTRA_SPECS,
        role="reader",
        query=queries(102),
        summary="List extra specs",
    ),
    Route(
        method="POST",
        path=_PATH,
        handler=create,
        rule=f"{_RULE}:create",
        role="admin",
        body=always(document(["extra_specs"], {"extra_specs": _SPECS})),
        summary="Set extra specs",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        handler=show,
        rule=f"{_RULE}:show",
        role="reader",
        query=queries(102),
        summary="Show an extra spec",
    ),
    Route(
        method="PUT",
        path=f"{_PATH}/{{id}}",
        handler=update,
        rule=f"{_RULE}:update",
        role="admin",
        body=always(_SPECS | {"minProperties": 1, "maxProperties": 1}),
        summary="Set an extra spec",
    ),
    Route(
        method="DELETE",
        path=f"{_PATH}/{{id}}",
        handler=delete,
        rule=f"{_RULE}:delete",
        role="admin",
        summary="Delete an extra spec",
    ),
]
