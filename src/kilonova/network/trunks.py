"""Trunks. Reference: Networking API v2.0, "Trunk networking". They are records: checked and kept, but no packet follows them yet.

A trunk lets one card of a server carry several networks: its parent port is the card, each subport a network on it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.database import trunks as held
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict
from kilonova.model.network import Network, Port, Trunk
from kilonova.network import trunk_ports
from kilonova.network.port_views import PORTS
from kilonova.network.resource import Resource, View, owner_of, written
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.trunk_ports import read_tag
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z

_PLAIN = ("name", "description", "admin_state_up")


def _views(connection: Connection, found: Sequence[Trunk], admin: bool) -> list[View]:
    ids = [trunk.id for trunk in found]
    carried, tags = held.subports_of(connection, ids), queries.tags_of(connection, ids)
    asked = queries.Question(filters={"id": [trunk.port_id for trunk in found]}, limit=100_000)
    parents = {port.id: port for port in queries.find(connection, Port, asked)} if found else {}
    return [_view(trunk, parents.get(trunk.port_id), carried[trunk.id], tags[trunk.id]) for trunk in found]


def _view(trunk: Trunk, parent: Port | None, carried: list[dict[str, object]], tags: list[str]) -> View:
    """Without its parent it is one that was deleted, port and all, since it was read."""
    return {
        "id": trunk.id,
        "name": trunk.name,
        "tenant_id": trunk.project_id,
        "project_id": trunk.project_id,
        "port_id": trunk.port_id,
        "admin_state_up": trunk.admin_state_up,
        "status": "ACTIVE" if parent is not None and parent.binding else "DOWN",
        "sub_ports": carried,
        "description": trunk.description,
        "tags": tags,
        "revision_number": trunk.revision,
        "created_at": iso_z(trunk.created_at),
        "updated_at": iso_z(trunk.updated_at),
    }


TRUNKS = Resource(kind=Trunk, name="trunk", title="Trunk", missing="TrunkNotFound", views=_views)


async def create_trunk(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/trunks``"""
    body = written(call, "trunk")
    now = networks.clock.now()
    trunk = Trunk(
        id=networks.ids.uuid(),
        project_id=owner_of(call, body),
        name=body.get("name", ""),
        description=body.get("description", ""),
        port_id=body["port_id"],
        admin_state_up=body.get("admin_state_up", True),
        created_at=now,
        updated_at=now,
    )
    view = await networks.database.run(_create, call.caller, trunk, _wanted(body.get("sub_ports") or []))
    return Reply(201, {"trunk": view})


def _wanted(entries: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """Ports and their numbers."""
    return [(entry["port_id"], read_tag(entry["segmentation_id"])) for entry in entries]


def _create(connection: Connection, caller: Caller, trunk: Trunk, wanted: list[tuple[str, int]]) -> View:
    ports = _locked(connection, caller, [trunk.port_id, *(port_id for port_id, _ in wanted)])
    parent = ports[trunk.port_id]
    trunk_ports.refuse_carried(connection, parent)
    if parent.binding or parent.device_id:
        raise Conflict(f"Port {parent.id} is in use by {parent.device_id}.", name="ParentPortInUse")
    queries.insert(connection, trunk)
    for port_id, tag in wanted:
        trunk_ports.put_under(connection, trunk, parent, PORTS.owned(connection, caller, port_id), tag)
    return TRUNKS.view(connection, caller, trunk)


def _locked(connection: Connection, caller: Caller, port_ids: Iterable[str]) -> dict[str, Port]:
    """The caller's own ports, which nobody else binds now; their networks are locked in the one order."""
    ports = [PORTS.visible(connection, caller, port_id) for port_id in dict.fromkeys(port_ids)]
    for network_id in sorted({port.network_id for port in ports}):
        queries.get(connection, Network, network_id, lock=True)
    return {port.id: PORTS.owned(connection, caller, port.id) for port in ports}


async def update_trunk(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/trunks/{id}``"""
    body = written(call, "trunk")
    view = await networks.database.run(_update, call.caller, call.params["id"], body, networks.clock.now())
    return Reply(200, {"trunk": view})


def _update(connection: Connection, caller: Caller, trunk_id: str, body: dict[str, Any], now: int) -> View:
    trunk = TRUNKS.owned(connection, caller, trunk_id)
    changes = {name: body[name] for name in _PLAIN if name in body}
    return TRUNKS.view(connection, caller, queries.revise(connection, trunk, changes, now))


async def delete_trunk(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/trunks/{id}``"""
    await networks.database.run(_delete, call.caller, call.params["id"])
    return Reply(204)


def _delete(connection: Connection, caller: Caller, trunk_id: str) -> None:
    trunk, parent = _open(connection, caller, trunk_id)
    if parent.binding:
        raise Conflict(f"Trunk {trunk.id} is in use by server {parent.device_id}.", name="TrunkInUse")
    for entry in held.subports_of(connection, [trunk.id])[trunk.id]:
        trunk_ports.take_from(connection, trunk, str(entry["port_id"]))
    queries.remove(connection, Trunk, trunk.id)


def _open(connection: Connection, caller: Caller, trunk_id: str, more: Iterable[str] = ()) -> tuple[Trunk, Port]:
    """A trunk of the caller's and its parent port, which nobody else changes now, nor the ports of ``more``."""
    known = TRUNKS.visible(connection, caller, trunk_id)
    ports = _locked(connection, caller, [known.port_id, *more])
    return TRUNKS.owned(connection, caller, trunk_id), ports[known.port_id]


# --- subports ----------------------------------------------------------------------------------------------


async def get_subports(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/trunks/{id}/get_subports``"""
    return Reply(200, {"sub_ports": await networks.database.run(_carried, call.caller, call.params["id"])})


def _carried(connection: Connection, caller: Caller, trunk_id: str) -> list[dict[str, object]]:
    trunk = TRUNKS.visible(connection, caller, trunk_id)
    return held.subports_of(connection, [trunk.id])[trunk.id]


async def add_subports(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/trunks/{id}/add_subports``; the trunk, without its name around it."""
    wanted = _wanted(call.body["sub_ports"])
    view = await networks.database.run(_add, call.caller, call.params["id"], wanted, networks.clock.now())
    return Reply(200, view)


def _add(connection: Connection, caller: Caller, trunk_id: str, wanted: list[tuple[str, int]], now: int) -> View:
    trunk, parent = _open(connection, caller, trunk_id, [port_id for port_id, _ in wanted])
    _require_up(trunk)
    for port_id, tag in wanted:
        trunk_ports.put_under(connection, trunk, parent, PORTS.owned(connection, caller, port_id), tag)
    return TRUNKS.view(connection, caller, queries.touch(connection, trunk, now) if wanted else trunk)


async def remove_subports(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/trunks/{id}/remove_subports``; the trunk, without its name around it."""
    ports = [entry["port_id"] for entry in call.body["sub_ports"]]
    view = await networks.database.run(_remove, call.caller, call.params["id"], ports, networks.clock.now())
    return Reply(200, view)


def _remove(connection: Connection, caller: Caller, trunk_id: str, port_ids: list[str], now: int) -> View:
    trunk, _ = _open(connection, caller, trunk_id)
    _require_up(trunk)
    for port_id in port_ids:
        trunk_ports.take_from(connection, trunk, port_id)
    return TRUNKS.view(connection, caller, queries.touch(connection, trunk, now) if port_ids else trunk)


def _require_up(trunk: Trunk) -> None:
    if not trunk.admin_state_up:
        raise Conflict(f"Trunk {trunk.id} is disabled: its admin_state_up is False.", name="TrunkDisabled")
