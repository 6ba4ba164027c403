"""Hypervisors: the compute hosts as administrators see them. All of it is read from what the hosts reported."""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.hypervisor_views import UUIDS_SINCE, Hypervisor, amounts, detail, summary, uptime
from kilonova.api.compute.inputs import HOSTNAME, QUERY_BOOLEAN, as_bool, query_object
from kilonova.api.paging import links, page
from kilonova.database import host_servers, membership
from kilonova.model.errors import Invalid, NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned, is_uuid

_PAGES_SINCE = 33


async def index(cloud: Deployment, call: Call) -> Reply:
    """Names and states."""
    found, more = await _page(cloud, call)
    return Reply(200, {"hypervisors": [summary(one, *_terms(cloud, call)) for one in found], **more})


async def index_detail(cloud: Deployment, call: Call) -> Reply:
    """The same in full."""
    found, more = await _page(cloud, call)
    return Reply(200, {"hypervisors": [detail(one, *_terms(cloud, call)) for one in found], **more})


def _terms(cloud: Deployment, call: Call) -> tuple[int, int, float]:
    return call.version, call.started_at, cloud.config.membership.down_after


async def _page(cloud: Deployment, call: Call) -> tuple[list[Hypervisor], dict[str, Any]]:
    found = await cloud.database.run(_all)
    if call.version < _PAGES_SINCE:
        return found, {}
    pattern = call.first("hypervisor_hostname_pattern") if call.version >= UUIDS_SINCE else None
    limit, marker = page(call, cloud.config.api.max_limit)
    if pattern is not None:
        if marker is not None or call.first("limit") is not None:
            raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern parameter is not supported.")
        found, more = _matching(found, pattern), {}
    else:
        found = _behind(found, marker, call.version)[:limit]
        more = links(call, "hypervisors", found, limit, _id(found[-1], call.version) if found else None)
    if _with_servers(call):
        found = await cloud.database.run(_fill, found)
    return found, more


def _with_servers(call: Call) -> bool:
    return call.version >= UUIDS_SINCE and as_bool(call.first("with_servers"))


def _id(found: Hypervisor, version: int) -> str:
    return found.host.uuid if version >= UUIDS_SINCE else str(found.host.id)


def _behind(found: list[Hypervisor], marker: str | None, version: int) -> list[Hypervisor]:
    if marker is None:
        return found
    for position, one in enumerate(found):
        if _id(one, version) == marker:
            return found[position + 1 :]
    raise Invalid(f"marker [{marker}] not found")


def _matching(found: list[Hypervisor], pattern: str) -> list[Hypervisor]:
    matching = [one for one in found if pattern in one.host.host]
    if not matching:
        raise NotFound(f"No hypervisor matching '{pattern[:255]}' could be found.")
    return matching


def _all(connection: Connection) -> list[Hypervisor]:
    """Every host whose nova-compute we know; one without is on its way in or out."""
    services = {s.host: s for s in membership.list_services(connection) if s.binary == "nova-compute"}
    busy = host_servers.busy_by_host(connection)
    return [
        Hypervisor(host=host, service=services[host.host], busy=busy.get(host.host, 0))
        for host in membership.list_hosts(connection)
        if host.host in services
    ]


def _fill(connection: Connection, found: list[Hypervisor]) -> list[Hypervisor]:
    names = host_servers.names_by_host(connection, [one.host.host for one in found])
    return [msgspec.structs.replace(one, servers=names.get(one.host.host, [])) for one in found]


async def show(cloud: Deployment, call: Call) -> Reply:
    """One of them."""
    found = await _one(cloud, call)
    if _with_servers(call):
        (found,) = await cloud.database.run(_fill, [found])
    return Reply(200, {"hypervisor": detail(found, *_terms(cloud, call))})


async def _one(cloud: Deployment, call: Call) -> Hypervisor:
    wanted = call.params["id"]
    if call.version >= UUIDS_SINCE and not is_uuid(wanted):
        raise Invalid(f"Invalid uuid {wanted[:64]}")
    for one in await cloud.database.run(_all):
        if _id(one, call.version) == wanted:
            return one
    raise NotFound(f"Hypervisor with ID '{wanted[:64]}' could not be found.")


async def show_uptime(cloud: Deployment, call: Call) -> Reply:
    """How long it has been up; of a host that is down nobody knows."""
    found = await _one(cloud, call)
    version, now, down_after = _terms(cloud, call)
    text = uptime(found.service, now, down_after)
    if text is None:
        raise Invalid(f"Service is unavailable at this time: nova-compute on {found.host.host} is down.")
    return Reply(200, {"hypervisor": summary(found, version, now, down_after) | {"uptime": text}})


async def statistics(cloud: Deployment, call: Call) -> Reply:
    """Sums over all hosts that are not switched off."""
    found = [one for one in await cloud.database.run(_all) if not one.service.disabled]
    totals = {"count": len(found), **dict.fromkeys(_AMOUNTS, 0)}
    for one in found:
        for name, amount in amounts(one).items():
            totals[name] += amount
    return Reply(200, {"hypervisor_statistics": totals})


async def search(cloud: Deployment, call: Call) -> Reply:
    """Hosts whose name contains a text."""
    found = _matching(await cloud.database.run(_all), call.params["id"])
    return Reply(200, {"hypervisors": [summary(one, *_terms(cloud, call)) for one in found]})


async def search_servers(cloud: Deployment, call: Call) -> Reply:
    """The same, with the servers on them."""
    found = _matching(await cloud.database.run(_all), call.params["id"])
    found = await cloud.database.run(_fill, found)
    return Reply(200, {"hypervisors": [summary(one, *_terms(cloud, call)) for one in found]})


_AMOUNTS = (
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "disk_available_least",
    "running_vms",
    "current_workload",
)
_PAGE: dict[str, Schema] = {"limit": NON_NEGATIVE, "marker": TEXT}
_SERVERS: dict[str, Schema] = {"with_servers": QUERY_BOOLEAN}
_LIST = (
    Versioned(query_object(_PAGE), 33, 52),
    Versioned(query_object(_PAGE | _SERVERS | {"hypervisor_hostname_pattern": HOSTNAME}, strict=True), 53),
)
_SHOW = (Versioned(query_object(_SERVERS, strict=True), 53),)
_RULE = "os_compute_api:os-hypervisors"


def _route(name: str, path: str, **rest: Any) -> Route:
    return Route(method="GET", path=f"/os-hypervisors{path}", rule=f"{_RULE}:{name}", role="admin", **rest)


ROUTES = [
    _route("list", "", handler=index, query=_LIST, summary="List hypervisors"),
    _route("list-detail", "/detail", handler=index_detail, query=_LIST, summary="List hypervisors in full"),
    _route("statistics", "/statistics", handler=statistics, until=87, summary="Sum hypervisors up"),
    _route("show", "/{id}", handler=show, query=_SHOW, summary="Show a hypervisor"),
    _route("search", "/{id}/search", handler=search, until=52, summary="Find hypervisors by name"),
    _route("servers", "/{id}/servers", handler=search_servers, until=52, summary="Find hypervisors and servers"),
    _route("uptime", "/{id}/uptime", handler=show_uptime, until=87, summary="Show an uptime"),
]
