"""Resource providers: the compute hosts, each a root without a tree below it.

They come with their nova-compute's first report and go with ``DELETE /os-services/{id}``, so nobody makes, renames or deletes
one here. Reference: Placement API, "Resource providers".
"""

from typing import Any

from kilonova.database import providers
from kilonova.model.errors import Conflict
from kilonova.model.provider import Provider
from kilonova.placement import schemas
from kilonova.placement.answers import answered, link
from kilonova.placement.microversion import V
from kilonova.placement.questions import dashed, group
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

PATH = "/resource_providers"
ONE = f"{PATH}/{{uuid}}"
_RELATED = (("inventories", 0), ("usages", 0), ("aggregates", 1), ("traits", 6), ("allocations", 11))
"""What belongs to a provider, and since which 1.x it is linked to."""


def view(call: Call, provider: Provider) -> dict[str, Any]:
    """A provider as this microversion shows it."""
    url = link(call, f"{PATH}/{provider.uuid}")
    related = [{"rel": name, "href": f"{url}/{name}"} for name, since in _RELATED if call.version >= V(since)]
    shown = {
        "uuid": provider.uuid,
        "name": provider.host,
        "generation": provider.generation,
        "links": [{"rel": "self", "href": url}, *related],
    }
    return shown | family(call, provider, V(14))


def family(call: Call, provider: Provider, since: int) -> dict[str, Any]:
    """Where it is in its tree: alone."""
    return {"parent_provider_uuid": None, "root_provider_uuid": provider.uuid} if call.version >= since else {}


async def list_providers(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_providers``: all that suit; this API knows no pages."""
    uuid = call.first("uuid")
    asked = group(call)
    uuid = None if uuid is None else dashed(uuid)
    found = await placement.find([asked], uuid=uuid, name=call.first("name"), bare=True)
    newest = max((one.updated_at for one in found), default=None)
    return answered(call, {"resource_providers": [view(call, one) for one in found]}, modified_at=newest)


async def show_provider(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_providers/{uuid}``"""
    found = await placement.database.run(providers.get, call.params["uuid"])
    return answered(call, view(call, found), modified_at=found.updated_at)


async def create_provider(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``POST /resource_providers``: refused."""
    raise Conflict(
        "Resource providers here are the compute hosts and nothing else: one comes with its nova-compute's first report. "
        "What a host has besides can be added to it as inventory of another resource class."
    )


async def update_provider(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT /resource_providers/{uuid}``: nothing of it can be otherwise; what says the same is answered."""
    found = await placement.database.run(providers.get, call.params["uuid"])
    if call.body["name"] != found.host:
        raise Conflict(f"A resource provider is called as its compute host: {found.host}.")
    if call.body.get("parent_provider_uuid") not in (None, found.uuid):
        raise Conflict("Resource providers here are compute hosts, and none has another above it.")
    return answered(call, view(call, found), modified_at=found.updated_at)


async def delete_provider(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE /resource_providers/{uuid}``: refused."""
    found = await placement.database.run(providers.get, call.params["uuid"])
    raise Conflict(
        f"{found.host} is a compute host: its resource provider goes when its nova-compute is deleted "
        "(openstack compute service delete).",
        name="placement.resource_provider.inuse",
    )


_RULE = "placement:resource_providers"
ROUTES = [
    Route(
        method="GET",
        path=PATH,
        handler=list_providers,
        rule=f"{_RULE}:list",
        role="service",
        query=schemas.PROVIDER_LIST,
        summary="List resource providers",
    ),
    Route(
        method="POST",
        path=PATH,
        handler=create_provider,
        rule=f"{_RULE}:create",
        role="service",
        body=schemas.PROVIDER_CREATE,
        summary="Refuse to create a resource provider",
    ),
    Route(
        method="GET",
        path=ONE,
        handler=show_provider,
        rule=f"{_RULE}:show",
        role="service",
        summary="Show a resource provider",
    ),
    Route(
        method="PUT",
        path=ONE,
        handler=update_provider,
        rule=f"{_RULE}:update",
        role="service",
        body=schemas.PROVIDER_UPDATE,
        summary="Confirm a resource provider's name",
    ),
    Route(
        method="DELETE",
        path=ONE,
        handler=delete_provider,
        rule=f"{_RULE}:delete",
        role="service",
        summary="Refuse to delete a resource provider",
    ),
]
