"""A compute host as a hypervisor, in the shapes of the microversions. Pure."""

from typing import Any

import msgspec

from kilonova.model.host import Host, Service

UUIDS_SINCE = 53
TRIMMED_SINCE = 88

Named = list[tuple[str, str]]
"""Id and name of servers."""


class Hypervisor(msgspec.Struct, frozen=True, kw_only=True):
    """What a view is made of. ``servers`` None: nobody asked for them."""

    host: Host
    service: Service
    busy: int = 0
    servers: Named | None = None


def summary(found: Hypervisor, version: int, now: int, down_after: float) -> dict[str, Any]:
    """Name, state and status, and the servers when they were asked for (from 2.75 also when there are none)."""
    view: dict[str, Any] = {
        "id": found.host.uuid if version >= UUIDS_SINCE else found.host.id,
        "hypervisor_hostname": found.host.host,
        "state": "up" if found.service.up(now, down_after) else "down",
        "status": "disabled" if found.service.disabled else "enabled",
    }
    if found.servers or (found.servers is not None and version >= 75):
        view["servers"] = [{"uuid": server_id, "name": name} for server_id, name in found.servers]
    return view


def detail(found: Hypervisor, version: int, now: int, down_after: float) -> dict[str, Any]:
    """The machine; its amounts left for Placement to tell from 2.88, when the uptime moved here."""
    host, service = found.host, found.service
    view = summary(found, version, now, down_after) | {
        "hypervisor_type": host.hypervisor_type,
        "hypervisor_version": host.hypervisor_version,
        "host_ip": host.address,
        "service": {
            "id": service.uuid if version >= UUIDS_SINCE else service.id,
            "host": service.host,
            "disabled_reason": service.disabled_reason,
        },
    }
    if version >= TRIMMED_SINCE:
        return view | {"uptime": uptime(service, now, down_after)}
    processors = _processors(host)
    return view | amounts(found) | {"cpu_info": processors if version >= 28 else _text(processors)}


def amounts(found: Hypervisor) -> dict[str, int]:
    """What there is, what is claimed and what is free: cores, MiB, GiB."""
    host = found.host
    return {
        "vcpus": host.vcpus_shared,
        "vcpus_used": host.vcpus_used,
        "memory_mb": host.memory_mb,
        "memory_mb_used": host.memory_mb_used,
        "free_ram_mb": host.memory_mb - host.memory_mb_used,
        "local_gb": host.disk_gb,
        "local_gb_used": host.disk_gb_used,
        "free_disk_gb": host.disk_gb - host.disk_gb_used,
        "disk_available_least": host.free_disk_gb,
        "running_vms": host.servers_count,
        "current_workload": found.busy,
    }


def uptime(service: Service, now: int, down_after: float) -> str | None:
    """How long the host's nova-compute has been running, written as ``uptime`` does; None while it is down.

    No agent reports how long its machine has been up, so this is the part of it that we witnessed.
    """
    if not service.up(now, down_after):
        return None
    minutes = max(0, now - service.started_at) // 60_000_000
    days, minutes = divmod(minutes, 24 * 60)
    clock = now // 1_000_000 % 86_400
    return (
        f" {clock // 3600:02d}:{clock // 60 % 60:02d}:{clock % 60:02d} up {days} days,"
        f" {minutes // 60:2d}:{minutes % 60:02d},  0 users,  load average: 0.00, 0.00, 0.00"
    )


def _processors(host: Host) -> dict[str, Any]:
    return {
        "arch": host.capabilities.get("architecture", ""),
        "model": host.capabilities.get("cpu_model", ""),
        "features": host.capabilities.get("features", []),
    }


def _text(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
