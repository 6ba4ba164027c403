"""Servers as the API shows them, at each microversion.

Each change of shape is one line in ``_details``: the first minor it is in force, and what it adds (api-surface: section 6 of the
Compute API's microversion history).
"""

from collections.abc import Iterable
from typing import Any

from kilonova.api.compute.instance_actions import host_id
from kilonova.api.compute.links import resource_links
from kilonova.model.placement import users_hints
from kilonova.model.server import PowerState, Server
from kilonova.web.call import Call
from kilonova.web.moments import iso_micros, iso_z

_PROGRESS = {"ACTIVE", "BUILD", "DELETED", "REBUILD", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE", "MIGRATING"}
GROUPS_SINCE = 71
_HOST_STATUS = "os_compute_api:servers:show:host_status"
_ATTRIBUTES = "os_compute_api:os-extended-server-attributes"


def brief(call: Call, server_id: str, name: str) -> dict[str, Any]:
    """An entry of ``GET /servers``."""
    return {"id": server_id, "name": name, "links": resource_links(call, "servers", server_id)}


def shows_host_status(call: Call) -> bool:
    """Whether the caller is told if a server's host is up (2.16)."""
    return call.version >= 16 and call.allows(_HOST_STATUS)


def full(call: Call, server: Server, *, host_up: bool, groups: list[str] | None = None) -> dict[str, Any]:
    """An entry of ``GET /servers/detail``; with its ``groups``, of ``GET /servers/{id}``."""
    view = {**_always(call, server), **_extended(server), **_attributes(call, server)}
    if server.status in _PROGRESS:
        view["progress"] = server.progress
    if server.fault is not None and server.status in ("ERROR", "DELETED"):
        view["fault"] = _fault(call, server.fault)
    if server.security_groups:
        view["security_groups"] = [{"name": name} for name in server.security_groups]
    for since, addition in _additions(call, server, host_up):
        if call.version >= since:
            view.update(addition)
    if groups is not None and call.version >= GROUPS_SINCE:
        view["server_groups"] = groups
    return view


def updated(call: Call, server: Server, *, host_up: bool, groups: list[str]) -> dict[str, Any]:
    """The answer of ``PUT /servers/{id}``: shorter than show below 2.75."""
    if call.version >= 75:
        return full(call, server, host_up=host_up, groups=groups)
    view = _always(call, server)
    view["addresses"] = {
        network: [{"version": entry["version"], "addr": entry["addr"]} for entry in entries]
        for network, entries in view["addresses"].items()
    }
    if server.status in _PROGRESS:
        view["progress"] = server.progress
    if server.fault is not None and server.status == "ERROR":
        view["fault"] = _fault(call, server.fault)
    if call.version >= 9:
        view["locked"] = server.locked
    if call.version >= 19:
        view["description"] = server.description
    if call.version >= 26:
        view["tags"] = server.tags
    if call.version >= 63:
        view["trusted_image_certificates"] = None
    if call.version >= GROUPS_SINCE:
        view["server_groups"] = groups
    if call.version >= 73:
        view["locked_reason"] = server.locked_reason
    return view


def _always(call: Call, server: Server) -> dict[str, Any]:
    return {
        "id": server.id,
        "name": server.name,
        "status": server.status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": server.metadata,
        "hostId": host_id(server.project_id, server.host),
        "image": _image(call, server),
        "flavor": _flavor(call, server),
        "created": iso_z(server.created_at),
        "updated": iso_z(server.updated_at or server.created_at),
        "addresses": addresses(server),
        "accessIPv4": server.access_ip_v4 or "",
        "accessIPv6": server.access_ip_v6 or "",
        "links": resource_links(call, "servers", server.id),
        "OS-DCF:diskConfig": server.disk_config,
    }


def _extended(server: Server) -> dict[str, Any]:
    return {
        "OS-EXT-AZ:availability_zone": server.availability_zone or "",
        "config_drive": "True" if server.config_drive else "",
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": iso_micros(server.launched_at),
        "OS-SRV-USG:terminated_at": iso_micros(server.terminated_at),
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:power_state": server.power_state or int(PowerState.NOSTATE),
        "os-extended-volumes:volumes_attached": [],
    }


def _attributes(call: Call, server: Server) -> dict[str, Any]:
    """What only administrators see."""
    if not call.allows(_ATTRIBUTES):
        return {}
    prefix = "OS-EXT-SRV-ATTR:"
    view: dict[str, Any] = {
        f"{prefix}host": server.host,
        f"{prefix}hypervisor_hostname": server.host,
        f"{prefix}instance_name": f"instance-{server.seq:08x}",
    }
    if call.version >= 3:
        view |= {
            f"{prefix}reservation_id": server.reservation_id,
            f"{prefix}launch_index": server.launch_index,
            f"{prefix}hostname": server.hostname,
            f"{prefix}kernel_id": "",
            f"{prefix}ramdisk_id": "",
            f"{prefix}root_device_name": server.root_device_name,
            f"{prefix}user_data": server.user_data,
        }
    return view


def _additions(call: Call, server: Server, host_up: bool) -> Iterable[tuple[int, dict[str, Any]]]:
    yield 9, {"locked": server.locked}
    if call.allows(_HOST_STATUS):
        yield 16, {"host_status": "" if server.host is None else "UP" if host_up else "DOWN"}
    yield 19, {"description": server.description}
    yield 26, {"tags": server.tags}
    yield 63, {"trusted_image_certificates": None}
    yield 73, {"locked_reason": server.locked_reason}
    yield 90, {"OS-EXT-SRV-ATTR:hostname": server.hostname}
    yield 96, {"pinned_availability_zone": server.requested_zone}
    yield 100, {"scheduler_hints": users_hints(server.scheduler_hints)}


def _image(call: Call, server: Server) -> Any:
    if server.image_id is None:
        return ""
    bookmark = f"{call.base_url}/images/{server.image_id}"
    view: dict[str, Any] = {"id": server.image_id, "links": [{"rel": "bookmark", "href": bookmark}]}
    if call.version >= 98:
        view["properties"] = (server.image or {}).get("properties", {})
    return view


def _flavor(call: Call, server: Server) -> dict[str, Any]:
    flavor = server.flavor
    if call.version < 47:
        bookmark = f"{call.base_url}/flavors/{server.flavor_id}"
        return {"id": server.flavor_id, "links": [{"rel": "bookmark", "href": bookmark}]}
    return {
        "vcpus": flavor["vcpus"],
        "ram": flavor["memory_mb"],
        "disk": flavor["disk_gb"],
        "ephemeral": flavor.get("ephemeral_gb", 0),
        "swap": flavor.get("swap_mb", 0),
        "original_name": flavor["name"],
        "extra_specs": flavor.get("extra_specs", {}),
    }


def addresses(server: Server) -> dict[str, list[dict[str, Any]]]:
    """By network name, with the card's MAC address."""
    view: dict[str, list[dict[str, Any]]] = {}
    for nic in server.addresses:
        floating = [text for text, _ in nic.get("floating", [])]
        fixed = [text for text in (nic["address"], *nic.get("more_addresses", [])) if text]
        for kind, texts in (("fixed", fixed), ("floating", floating)):
            view.setdefault(nic["network_name"], []).extend(_address(nic, text, kind) for text in texts)
    return view


def _address(nic: dict[str, Any], text: str, kind: str) -> dict[str, Any]:
    return {
        "version": 6 if ":" in text else 4,
        "addr": text,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": nic["mac"],
    }


def _fault(call: Call, fault: dict[str, Any]) -> dict[str, Any]:
    view = {"code": fault["code"], "message": fault["message"], "created": iso_z(fault["created"])}
    if fault.get("details") and (call.caller.is_admin or fault["code"] != 500):
        view["details"] = fault["details"]
    return view
