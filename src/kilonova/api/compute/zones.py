"""Availability zones: those of the hosts, and for administrators what runs in each."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.api.compute.services import CONTROL_ZONE
from kilonova.database import membership
from kilonova.model.host import Service
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros
from kilonova.web.policy import ANY
from kilonova.web.routes import Route

_COMPUTE = "nova-compute"

Zones = dict[str, list[Service]]


async def index(cloud: Deployment, call: Call) -> Reply:
    """Names, and whether a server could land there: some host of the zone is switched on."""
    zones = await cloud.database.run(_zones)
    entries = [
        {"zoneName": name, "zoneState": {"available": _open(services)}, "hosts": None}
        for name, services in _ordered(zones)
        if name != CONTROL_ZONE
    ]
    return Reply(200, {"availabilityZoneInfo": entries})


async def index_detail(cloud: Deployment, call: Call) -> Reply:
    """The same with hosts and services, and the control services in a zone of their own."""
    zones = await cloud.database.run(_zones)
    down_after = cloud.config.membership.down_after
    entries = [
        {
            "zoneName": name,
            "zoneState": {"available": _open(services)},
            "hosts": _hosts(services, call.started_at, down_after) if _open(services) else None,
        }
        for name, services in _ordered(zones)
    ]
    return Reply(200, {"availabilityZoneInfo": entries})


def _zones(connection: Connection) -> Zones:
    """Services by zone. A host says its zone; a nova-compute that has not reported its host yet says its own."""
    zone_of = {host.host: host.availability_zone for host in membership.list_hosts(connection)}
    zones: Zones = {}
    for service in membership.list_services(connection):
        zone = zone_of.get(service.host, service.zone) if service.binary == _COMPUTE else CONTROL_ZONE
        zones.setdefault(zone, []).append(service)
    return zones


def _ordered(zones: Zones) -> list[tuple[str, list[Service]]]:
    """Open zones before closed ones, as Nova lists them."""
    return sorted(zones.items(), key=lambda zone: (not _open(zone[1]), zone[0]))


def _open(services: list[Service]) -> bool:
    return any(not service.disabled for service in services)


def _hosts(services: list[Service], now: int, down_after: float) -> dict[str, Any]:
    hosts: dict[str, Any] = {}
    for service in services:
        hosts.setdefault(service.host, {})[service.binary] = {
            "active": not service.disabled,
            "available": service.up(now, down_after),
            "updated_at": iso_micros(service.last_seen_at),
        }
    return hosts


_RULE = "os_compute_api:os-availability-zone"

ROUTES = [
    Route(
        method="GET",
        path="/os-availability-zone",
        handler=index,
        rule=f"{_RULE}:list",
        role=ANY,
        query=queries(102),
        summary="List availability zones",
    ),
    Route(
        method="GET",
        path="/os-availability-zone/detail",
        handler=index_detail,
        rule=f"{_RULE}:detail",
        role="admin",
        query=queries(102),
        summary="List availability zones with hosts and services",
    ),
]
