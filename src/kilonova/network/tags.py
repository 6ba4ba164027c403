"""Tags. Reference: Networking API v2.0, "Standard attributes tag extension"."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.context import Caller
from kilonova.model.errors import Invalid, NotFound
from kilonova.network.floating_ips import FLOATING_IPS
from kilonova.network.networks import NETWORKS
from kilonova.network.port_views import PORTS
from kilonova.network.resource import Resource
from kilonova.network.routers import ROUTERS
from kilonova.network.schemas import TAG
from kilonova.network.security_groups import GROUPS
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.subnets import SUBNETS
from kilonova.network.trunks import TRUNKS
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler
from kilonova.web.schema import always, validate

TAGGED: tuple[Resource[Any], ...] = (NETWORKS, SUBNETS, PORTS, ROUTERS, FLOATING_IPS, GROUPS, TRUNKS)
_MOST = 50
_ONE = always(TAG)


def lists_tags(resource: Resource[Any]) -> Handler:
    """``GET …/tags``"""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        tags = await networks.database.run(_read, resource, call.caller, call.params["id"])
        return Reply(200, {"tags": tags})

    return handler


def _read(connection: Connection, resource: Resource[Any], caller: Caller, record_id: str) -> list[str]:
    record = resource.visible(connection, caller, record_id)
    return queries.tags_of(connection, [record.id])[record.id]


def shows_tag(resource: Resource[Any]) -> Handler:
    """``GET …/tags/{tag}``: whether it is there."""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        if call.params["tag"] not in await networks.database.run(_read, resource, call.caller, call.params["id"]):
            raise _absent(call.params["tag"])
        return Reply(204)

    return handler


def _absent(tag: str) -> NotFound:
    return NotFound(f"Tag {tag[:255]} could not be found.", name="TagNotFound")


def replaces_tags(resource: Resource[Any]) -> Handler:
    """``PUT …/tags``"""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        wanted = sorted(set(call.body["tags"]))
        return Reply(200, {"tags": await _write(networks, call, resource, lambda _: wanted)})

    return handler


def adds_tags(resource: Resource[Any]) -> Handler:
    """``POST …/tags``"""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        more: list[str] = call.body["tags"]
        return Reply(201, {"tags": await _write(networks, call, resource, lambda tags: [*tags, *more])})

    return handler


def adds_tag(resource: Resource[Any]) -> Handler:
    """``PUT …/tags/{tag}``"""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        tag = call.params["tag"]
        validate(_ONE, tag, 0, "tag")
        await _write(networks, call, resource, lambda tags: [*tags, tag])
        return Reply(201)

    return handler


def removes_tag(resource: Resource[Any]) -> Handler:
    """``DELETE …/tags/{tag}``"""

    def without(tags: list[str], tag: str) -> list[str]:
        if tag not in tags:
            raise _absent(tag)
        return [other for other in tags if other != tag]

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        await _write(networks, call, resource, lambda tags: without(tags, call.params["tag"]))
        return Reply(204)

    return handler


def removes_tags(resource: Resource[Any]) -> Handler:
    """``DELETE …/tags``"""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        await _write(networks, call, resource, lambda _: [])
        return Reply(204)

    return handler


async def _write(
    networks: EmbeddedNetworks, call: Call, resource: Resource[Any], change: Callable[[list[str]], list[str]]
) -> list[str]:
    now = networks.clock.now()
    return await networks.database.run(_set, resource, call.caller, call.params["id"], change, now)


def _set(
    connection: Connection,
    resource: Resource[Any],
    caller: Caller,
    record_id: str,
    change: Callable[[list[str]], list[str]],
    now: int,
) -> list[str]:
    record = resource.owned(connection, caller, record_id)
    before = queries.tags_of(connection, [record.id])[record.id]
    after = sorted(set(change(before)))
    if len(after) > _MOST:
        raise Invalid(f"The number of tags exceeded the maximum of {_MOST}.")
    if after != before:
        queries.set_tags(connection, record.id, after)
        queries.touch(connection, record, now)
    return after
