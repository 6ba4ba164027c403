"""Servers: create, list, show, update, delete."""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute import boot, deferred_delete, server_schemas, server_views
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_address
from kilonova.api.compute.links import resource_links
from kilonova.api.compute.server_filters import read_listing
from kilonova.api.compute.submission import find, received, send
from kilonova.api.paging import links
from kilonova.database import admission, ledger, membership, server_groups, servers, user_quotas
from kilonova.database.outgoing import Outgoing, quota_of, schedule_request
from kilonova.messaging.contract import SCHEDULER
from kilonova.model.errors import Conflict
from kilonova.model.placement import group_hint
from kilonova.model.server import Server
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def create(cloud: Deployment, call: Call) -> Reply:
    """``POST /servers``: one transaction writes the servers, their actions and the quota; then they are sent on."""
    asked = await boot.read(cloud, call)
    now = cloud.clock.now()
    server_rows, action_rows = await _admit(cloud, call, asked, now)
    for server_row, action in zip(server_rows, action_rows, strict=True):
        await _send(cloud, call, server_row, action, asked.password)
    first = server_rows[0]
    if str(asked.body.get("return_reservation_id", "")).lower() in ("true", "1", "on", "yes"):
        return Reply(202, {"reservation_id": first["reservation_id"]})
    view = {
        "id": first["id"],
        "links": resource_links(call, "servers", first["id"]),
        "OS-DCF:diskConfig": first["disk_config"],
        "security_groups": [{"name": name} for name in asked.groups],
        "adminPass": asked.password,
    }
    return Reply(202, {"server": view}, {"location": view["links"][0]["href"]})


async def _admit(
    cloud: Deployment, call: Call, asked: boot.Boot, now: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """As many as the quota allows between ``min_count`` and ``max_count``; fewer is ``QuotaExceeded``."""
    flavor, defaults = msgspec.to_builtins(asked.flavor), cloud.config.quota.model_dump()
    if asked.count > asked.smallest:
        room = await cloud.database.run(ledger.room, call.project_id, quota_of(flavor), defaults)
        if room is not None:
            asked = msgspec.structs.replace(asked, count=max(min(asked.count, room), asked.smallest))
    server_rows, action_rows = boot.rows(cloud, call, asked, now)
    await cloud.database.run(
        _create,
        group_hint(asked.hints),
        server_rows=server_rows,
        action_rows=action_rows,
        quota=quota_of(flavor, asked.count),
        quota_defaults=defaults,
        events={row["id"]: [received(cloud, call)] for row in action_rows},
    )
    return server_rows, action_rows


def _create(connection: Connection, /, group_id: str | None, **request: Any) -> None:
    """Servers are in their group, and counted against their user's own limits, as soon as they are there."""
    admission.create(connection, **request)
    rows = request["server_rows"]
    user_quotas.check(connection, rows[0]["project_id"], rows[0]["user_id"])
    if group_id is not None:
        ids = [row["id"] for row in rows]
        server_groups.join(connection, group_id, ids, rows[0]["project_id"], request["quota_defaults"])


async def _send(
    cloud: Deployment, call: Call, server_row: dict[str, Any], action: dict[str, Any], password: str
) -> None:
    server = Server(**{**_EMPTY, **server_row})
    request = schedule_request(action["id"], 0, server, [])
    # The password is written down nowhere: only this first message carries it.
    message = msgspec.structs.replace(request, guest=msgspec.structs.replace(request.guest, admin_password=password))
    await send(cloud, Outgoing(queue=SCHEDULER, message=message, context=call.context))


_EMPTY: dict[str, Any] = {field.name: None for field in msgspec.structs.fields(Server)}


async def index(cloud: Deployment, call: Call) -> Reply:
    """``GET /servers``."""
    asked = read_listing(call, cloud.config.api.max_limit, "os_compute_api:servers:index:get_all_tenants")
    if asked is None:
        return Reply(200, {"servers": []})
    found = await cloud.database.run(servers.names, asked)
    entries = [server_views.brief(call, server_id, name) for server_id, name in found]
    return Reply(200, {"servers": entries, **_links(call, entries, asked)})


async def detail(cloud: Deployment, call: Call) -> Reply:
    """``GET /servers/detail``."""
    asked = read_listing(call, cloud.config.api.max_limit, "os_compute_api:servers:detail:get_all_tenants")
    if asked is None:
        return Reply(200, {"servers": []})
    found, up = await cloud.database.run(_read, cloud, call, asked)
    viewer = server_views.Viewer(call)
    entries = [viewer.full(server, host_up=server.host in up) for server in found]
    return Reply(200, {"servers": entries, **_links(call, entries, asked)})


def _links(call: Call, entries: list[dict[str, Any]], asked: servers.Listing) -> dict[str, Any]:
    return links(call, "servers", entries, asked.limit, entries[-1]["id"] if entries else None)


def _read(
    connection: Connection, cloud: Deployment, call: Call, asked: servers.Listing
) -> tuple[list[Server], set[str]]:
    found = servers.listing(connection, asked)
    if not server_views.shows_host_status(call):
        return found, set()  # nobody looks
    hosts = {server.host for server in found if server.host is not None}
    now, down_after = cloud.clock.now(), cloud.config.membership.down_after
    return found, {host for host in sorted(hosts) if membership.compute_up(connection, host, now, down_after)}


async def show(cloud: Deployment, call: Call) -> Reply:
    """``GET /servers/{id}``."""
    server, up, groups = await cloud.database.run(_one, cloud, call)
    return Reply(200, {"server": server_views.Viewer(call).full(server, host_up=up, groups=groups)})


def _one(connection: Connection, cloud: Deployment, call: Call) -> tuple[Server, bool, list[str]]:
    server = find(connection, call, call.params["id"])
    groups = server_groups.of_server(connection, server.id) if call.version >= server_views.GROUPS_SINCE else []
    return server, _host_up(connection, cloud, call, server), groups


def _host_up(connection: Connection, cloud: Deployment, call: Call, server: Server) -> bool:
    if not server_views.shows_host_status(call):
        return False  # nobody looks
    return membership.compute_up(connection, server.host, cloud.clock.now(), cloud.config.membership.down_after)


async def update(cloud: Deployment, call: Call) -> Reply:
    """``PUT /servers/{id}``: what needs no hypervisor."""
    server, up, groups = await cloud.database.run(_update, cloud, call)
    return Reply(200, {"server": server_views.updated(call, server, host_up=up, groups=groups)})


_UPDATABLE = {
    "name": "name",
    "description": "description",
    "accessIPv4": "access_ip_v4",
    "accessIPv6": "access_ip_v6",
    "OS-DCF:diskConfig": "disk_config",
    "hostname": "hostname",
}
_ADDRESSES = frozenset({"access_ip_v4", "access_ip_v6"})


def _update(connection: Connection, cloud: Deployment, call: Call) -> tuple[Server, bool, list[str]]:
    server = find(connection, call, call.params["id"])
    body: dict[str, Any] = call.body["server"]
    values = {column: body[key] for key, column in _UPDATABLE.items() if key in body}
    if "pinned_availability_zone" in body:
        _check_pin(server, body["pinned_availability_zone"])
        values["requested_zone"] = body["pinned_availability_zone"]
    values |= {column: as_address(values[column]) for column in _ADDRESSES & values.keys()}
    if values:
        servers.update(connection, server.id, **values, updated_at=cloud.clock.now())
    return _one(connection, cloud, call)


def _check_pin(server: Server, zone: str | None) -> None:
    """A server is let go from any zone, and pinned to none but the one it is in: 409 else."""
    if zone is None or zone == server.requested_zone:
        return
    if server.requested_zone is not None:
        raise Conflict(
            "Cannot change pinned availability zone directly. Unpin first by setting pinned_availability_zone to null."
        )
    if zone != server.availability_zone:
        raise Conflict(
            f"Server can only be pinned to its current availability zone '{server.availability_zone}', "
            f"but '{zone}' was requested."
        )


async def delete(cloud: Deployment, call: Call) -> Reply:
    """``DELETE /servers/{id}``: never refused because something else is broken; ends whatever else runs."""
    await deferred_delete.delete(cloud, call)
    return Reply(204)


ROUTES = [
    Route(
        method="GET",
        path="/servers",
        handler=index,
        rule="os_compute_api:servers:index",
        role="reader",
        query=server_schemas.LIST,
        summary="List servers: id, name, links",
    ),
    Route(
        method="POST",
        path="/servers",
        handler=create,
        rule="os_compute_api:servers:create",
        role="member",
        body=server_schemas.CREATE,
        summary="Create one or several servers",
    ),
    Route(
        method="GET",
        path="/servers/detail",
        handler=detail,
        rule="os_compute_api:servers:detail",
        role="reader",
        query=server_schemas.LIST,
        summary="List servers with all their details",
    ),
    Route(
        method="GET",
        path="/servers/{id}",
        handler=show,
        rule="os_compute_api:servers:show",
        role="reader",
        summary="Show one server",
    ),
    Route(
        method="PUT",
        path="/servers/{id}",
        handler=update,
        rule="os_compute_api:servers:update",
        role="member",
        body=server_schemas.UPDATE,
        summary="Change name, description, access addresses, hostname, pinned zone",
    ),
    Route(
        method="DELETE",
        path="/servers/{id}",
        handler=delete,
        rule="os_compute_api:servers:delete",
        role="member",
        summary="Delete a server",
    ),
]
