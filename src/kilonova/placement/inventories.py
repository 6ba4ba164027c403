"""Inventories: what hosts have by themselves, of which an operator sets terms, and what operators add.

Of VCPU, MEMORY_MB and DISK_GB the host says the total; ``reserved`` and ``allocation_ratio`` can be set and count for the next
claim. Of PCPU it says everything. Reference: Placement API, "Resource provider inventories".
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import host_inventories, providers, resource_classes
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.inventory import HOST_CLASSES, MOST, REPORTED_CLASSES, Inventory, capacity
from kilonova.model.provider import Provider
from kilonova.placement import schemas
from kilonova.placement.answers import answered
from kilonova.placement.microversion import V
from kilonova.placement.providers import ONE
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.application import MethodNotAllowed
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

PATH = f"{ONE}/inventories"
OF_CLASS = f"{PATH}/{{resource_class}}"
_SHOWN = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio")
_TERMS = ("reserved", "allocation_ratio")
Given = Mapping[str, Any]


def _view(inventory: Inventory) -> dict[str, Any]:
    return {field: getattr(inventory, field) for field in _SHOWN}


def _all(call: Call, provider: Provider) -> Reply:
    body = {
        "resource_provider_generation": provider.generation,
        "inventories": {name: _view(inventory) for name, inventory in provider.inventories.items()},
    }
    return answered(call, body, modified_at=provider.updated_at)


def _one(call: Call, provider: Provider, name: str, status: int = 200, location: str | None = None) -> Reply:
    body = _view(provider.inventories[name]) | {"resource_provider_generation": provider.generation}
    return answered(call, body, status=status, modified_at=provider.updated_at, location=location)


async def list_inventories(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET …/inventories``"""
    return _all(call, await placement.database.run(providers.get, call.params["uuid"]))


async def show_inventory(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET …/inventories/{resource_class}``"""
    provider = await placement.database.run(providers.get, call.params["uuid"])
    name = call.params["resource_class"]
    if name not in provider.inventories:
        raise NotFound(f"No inventory of class {name[:255]} for {provider.uuid}")
    return _one(call, provider, name)


async def create_inventory(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``POST …/inventories``: one more class."""
    uuid, name = call.params["uuid"], call.body["resource_class"]
    provider = await placement.database.run(_create, uuid, name, call.body, call.version, placement.clock.now())
    location = f"/resource_providers/{provider.uuid}/inventories/{name}"
    return _one(call, provider, name, 201, location)


def _create(connection: Connection, uuid: str, name: str, given: Given, version: int, now: int) -> Provider:
    provider = providers.hold(connection, uuid)
    if name in provider.inventories:
        raise Conflict(f"Update conflict: {provider.uuid} has an inventory of {name}.", name=providers.STALE)
    _put(connection, provider, name, given, version, now)
    return _changed(connection, provider, now)


async def update_inventory(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT …/inventories/{resource_class}``"""
    uuid, name = call.params["uuid"], call.params["resource_class"]
    provider = await placement.database.run(_update, uuid, name, call.body, call.version, placement.clock.now())
    return _one(call, provider, name)


def _update(connection: Connection, uuid: str, name: str, given: Given, version: int, now: int) -> Provider:
    provider = providers.hold(connection, uuid, given["resource_provider_generation"])
    if name not in provider.inventories:
        raise Invalid(f"No inventory record of class {name[:255]} for resource provider {provider.uuid}.")
    _put(connection, provider, name, given, version, now)
    return _changed(connection, provider, now)


async def replace_inventories(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT …/inventories``: these and no others."""
    body, now = call.body, placement.clock.now()
    generation, inventories = body["resource_provider_generation"], body["inventories"]
    uuid = call.params["uuid"]
    return _all(call, await placement.database.run(_replace, uuid, generation, inventories, call.version, now))


def _replace(
    connection: Connection, uuid: str, generation: int, wanted: Mapping[str, Given], version: int, now: int
) -> Provider:
    provider = providers.hold(connection, uuid, generation)
    for name in provider.inventories.keys() - wanted.keys():
        _remove(connection, provider, name)
    for name, given in sorted(wanted.items()):
        _put(connection, provider, name, given, version, now)
    return _changed(connection, provider, now)


async def delete_inventory(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE …/inventories/{resource_class}``"""
    uuid, name = call.params["uuid"], call.params["resource_class"]
    await placement.database.run(_delete, uuid, name, placement.clock.now())
    return Reply(204)


def _delete(connection: Connection, uuid: str, name: str, now: int) -> None:
    provider = providers.hold(connection, uuid)
    if name not in provider.inventories:
        raise NotFound(f"No inventory of class {name[:255]} found for delete.")
    _remove(connection, provider, name)
    providers.touch(connection, provider.uuid, now)


async def delete_inventories(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE …/inventories``: never works, as every host has cores and memory; it says so."""
    await placement.database.run(_delete_all, call.params["uuid"], placement.clock.now())
    return Reply(204)


def _delete_all(connection: Connection, uuid: str, now: int) -> None:
    provider = providers.hold(connection, uuid)
    for name in provider.inventories:
        _remove(connection, provider, name)
    providers.touch(connection, provider.uuid, now)


async def not_yet(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE …/inventories`` before 1.5."""
    raise MethodNotAllowed(["GET", "POST", "PUT"])


def _changed(connection: Connection, provider: Provider, now: int) -> Provider:
    providers.touch(connection, provider.uuid, now)
    return providers.get(connection, provider.uuid)


def _remove(connection: Connection, provider: Provider, name: str) -> None:
    if name in REPORTED_CLASSES:
        raise Conflict(
            f"Inventory of {name} is what the host reports and cannot be taken away; write it along with the others "
            "(openstack resource provider inventory set --amend).",
            name=host_inventories.IN_USE,
        )
    host_inventories.remove(connection, provider.host, name)


def _put(connection: Connection, provider: Provider, name: str, given: Given, version: int, now: int) -> None:
    if name in REPORTED_CLASSES:
        current = _reported(provider, name, given)
        if name in HOST_CLASSES:
            _set_terms(connection, provider, name, current, given, version)
        return
    if not resource_classes.exists(connection, name, keep=True):
        raise Invalid(f"Unknown resource class in inventory for resource provider {provider.uuid}: {name[:255]}.")
    fields = {field: given[field] for field in _SHOWN if field in given}
    total, reserved = given["total"], given.get("reserved", 0)
    most = capacity(total, reserved, given.get("allocation_ratio", 1.0))
    _check_capacity(provider, name, most, version)
    host_inventories.put(connection, provider.host, name, Inventory(**fields, capacity=most), now)


def _check_capacity(provider: Provider, name: str, most: int, version: int) -> None:
    """Since 1.26 all of it may be kept back."""
    if most < 0 or (most == 0 and version < V(26)):
        raise Invalid(
            f"Invalid inventory for '{name}' on resource provider '{provider.uuid}': nothing of it could be claimed."
        )


def _reported(provider: Provider, name: str, given: Given) -> Inventory:
    """What the host says of one of its own classes. Raises ``Conflict`` for other values of what it alone says."""
    current = provider.inventories.get(name)
    if current is None:
        raise Conflict(f"The host reports that it has no {name}.")
    settable = _TERMS if name in HOST_CLASSES else ()
    may = (
        f"Only {' and '.join(settable)} can be set."
        if settable
        else "Its compute.cpu_dedicated_set says which they are."
    )
    for field in _SHOWN:
        value = getattr(current, field)
        same = {value, MOST} if field == "max_unit" else {value}
        if field in given and field not in settable and given[field] not in same:
            raise Conflict(f"The {field} of {name} is what the host reports: {value}. {may}")
    return current


def _set_terms(
    connection: Connection, provider: Provider, name: str, current: Inventory, given: Given, version: int
) -> None:
    terms = {field: given[field] for field in _TERMS if field in given}
    reserved, ratio = terms.get("reserved", current.reserved), terms.get("allocation_ratio", current.allocation_ratio)
    _check_capacity(provider, name, capacity(current.total, reserved, ratio), version)
    host_inventories.set_terms(connection, provider.host, name, terms)


_RULE = "placement:resource_providers:inventories"
ROUTES = [
    Route(
        method="GET",
        path=PATH,
        handler=list_inventories,
        rule=f"{_RULE}:list",
        role="service",
        summary="List a provider's inventories",
    ),
    Route(
        method="POST",
        path=PATH,
        handler=create_inventory,
        rule=f"{_RULE}:create",
        role="service",
        body=schemas.INVENTORY_CREATE,
        summary="Add an inventory to a provider",
    ),
    Route(
        method="PUT",
        path=PATH,
        handler=replace_inventories,
        rule=f"{_RULE}:update",
        role="service",
        body=schemas.INVENTORIES_REPLACE,
        summary="Replace a provider's inventories",
    ),
    Route(
        method="DELETE",
        path=PATH,
        handler=not_yet,
        rule=f"{_RULE}:delete",
        role="service",
        until=V(4),
        summary="Not allowed before 1.5",
    ),
    Route(
        method="DELETE",
        path=PATH,
        handler=delete_inventories,
        rule=f"{_RULE}:delete",
        role="service",
        since=V(5),
        summary="Delete a provider's inventories",
    ),
    Route(
        method="GET",
        path=OF_CLASS,
        handler=show_inventory,
        rule=f"{_RULE}:show",
        role="service",
        summary="Show a provider's inventory of a class",
    ),
    Route(
        method="PUT",
        path=OF_CLASS,
        handler=update_inventory,
        rule=f"{_RULE}:update",
        role="service",
        body=schemas.INVENTORY_UPDATE,
        summary="Update a provider's inventory of a class",
    ),
    Route(
        method="DELETE",
        path=OF_CLASS,
        handler=delete_inventory,
        rule=f"{_RULE}:delete",
        role="service",
        summary="Delete a provider's inventory of a class",
    ),
]
