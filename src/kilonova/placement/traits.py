"""Traits: the standard names and an operator's own; what hosts have by their capabilities, and what an operator says of them.

What follows from capabilities is there whatever is written. Reference: Placement API, "Traits".
"""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from kilonova.database import providers, traits
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.provider import Provider
from kilonova.model.traits import standard_traits
from kilonova.placement import schemas
from kilonova.placement.answers import answered
from kilonova.placement.known import check_traits
from kilonova.placement.microversion import V
from kilonova.placement.providers import ONE
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import always, validate

PATH = "/traits"
NAMED = f"{PATH}/{{name}}"
OF_PROVIDER = f"{ONE}/traits"
_CUSTOM_NAME = always(schemas.CUSTOM_NAME)
_SINCE = V(6)


async def list_traits(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /traits``; ``name=in:A,B`` or ``startswith:A``, ``associated`` with a provider or not."""
    name, associated = call.first("name"), call.first("associated")
    if name is not None and ":" not in name:
        raise Invalid(f'Badly formatted name, expected in:NAME,NAME or startswith:PREFIX. Got: "{name[:64]}"')
    found = await placement.database.run(_all, None if associated is None else associated.lower() == "true")
    kind, _, text = (name or ":").partition(":")
    if kind == "in":
        found = found & set(text.split(","))
    elif kind == "startswith":
        found = {one for one in found if one.startswith(text)}
    return answered(call, {"traits": sorted(found)})


def _all(connection: Connection, associated: bool | None) -> set[str]:
    every = set(standard_traits() | traits.custom(connection))
    if associated is None:
        return every
    held = set[str]().union(*set(traits.traits_of_hosts(connection).values()))
    return held if associated else every - held


async def show_trait(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /traits/{name}``: 204 if there is one."""
    name = call.params["name"]
    if await placement.database.run(traits.unknown, [name], standard_traits()):
        raise NotFound(f"No such trait(s): {name[:255]}.")
    return answered(call, status=204)


async def create_trait(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT /traits/{name}``: 201, or 204 if it is there."""
    name = call.params["name"]
    validate(_CUSTOM_NAME, name, call.version, "the trait's name")
    made = await placement.database.run(traits.make, name, placement.clock.now())
    return answered(call, status=201 if made else 204, location=f"{PATH}/{name}")


async def delete_trait(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE /traits/{name}``"""
    name = call.params["name"]
    if name in standard_traits():
        raise Invalid(f"Cannot delete standard trait {name}.")
    if not await placement.database.run(traits.remove, name):
        raise NotFound(f"No such trait(s): {name[:255]}.")
    return Reply(204)


# --- of a provider -----------------------------------------------------------------------------------------


def _of(call: Call, provider: Provider) -> Reply:
    body = {"traits": sorted(provider.traits), "resource_provider_generation": provider.generation}
    return answered(call, body)


async def list_provider_traits(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_providers/{uuid}/traits``"""
    return _of(call, await placement.database.run(providers.get, call.params["uuid"]))


async def replace_provider_traits(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT /resource_providers/{uuid}/traits``: these, and those of its capabilities."""
    generation, names = call.body["resource_provider_generation"], call.body["traits"]
    now = placement.clock.now()
    return _of(call, await placement.database.run(_replace, call.params["uuid"], generation, names, now))


def _replace(connection: Connection, uuid: str, generation: int | None, names: Sequence[str], now: int) -> Provider:
    provider = providers.hold(connection, uuid, generation)
    check_traits(connection, names)
    traits.give(connection, provider.host, ())
    bare = providers.get(connection, uuid)
    traits.give(connection, provider.host, set(names) - bare.traits)
    providers.touch(connection, provider.uuid, now)
    return providers.get(connection, uuid)


async def delete_provider_traits(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE /resource_providers/{uuid}/traits``: all that an operator said of it."""
    await placement.database.run(_replace, call.params["uuid"], None, (), placement.clock.now())
    return Reply(204)


_RULE, _OF_RULE = "placement:traits", "placement:resource_providers:traits"
ROUTES = [
    Route(
        method="GET",
        path=PATH,
        handler=list_traits,
        rule=f"{_RULE}:list",
        role="service",
        since=_SINCE,
        query=schemas.TRAITS_LIST,
        summary="List traits",
    ),
    Route(
        method="GET",
        path=NAMED,
        handler=show_trait,
        rule=f"{_RULE}:show",
        role="service",
        since=_SINCE,
        summary="Show whether there is a trait",
    ),
    Route(
        method="PUT",
        path=NAMED,
        handler=create_trait,
        rule=f"{_RULE}:update",
        role="service",
        since=_SINCE,
        summary="Create a custom trait",
    ),
    Route(
        method="DELETE",
        path=NAMED,
        handler=delete_trait,
        rule=f"{_RULE}:delete",
        role="service",
        since=_SINCE,
        summary="Delete a custom trait",
    ),
    Route(
        method="GET",
        path=OF_PROVIDER,
        handler=list_provider_traits,
        rule=f"{_OF_RULE}:list",
        role="service",
        since=_SINCE,
        summary="List a provider's traits",
    ),
    Route(
        method="PUT",
        path=OF_PROVIDER,
        handler=replace_provider_traits,
        rule=f"{_OF_RULE}:update",
        role="service",
        since=_SINCE,
        body=schemas.TRAITS_REPLACE,
        summary="Replace a provider's traits",
    ),
    Route(
        method="DELETE",
        path=OF_PROVIDER,
        handler=delete_provider_traits,
        rule=f"{_OF_RULE}:delete",
        role="service",
        since=_SINCE,
        summary="Delete what an operator said of a provider",
    ),
]
