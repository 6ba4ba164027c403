"""Interfaces of servers: listed, attached, detached. Attaching answers with the interface; the host plugs it in afterwards."""

from functools import partial
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.submission import (
    admit,
    find,
    first_message,
    refuse_locked,
    send,
    submit,
)
from kilonova.database import port_groups, servers
from kilonova.database.outgoing import Outgoing
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.guest import Nic
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE
from kilonova.model.server import Server
from kilonova.network.protocol import RequestedNic
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, Versioned

_QUERY = (
    Versioned({"type": "object"}, since=1, until=101),
    Versioned({"type": "object", "properties": {}, "additionalProperties": False}, since=102),
)


def _create_schema(*, tag: bool) -> Schema:
    address: Schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
    fixed_ip: Schema = {
        "type": "object",
        "properties": {"ip_address": address},
        "required": ["ip_address"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        "net_id": {"type": "string", "format": "uuid"},
        "port_id": {"type": "string", "format": "uuid"},
        "fixed_ips": {"type": "array", "items": fixed_ip, "minItems": 1, "maxItems": 1},
    }
    if tag:
        properties["tag"] = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
    attachment: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "object", "properties": {"interfaceAttachment": attachment}, "additionalProperties": False}


_CREATE = (
    Versioned(_create_schema(tag=False), since=1, until=48),
    Versioned(_create_schema(tag=True), since=49),
)


def _view(call: Call, port: dict[str, Any], tag: str | None) -> dict[str, Any]:
    view = {
        "net_id": port["network_id"],
        "port_id": port["id"],
        "mac_addr": port["mac_address"],
        "port_state": port["status"],
        "fixed_ips": port["fixed_ips"],
    }
    return {**view, "tag": tag} if call.version >= 70 else view


def _tags(server: Server) -> dict[str, str | None]:
    return {nic["port_id"]: nic.get("tag") for nic in server.addresses}


async def index(cloud: Deployment, call: Call) -> Reply:
    """``GET /servers/{server_id}/os-interface``."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    tags = _tags(server)
    views = [_view(call, port, tags.get(port["id"])) for port in await cloud.networks.ports_of(server.id)]
    return Reply(200, {"interfaceAttachments": views})


async def show(cloud: Deployment, call: Call) -> Reply:
    """``GET /servers/{server_id}/os-interface/{id}``."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    return await _shown(cloud, call, server, call.params["id"])


async def _shown(cloud: Deployment, call: Call, server: Server, port_id: str) -> Reply:
    for port in await cloud.networks.ports_of(server.id):
        if port["id"] == port_id:
            return Reply(200, {"interfaceAttachment": _view(call, port, _tags(server).get(port_id))})
    raise NotFound(f"Instance {server.id} does not have a port with id {port_id[:64]}")


async def create(cloud: Deployment, call: Call) -> Reply:
    """``POST /servers/{server_id}/os-interface``: the port is the server's with this answer."""
    body: dict[str, Any] = (call.body or {}).get("interfaceAttachment", {})
    wanted = _read(body)
    if wanted.network_id is None and wanted.port_id is None:
        wanted = msgspec.structs.replace(wanted, network_id=await _default_network(cloud, call))
    port_id = wanted.port_id or cloud.ids.uuid()
    server, outgoing = await cloud.networks.attach(
        wanted,
        port_id,
        external=call.caller.is_admin,
        admit=partial(_admit, cloud=cloud, call=call, port_id=port_id),
        confirm=partial(_confirm, call=call, tag=wanted.tag),
    )
    await send(cloud, outgoing)
    return await _shown(cloud, call, server, port_id)


def _read(body: dict[str, Any]) -> RequestedNic:
    network_id, port_id = body.get("net_id"), body.get("port_id")
    addresses = body.get("fixed_ips") or [{}]
    if network_id and port_id:
        raise Invalid("Must not input both network_id and port_id")
    if addresses[0] and not network_id:
        raise Invalid("Must input network_id when request IP address")
    return RequestedNic(
        network_id=network_id, port_id=port_id, fixed_ip=addresses[0].get("ip_address"), tag=body.get("tag")
    )


async def _default_network(cloud: Deployment, call: Call) -> str | None:
    try:
        return (await cloud.networks.default_networks(call.caller))[0].network_id
    except Conflict as several:
        raise Invalid(several.message) from None


def _admit(connection: Connection, *, cloud: Deployment, call: Call, port_id: str) -> Server:
    """The action is written down and holds the server. Raises ``NotFound`` or ``Conflict``."""
    server = find(connection, call, call.params["server_id"])
    refuse_locked(call, server)
    admit(connection, cloud, call, server, ATTACH_INTERFACE, None, {"port_id": port_id}, {})
    # As it is now that its row is held: its other ports may have changed since.
    return find(connection, call, server.id)


def _confirm(
    connection: Connection, server: Server, nic: Nic, *, call: Call, tag: str | None
) -> tuple[Server, Outgoing]:
    """The server has the card, whatever becomes of its hot-plug; then the host is asked for that."""
    asked = msgspec.to_builtins(RequestedNic(port_id=nic.port_id, tag=tag, slot=nic.slot))
    servers.update(
        connection,
        server.id,
        addresses=[*server.addresses, msgspec.to_builtins(nic)],
        networks=[*server.networks, asked],
        security_groups=port_groups.names_of(connection, server.id),
    )
    changed = servers.find(connection, server.id)
    assert changed is not None
    return changed, first_message(connection, changed, call)


async def delete(cloud: Deployment, call: Call) -> Reply:
    """``DELETE /servers/{server_id}/os-interface/{id}``: the host pulls the card, then the port is given back."""
    server = await cloud.database.run(find, call, call.params["server_id"])
    port_id = call.params["id"]
    if port_id not in [port["id"] for port in await cloud.networks.ports_of(server.id)]:
        raise NotFound(f"Port id {port_id[:64]} could not be found.")
    await submit(cloud, call, server.id, DETACH_INTERFACE, None, {"port_id": port_id})
    return Reply(202)


def _route(method: str, tail: str, handler: Any, name: str, role: str, summary: str, **schemas: Any) -> Route:
    return Route(
        method=method,
        path=f"/servers/{{server_id}}/os-interface{tail}",
        handler=handler,
        rule=f"os_compute_api:os-attach-interfaces:{name}",
        role=role,
        summary=summary,
        **schemas,
    )


ROUTES = [
    _route("GET", "", index, "list", "reader", "The ports of a server", query=_QUERY),
    _route("POST", "", create, "create", "member", "Attach a port, or a new one of a network", body=_CREATE),
    _route("GET", "/{id}", show, "show", "reader", "One port of a server", query=_QUERY),
    _route("DELETE", "/{id}", delete, "delete", "member", "Detach a port"),
]
