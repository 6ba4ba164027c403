"""Allocations: what servers have claimed. They are read here; they change with their servers.

A claim that no server has (there is none unless something went wrong) can be deleted. Reference: Placement API, "Allocations".
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import claims, providers
from kilonova.model.errors import Conflict, Forbidden, NotFound
from kilonova.model.provider import Consumer, Provider
from kilonova.placement import schemas
from kilonova.placement.answers import answered
from kilonova.placement.microversion import V
from kilonova.placement.providers import ONE
from kilonova.placement.questions import dashed
from kilonova.placement.service import EmbeddedPlacement
from kilonova.placement.usages import CONSUMER_TYPE
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

PATH = "/allocations"
OF_CONSUMER = f"{PATH}/{{consumer_uuid}}"


def _generation(consumer: Consumer) -> int:
    """A number that is another whenever the claims are: when the newest was made."""
    return consumer.claimed_at


async def list_of_consumer(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /allocations/{consumer_uuid}``: empty for whoever has claimed nothing."""
    consumer, generations = await placement.database.run(_of_consumer, call.params["consumer_uuid"])
    if consumer is None:
        return answered(call, {"allocations": {}})
    body: dict[str, Any] = {
        "allocations": {
            uuid: {"generation": generations[uuid], "resources": resources}
            for uuid, resources in consumer.claims.items()
        }
    }
    if call.version >= V(12):
        body |= {"project_id": consumer.project_id, "user_id": consumer.user_id}
    if call.version >= V(28):
        body["consumer_generation"] = _generation(consumer)
    if call.version >= V(38):
        body["consumer_type"] = CONSUMER_TYPE
    return answered(call, body, modified_at=consumer.claimed_at)


def _of_consumer(connection: Connection, consumer_id: str) -> tuple[Consumer | None, dict[str, int]]:
    consumer = claims.of_server(connection, consumer_id)
    uuids = consumer.claims if consumer is not None else ()
    return consumer, {uuid: providers.get(connection, uuid).generation for uuid in uuids}


async def list_on_provider(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_providers/{uuid}/allocations``"""
    provider, consumers = await placement.database.run(_on_provider, call.params["uuid"])
    shown: dict[str, dict[str, Any]] = {one.id: {"resources": one.claims[provider.uuid]} for one in consumers}
    if call.version >= V(28):
        for one in consumers:
            shown[one.id]["consumer_generation"] = _generation(one)
    newest = max((one.claimed_at for one in consumers), default=None)
    body = {"allocations": shown, "resource_provider_generation": provider.generation}
    return answered(call, body, modified_at=newest)


def _on_provider(connection: Connection, uuid: str) -> tuple[Provider, Sequence[Consumer]]:
    provider = providers.get(connection, uuid)
    return provider, claims.on_provider(connection, provider.uuid)


# --- writing -----------------------------------------------------------------------------------------------


def _refused(consumer: str) -> Conflict:
    return Conflict(
        f"Unable to allocate inventory for consumer {consumer}: the ledger belongs to the servers. What one has claimed is "
        "written when it is scheduled, moved, resized or deleted, in the same transaction."
    )


async def write_of_consumer(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``PUT /allocations/{consumer_uuid}``: refused, but for taking all from a consumer that is no server (since 1.28)."""
    consumer = dashed(call.params["consumer_uuid"])
    if call.body["allocations"]:
        raise _refused(consumer)
    await placement.database.run(claims.repair, consumer)
    return Reply(204)


async def write_several(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``POST /allocations``: refused likewise."""
    consumers = [dashed(uuid) for uuid in call.body]
    for uuid, written in call.body.items():
        if written["allocations"]:
            raise _refused(uuid)
    await placement.database.run(_repair_all, consumers)
    return Reply(204)


def _repair_all(connection: Connection, consumers: Sequence[str]) -> None:
    for consumer in sorted(set(consumers)):
        claims.repair(connection, consumer)


async def delete_of_consumer(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``DELETE /allocations/{consumer_uuid}``: gives back what is claimed for a server that is not there any more."""
    consumer = call.params["consumer_uuid"]
    if not await placement.database.run(claims.repair, consumer):
        raise NotFound(f"No allocations for consumer '{consumer[:64]}'")
    return Reply(204)


async def refuse_reshaping(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``POST /reshaper``: refused, as there are no trees."""
    raise Forbidden(
        "Resource providers here are compute hosts without a tree below them: there is nothing to reshape."
    )


_RULE = "placement:allocations"
ROUTES = [
    Route(
        method="GET",
        path=f"{ONE}/allocations",
        handler=list_on_provider,
        rule="placement:resource_providers:allocations:list",
        role="service",
        summary="List what is claimed of a provider",
    ),
    Route(
        method="GET",
        path=OF_CONSUMER,
        handler=list_of_consumer,
        rule=f"{_RULE}:list",
        role="service",
        summary="List what a server has claimed",
    ),
    Route(
        method="PUT",
        path=OF_CONSUMER,
        handler=write_of_consumer,
        rule=f"{_RULE}:update",
        role="service",
        body=schemas.ALLOCATIONS_PUT,
        summary="Refuse to write what a server has claimed",
    ),
    Route(
        method="DELETE",
        path=OF_CONSUMER,
        handler=delete_of_consumer,
        rule=f"{_RULE}:delete",
        role="service",
        summary="Give back what is claimed for no server",
    ),
    Route(
        method="POST",
        path=PATH,
        handler=write_several,
        rule=f"{_RULE}:manage",
        role="service",
        since=V(13),
        body=schemas.ALLOCATIONS_POST,
        summary="Refuse to write what servers have claimed",
    ),
    Route(
        method="POST",
        path="/reshaper",
        handler=refuse_reshaping,
        rule="placement:reshaper:reshape",
        role="service",
        since=V(30),
        body=schemas.RESHAPER,
        summary="Refuse to reshape providers",
    ),
]
