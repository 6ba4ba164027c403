"""Images fetched onto an aggregate's hosts before a server needs them, since 2.81."""

import asyncio

import structlog
from sqlalchemy.engine import Connection

from kilonova.api.compute.aggregates import number_of
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document
from kilonova.database import aggregates, membership
from kilonova.messaging.contract import CacheImages, compute_calls_queue
from kilonova.model.errors import Conflict, Invalid, NotFound, Unavailable
from kilonova.model.guest import ImageTicket
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, always

log = structlog.get_logger()

_AT_ONCE = 32  # hosts told at the same time


async def cache(cloud: Deployment, call: Call) -> Reply:
    """Tell every host of the aggregate that is up; what a host does not get now, its builds fetch themselves."""
    ids = [image["id"] for image in call.body["cache"]]
    if len(set(ids)) != len(ids):
        raise Invalid("Duplicate images in request")
    hosts = await cloud.database.run(_hosts, cloud, call)
    message = CacheImages(images=[await _ticket(cloud, call, image_id) for image_id in ids])
    bound = asyncio.Semaphore(_AT_ONCE)

    async def tell(host: str) -> None:
        async with bound:
            try:
                await cloud.bus.call(
                    compute_calls_queue(host), message, call.context, timeout=cloud.config.messaging.call_timeout
                )
            except Unavailable as error:
                log.warning("host not told to cache images", host=host, error=error.message)

    await asyncio.gather(*(tell(host) for host in hosts))
    return Reply(202)


def _hosts(connection: Connection, cloud: Deployment, call: Call) -> list[str]:
    within = set(aggregates.get(connection, number_of(call)).hosts)
    now, down_after = cloud.clock.now(), cloud.config.membership.down_after
    return [
        service.host
        for service in membership.list_services(connection)
        if service.binary == "nova-compute" and service.host in within and service.up(now, down_after)
    ]


async def _ticket(cloud: Deployment, call: Call, image_id: str) -> ImageTicket:
    try:
        await cloud.images.show(call.caller, image_id)
        return await cloud.images.ticket(image_id)
    except (NotFound, Conflict) as error:
        raise Invalid(f"Image {image_id} cannot be cached: {error.message}") from None


_IMAGE: Schema = document(["id"], {"id": {"type": "string", "format": "uuid"}})
_BODY = document(["cache"], {"cache": {"type": "array", "items": _IMAGE, "minItems": 1}})

ROUTES = [
    Route(
        method="POST",
        path="/os-aggregates/{id}/images",
        handler=cache,
        rule="compute:aggregates:images",
        role="admin",
        since=81,
        body=always(_BODY),
        summary="Fetch images onto an aggregate's hosts",
    ),
]
