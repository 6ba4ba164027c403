"""``POST /servers/{id}/action``: a shelved server leaves its host, or comes back."""

from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute import move_schemas
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.rules_servers import UNSHELVE_TO_HOST
from kilonova.api.compute.submission import Intent, find, submit
from kilonova.database import membership, servers
from kilonova.model.action import Action
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.kinds.unshelve import SHELVE_OFFLOAD, UNSHELVE, UNSHELVE_IN_PLACE
from kilonova.model.server import Server, TaskState, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

_ZONE_SINCE = 77
_HOST_SINCE = 91
_RULE = "os_compute_api:os-shelve"


async def offload(cloud: Deployment, call: Call) -> Reply:
    """Free the host of a shelved server: all that is left of it is its image."""
    await submit(cloud, call, call.params["id"], SHELVE_OFFLOAD, TaskState.SHELVING_OFFLOADING)
    return Reply(202)


async def unshelve(cloud: Deployment, call: Call) -> Reply:
    """Bring it back: from 2.77 in a zone that is named (from 2.91: or in any again), from 2.91 on a host that is named."""
    asked = (call.body["unshelve"] or {}) if call.version >= _ZONE_SINCE else {}
    host = asked.get("host") if call.version >= _HOST_SINCE else None
    server = await cloud.database.run(find, call, call.params["id"])
    if server.vm_state == VmState.SHELVED_OFFLOADED:
        plan = partial(_plan, call=call, asked=asked, host=host)
        await submit(cloud, call, server.id, UNSHELVE, TaskState.UNSHELVING, plan=plan)
    else:
        plan = partial(_plan_in_place, placed=bool(host) or "availability_zone" in asked)
        await submit(cloud, call, server.id, UNSHELVE_IN_PLACE, TaskState.UNSHELVING, plan=plan)
    return Reply(202)


def _plan_in_place(connection: Connection, server: Server, *, placed: bool) -> Intent:
    if placed:
        raise Conflict(
            f"Instance {server.id} is {server.vm_state}: only one that left its host can be told where to go."
        )
    return Intent(work=_made_of(server))


def _plan(connection: Connection, server: Server, *, call: Call, asked: dict[str, Any], host: str | None) -> Intent:
    hosts = {known.host: known for known in membership.list_hosts(connection)}
    zone = asked.get("availability_zone", server.requested_zone)
    if asked.get("availability_zone") and zone not in {known.availability_zone for known in hosts.values()}:
        raise Invalid("The requested availability zone is not available")
    if host:
        call.require(UNSHELVE_TO_HOST)
        if host not in hosts:
            raise Invalid(f"Compute host {host} could not be found.")
        if zone and hosts[host].availability_zone != zone:
            raise Conflict(f"Host '{host}' is not in the availability zone '{zone}'.")
    return Intent(
        arguments={"host": host} if host else {},
        work=_made_of(server),
        admitted=partial(_pin, connection, server, zone),
    )


def _made_of(server: Server) -> dict[str, Any]:
    """The image of the shelved server, which goes once it is not needed any more."""
    return {"image_id": server.shelved_image_id} if server.shelved_image_id else {}


def _pin(connection: Connection, server: Server, zone: str | None, action: Action) -> None:
    """Where it may be from now on; the request for a host says the same."""
    if zone != server.requested_zone:
        servers.update(connection, server.id, requested_zone=zone)


def _route(action: str, handler: Any, rule: str, role: str, body: Any, summary: str) -> Route:
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=action,
        handler=handler,
        rule=f"{_RULE}:{rule}",
        role=role,
        body=body,
        summary=summary,
    )


ROUTES = [
    _route(
        "shelveOffload",
        offload,
        "shelve_offload",
        "admin",
        move_schemas.SHELVE_OFFLOAD,
        "Free the host of a shelved server",
    ),
    _route("unshelve", unshelve, "unshelve", "member", move_schemas.UNSHELVE, "Bring a shelved server back"),
]
