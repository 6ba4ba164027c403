"""The aggregates of a provider: those of Compute its host is in, by their UUIDs; there are no others.

Writing them puts the host into Compute's aggregates and takes it out, under the same rules as ``os-aggregates`` has.
Reference: Placement API, "Resource provider aggregates".
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import aggregates, providers
from kilonova.model.errors import Conflict
from kilonova.model.provider import Provider
from kilonova.placement import schemas
from kilonova.placement.answers import answered
from kilonova.placement.microversion import V
from kilonova.placement.providers import ONE
from kilonova.placement.questions import dashed
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

PATH = f"{ONE}/aggregates"
_COUNTED_SINCE = V(19)


def _view(call: Call, provider: Provider, uuids: list[str]) -> dict[str, Any]:
    counted = {"resource_provider_generation": provider.generation} if call.version >= _COUNTED_SINCE else {}
    return {"aggregates": uuids} | counted


async def list_aggregates(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET …/aggregates``"""
    provider, uuids = await placement.database.run(_read, call.params["uuid"])
    return answered(call, _view(call, provider, uuids))


def _read(connection: Connection, uuid: str) -> tuple[Provider, list[str]]:
    provider = providers.get(connection, uuid)
    return provider, providers.aggregates_of(connection, provider.host)


async def replace_aggregates(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT …/aggregates``: in these and no others."""
    counted = call.version >= _COUNTED_SINCE
    uuids = [dashed(uuid) for uuid in (call.body["aggregates"] if counted else call.body)]
    generation = call.body["resource_provider_generation"] if counted else None
    provider, now_in = await placement.database.run(
        _replace, call.params["uuid"], generation, uuids, placement.clock.now()
    )
    return answered(call, _view(call, provider, now_in))


def _replace(
    connection: Connection, uuid: str, generation: int | None, wanted: list[str], now: int
) -> tuple[Provider, list[str]]:
    known = {one.uuid: one for one in aggregates.listing(connection)}
    for unknown in (one for one in wanted if one not in known):
        raise Conflict(
            f"There is no host aggregate {unknown}: those of resource providers are Compute's (openstack aggregate create)."
        )
    # An aggregate's row is taken before its host's, as os-aggregates does; so the generation is looked at in the end as well.
    provider = providers.get(connection, uuid)
    for one in known.values():
        if one.uuid in wanted and provider.host not in one.hosts:
            aggregates.add_host(connection, one.id, provider.host, now)
        elif one.uuid not in wanted and provider.host in one.hosts:
            aggregates.remove_host(connection, one.id, provider.host, now)
    held = providers.hold(connection, uuid, generation)
    if generation is not None:
        providers.touch(connection, held.uuid, now)
    return _read(connection, held.uuid)


_RULE = "placement:resource_providers:aggregates"
ROUTES = [
    Route(
        method="GET",
        path=PATH,
        handler=list_aggregates,
        rule=f"{_RULE}:list",
        role="service",
        since=V(1),
        summary="List a provider's aggregates",
    ),
    Route(
        method="PUT",
        path=PATH,
        handler=replace_aggregates,
        rule=f"{_RULE}:update",
        role="service",
        since=V(1),
        body=schemas.AGGREGATES_REPLACE,
        summary="Replace a provider's aggregates",
    ),
]
