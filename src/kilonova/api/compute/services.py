"""Services: who runs where, switching a host's nova-compute off and on, forgetting one that is gone.

Up to 2.52 a service is named by host and binary, and an update by a word in the path; from 2.53 it has a UUID.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import BOOLEAN, HOSTNAME, as_bool, document, queries
from kilonova.database import host_servers, ledger, membership, server_migrations
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.host import Service
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros
from kilonova.web.routes import Route
from kilonova.web.schema import TEXT, Schema, Versioned, is_uuid

CONTROL_ZONE = "internal"
"""The availability zone that services without servers are shown in."""

_UUIDS_SINCE = 53
_COMPUTE = "nova-compute"


async def index(cloud: Deployment, call: Call) -> Reply:
    """All, or those of one host or one binary."""
    found = await cloud.database.run(membership.list_services)
    host, binary = call.first("host"), call.first("binary")
    wanted = [s for s in found if host in (None, s.host) and binary in (None, s.binary)]
    return Reply(200, {"services": [_view(cloud, call, service) for service in wanted]})


async def update(cloud: Deployment, call: Call) -> Reply:
    """By UUID: status with its reason, and whether it is to count as down."""
    service_id = call.params["id"]
    if not is_uuid(service_id):
        raise Invalid(f"Invalid uuid {service_id[:64]}")
    service = await cloud.database.run(_change, service_id, _changes(call.body))
    return Reply(200, {"service": _view(cloud, call, service)})


def _changes(body: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "status" in body:
        values["disabled"] = body["status"] == "disabled"
        values["disabled_reason"] = body.get("disabled_reason")
    if body.get("disabled_reason") is not None and body.get("status") != "disabled":
        raise Invalid("Specifying disabled_reason is only allowed when status is 'disabled'.")
    if "forced_down" in body:
        values["forced_down"] = as_bool(body["forced_down"])
    if not values:
        raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    return values


def _change(connection: Connection, service_id: str, values: dict[str, Any]) -> Service:
    service = membership.get_service(connection, service_id)
    if service.binary != _COMPUTE:
        raise Invalid(f"Updating a {service.binary} service is not supported. Only nova-compute services can be.")
    _update(connection, service, values)
    return membership.get_service(connection, service_id)


def _update(connection: Connection, service: Service, values: dict[str, Any]) -> None:
    membership.update_service(connection, service.id, **values)  # an evacuation that is being admitted holds the row
    if values.get("forced_down") is False and server_migrations.evacuated_from(connection, service.host):
        raise Invalid(
            f"Host {service.host} cannot be forced up: servers are or were evacuated from it, and its nova-compute has not said "
            "since that it has none of their guests. Start it, wait until the evacuations are 'completed', and ask again."
        )
    if values.get("forced_down") is False:
        membership.compare_soon(connection, service.host)  # deletes went on without it


async def update_by_word(cloud: Deployment, call: Call) -> Reply:
    """``enable``, ``disable``, ``disable-log-reason`` and, from 2.11, ``force-down``."""
    word, body = call.params["id"], call.body
    echo: dict[str, Any] = {"host": body["host"], "binary": body["binary"]}
    reason = body.get("disabled_reason")
    if word == "enable":
        values: dict[str, Any] = {"disabled": False, "disabled_reason": None}
        echo["status"] = "enabled"
    elif word == "disable":
        values = {"disabled": True, "disabled_reason": None}
        echo["status"] = "disabled"
    elif word == "disable-log-reason":
        if reason is None:
            raise Invalid("Missing disabled reason field")
        values = {"disabled": True, "disabled_reason": reason}
        echo |= {"status": "disabled", "disabled_reason": reason}
    elif word == "force-down" and call.version >= 11:
        if "forced_down" not in body:
            raise Invalid("Missing forced_down field")
        values = {"forced_down": as_bool(body["forced_down"])}
        echo |= values
    else:
        raise NotFound("Unknown action")
    await cloud.database.run(_change_named, body["binary"], body["host"], values)
    return Reply(200, {"service": echo})


def _change_named(connection: Connection, binary: str, host: str, values: dict[str, Any]) -> None:
    service = membership.find_service(connection, binary, host)
    if service is None:
        raise NotFound(f"Could not find binary {binary} on host {host}.")
    _update(connection, service, values)


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Forget a service, with the host of a nova-compute; refused while servers are there."""
    service_id = call.params["id"]
    by_uuid = call.version >= _UUIDS_SINCE
    if by_uuid and not is_uuid(service_id):
        raise Invalid(f"Invalid uuid {service_id[:64]}")
    if not by_uuid and not service_id.isdecimal():
        raise Invalid(f"Invalid input: {service_id[:64]} is not the number of a service.")
    await cloud.database.run(_forget, service_id, by_uuid)
    return Reply(204)


def _forget(connection: Connection, service_id: str, by_uuid: bool) -> None:
    if by_uuid:
        service = membership.get_service(connection, service_id)
    else:
        numbered = [found for found in membership.list_services(connection) if str(found.id) == service_id]
        if not numbered:
            raise NotFound(f"Service {service_id} not found.")
        service = numbered[0]
    if service.binary == _COMPUTE:
        ledger.hold(connection, [service.host])  # who claims something of it waits, and does not find it afterwards
    if service.binary == _COMPUTE and host_servers.in_use(connection, service.host):
        raise Conflict("Unable to delete compute service that is hosting instances. Migrate or delete them first.")
    membership.delete_service(connection, service.id)


def _view(cloud: Deployment, call: Call, service: Service) -> dict[str, Any]:
    up = service.up(call.started_at, cloud.config.membership.down_after)
    view: dict[str, Any] = {
        "id": service.uuid if call.version >= _UUIDS_SINCE else service.id,
        "binary": service.binary,
        "host": service.host,
        "zone": service.zone if service.binary == _COMPUTE else CONTROL_ZONE,
        "status": "disabled" if service.disabled else "enabled",
        "disabled_reason": service.disabled_reason,
        "state": "up" if up else "down",
        "updated_at": iso_micros(service.last_seen_at),
    }
    if call.version >= 11:
        view["forced_down"] = service.forced_down
    return view


_REASON: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\x00]*$"}
_NAMED: dict[str, Schema] = {
    "host": HOSTNAME,
    "binary": {"type": "string", "minLength": 1, "maxLength": 255},
    "disabled_reason": _REASON,
}
_BY_WORD = (
    Versioned(document(["host", "binary"], _NAMED), 0, 10),
    Versioned(document(["host", "binary"], _NAMED | {"forced_down": BOOLEAN}), 11, 52),
)
_STATUS: Schema = {"type": "string", "enum": ["enabled", "disabled"]}
_BY_UUID = (
    Versioned(document([], {"status": _STATUS, "disabled_reason": _REASON, "forced_down": BOOLEAN}), _UUIDS_SINCE),
)
_RULE = "os_compute_api:os-services"

ROUTES = [
    Route(
        method="GET",
        path="/os-services",
        handler=index,
        rule=f"{_RULE}:list",
        role="admin",
        query=queries(75, {"host": TEXT, "binary": TEXT}),
        summary="List services",
    ),
    Route(
        method="PUT",
        path="/os-services/{id}",
        handler=update_by_word,
        rule=f"{_RULE}:update",
        role="admin",
        until=_UUIDS_SINCE - 1,
        body=_BY_WORD,
        summary="Change a service by a word",
    ),
    Route(
        method="PUT",
        path="/os-services/{id}",
        handler=update,
        rule=f"{_RULE}:update",
        role="admin",
        since=_UUIDS_SINCE,
        body=_BY_UUID,
        summary="Change a service",
    ),
    Route(
        method="DELETE",
        path="/os-services/{id}",
        handler=delete,
        rule=f"{_RULE}:delete",
        role="admin",
        summary="Forget a service",
    ),
]
