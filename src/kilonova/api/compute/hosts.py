"""Hosts as they were seen up to 2.42: who serves where, what a compute host has and who uses it.

Nobody here can turn a machine on or off, so those operations answer as Nova does over a driver that cannot.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import query_object
from kilonova.api.compute.services import CONTROL_ZONE
from kilonova.database import host_servers, membership
from kilonova.model.errors import Invalid, NotFound, Unsupported
from kilonova.model.host import Service
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import TEXT, Schema, always

_COMPUTE = "nova-compute"
_UNTIL = 42
_NO_SERVERS = {"nova-api", "nova-osapi_compute", "nova-metadata"}  # what answers clients is no host of this list


async def index(cloud: Deployment, call: Call) -> Reply:
    """Every service that is switched on, by its host; those of one zone, if it is named.

    Hosts of servers come first: clients take the first of the list for one.
    """
    wanted = call.first("zone")
    found = []
    services = await cloud.database.run(membership.list_services)
    for service in sorted(services, key=lambda service: service.binary != _COMPUTE):
        zone = service.zone if service.binary == _COMPUTE else CONTROL_ZONE
        if service.disabled or service.binary in _NO_SERVERS or (wanted and wanted != zone):
            continue
        found.append({"host_name": service.host, "service": service.binary.removeprefix("nova-"), "zone": zone})
    return Reply(200, {"hosts": found})


async def show(cloud: Deployment, call: Call) -> Reply:
    """What a compute host has, what is claimed of it, what its servers would take at most, and whose they are."""
    return Reply(200, {"host": await cloud.database.run(_resources, call.params["id"])})


def _resources(connection: Connection, name: str) -> list[dict[str, Any]]:
    host = membership.find_host(connection, name)
    if host is None:
        raise NotFound(f"Compute host {name[:255]} could not be found.")
    by_project: dict[str, list[int]] = {}
    for project_id, flavor in host_servers.flavors_on(connection, name):
        taken = (flavor["vcpus"], flavor["memory_mb"], flavor["disk_gb"] + flavor.get("ephemeral_gb", 0))
        before = by_project.setdefault(project_id, [0, 0, 0])
        by_project[project_id] = [one + more for one, more in zip(before, taken, strict=True)]
    most = [sum(column) for column in zip(*by_project.values(), strict=True)] or [0, 0, 0]
    rows: list[tuple[str, list[int]]] = [
        ("(total)", [host.vcpus_shared, host.memory_mb, host.disk_gb]),
        ("(used_now)", [host.vcpus_used, host.memory_mb_used, host.disk_gb_used]),
        ("(used_max)", most),
        *sorted(by_project.items()),
    ]
    return [
        {"resource": {"host": name, "project": project, "cpu": cpu, "memory_mb": memory, "disk_gb": disk}}
        for project, (cpu, memory, disk) in rows
    ]


async def update(cloud: Deployment, call: Call) -> Reply:
    """Switch a compute host on or off for new servers. There is no maintenance mode."""
    name = call.params["id"]
    enabled = call.body["status"].lower() == "enable" if "status" in call.body else None
    await cloud.database.run(_switch, cloud, name, enabled, "maintenance_mode" in call.body)
    return Reply(200, {"host": name, "status": "enabled" if enabled else "disabled"})


def _switch(connection: Connection, cloud: Deployment, name: str, enabled: bool | None, maintenance: bool) -> None:
    service = _reachable(connection, cloud, name)
    if maintenance:
        raise Unsupported("Feature not supported: hosts have no maintenance mode.")
    membership.update_service(connection, service.id, disabled=not enabled, disabled_reason=None)


def _reachable(connection: Connection, cloud: Deployment, name: str) -> Service:
    """The host's nova-compute. Raises ``NotFound``, or ``Invalid`` if it is down."""
    service = membership.find_service(connection, _COMPUTE, name)
    if service is None:
        raise NotFound(f"Compute host {name[:255]} could not be found.")
    if not service.up(cloud.clock.now(), cloud.config.membership.down_after):
        raise Invalid(f"Compute service of {name[:255]} is unavailable at this time.")
    return service


async def power(cloud: Deployment, call: Call) -> Reply:
    """Start, stop or restart the machine: 501, once it is clear that it is one."""
    await cloud.database.run(_reachable, cloud, call.params["id"])
    raise Unsupported("Feature not supported: nobody here can turn a host's machine on or off.")


_WORD: Schema = {"type": "string", "enum": ["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"]}
_UPDATE: Schema = {
    "type": "object",
    "properties": {"status": _WORD, "maintenance_mode": _WORD},
    "additionalProperties": False,
    "minProperties": 1,
}
_RULE = "os_compute_api:os-hosts"
_PATH = "/os-hosts"


def _route(method: str, path: str, name: str, handler: Callable[..., Any], summary: str, **rest: Any) -> Route:
    return Route(
        method=method,
        path=f"{_PATH}{path}",
        handler=handler,
        rule=f"{_RULE}:{name}",
        role="admin",
        until=_UNTIL,
        summary=summary,
        **rest,
    )


ROUTES = [
    _route("GET", "", "list", index, "List hosts", query=always(query_object({"zone": TEXT}))),
    _route("GET", "/{id}", "show", show, "Show a compute host's resources"),
    _route("PUT", "/{id}", "update", update, "Switch a compute host on or off", body=always(_UPDATE)),
    _route("GET", "/{id}/startup", "start", power, "Start a host's machine"),
    _route("GET", "/{id}/shutdown", "shutdown", power, "Shut a host's machine down"),
    _route("GET", "/{id}/reboot", "reboot", power, "Restart a host's machine"),
]
