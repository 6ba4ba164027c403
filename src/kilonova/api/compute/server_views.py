"""Servers as the API shows them, at each microversion.

Each change of shape is one line: the first minor it is in force, and what it adds (Compute API's microversion history).
"""

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


class Viewer:
    """How one call sees servers. What is the same for all servers of a page is found out once for the call: the policy's word,
    the beginnings of links, the names of hosts as tenants may know them."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._version = call.version
        self._attributes = call.allows(_ATTRIBUTES)
        self._host_status = shows_host_status(call)
        self._self = f"{call.base_url}/v2.1/servers/"
        self._bookmark = f"{call.base_url}/servers/"
        self._host_ids: dict[tuple[str, str | None], str] = {}

    def full(self, server: Server, *, host_up: bool, groups: list[str] | None = None) -> dict[str, Any]:
        """An entry of ``GET /servers/detail``; with its ``groups``, of ``GET /servers/{id}``."""
        view = self.always(server)
        _extend(view, server)
        if self._attributes:
            _add_attributes(view, server, self._version)
        status = view["status"]
        if status in _PROGRESS:
            view["progress"] = server.progress
        if server.fault is not None and status in ("ERROR", "DELETED"):
            view["fault"] = _fault(self.call, server.fault)
        if server.security_groups:
            view["security_groups"] = [{"name": name} for name in server.security_groups]
        self._add_news(view, server, host_up)
        if groups is not None and self._version >= GROUPS_SINCE:
            view["server_groups"] = groups
        return view

    def always(self, server: Server) -> dict[str, Any]:
        """What every view of a server has, at every microversion."""
        server_id = server.id
        return {
            "id": server_id,
            "name": server.name,
            "status": server.status,
            "tenant_id": server.project_id,
            "user_id": server.user_id,
            "metadata": server.metadata,
            "hostId": self._host_id(server.project_id, server.host),
            "image": _image(self.call, server),
            "flavor": _flavor(self.call, server),
            "created": iso_z(server.created_at),
            "updated": iso_z(server.updated_at or server.created_at),
            "addresses": addresses(server),
            "accessIPv4": server.access_ip_v4 or "",
            "accessIPv6": server.access_ip_v6 or "",
            "links": [
                {"rel": "self", "href": self._self + server_id},
                {"rel": "bookmark", "href": self._bookmark + server_id},
            ],
            "OS-DCF:diskConfig": server.disk_config,
        }

    def _host_id(self, project_id: str, host: str | None) -> str:
        known = self._host_ids.get((project_id, host))
        return self._host_ids.setdefault((project_id, host), host_id(project_id, host)) if known is None else known

    def _add_news(self, view: dict[str, Any], server: Server, host_up: bool) -> None:
        """What a microversion has added to all servers, in the order in which it did."""
        version = self._version
        if version >= 9:
            view["locked"] = server.locked
        if self._host_status:  # 2.16
            view["host_status"] = "" if server.host is None else "UP" if host_up else "DOWN"
        if version >= 19:
            view["description"] = server.description
        if version >= 26:
            view["tags"] = server.tags
        if version >= 63:
            view["trusted_image_certificates"] = None
        if version >= 73:
            view["locked_reason"] = server.locked_reason
        if version >= 90:
            view["OS-EXT-SRV-ATTR:hostname"] = server.hostname
        if version >= 96:
            view["pinned_availability_zone"] = server.requested_zone
        if version >= 100:
            view["scheduler_hints"] = users_hints(server.scheduler_hints) if server.scheduler_hints else {}


def updated(call: Call, server: Server, *, host_up: bool, groups: list[str]) -> dict[str, Any]:
    """The answer of ``PUT /servers/{id}``: shorter than show below 2.75."""
    if call.version >= 75:
        return Viewer(call).full(server, host_up=host_up, groups=groups)
    view = Viewer(call).always(server)
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


def _extend(view: dict[str, Any], server: Server) -> None:
    """What began as extensions and is in every full view."""
    view["OS-EXT-AZ:availability_zone"] = server.availability_zone or ""
    view["config_drive"] = "True" if server.config_drive else ""
    view["key_name"] = server.key_name
    view["OS-SRV-USG:launched_at"] = iso_micros(server.launched_at)
    view["OS-SRV-USG:terminated_at"] = iso_micros(server.terminated_at)
    view["OS-EXT-STS:task_state"] = server.task_state
    view["OS-EXT-STS:vm_state"] = server.vm_state
    view["OS-EXT-STS:power_state"] = server.power_state or int(PowerState.NOSTATE)
    view["os-extended-volumes:volumes_attached"] = []


def _add_attributes(view: dict[str, Any], server: Server, version: int) -> None:
    """What only administrators see."""
    view["OS-EXT-SRV-ATTR:host"] = server.host
    view["OS-EXT-SRV-ATTR:hypervisor_hostname"] = server.host
    view["OS-EXT-SRV-ATTR:instance_name"] = f"instance-{server.seq:08x}"
    if version >= 3:
        view["OS-EXT-SRV-ATTR:reservation_id"] = server.reservation_id
        view["OS-EXT-SRV-ATTR:launch_index"] = server.launch_index
        view["OS-EXT-SRV-ATTR:hostname"] = server.hostname
        view["OS-EXT-SRV-ATTR:kernel_id"] = ""
        view["OS-EXT-SRV-ATTR:ramdisk_id"] = ""
        view["OS-EXT-SRV-ATTR:root_device_name"] = server.root_device_name
        view["OS-EXT-SRV-ATTR:user_data"] = server.user_data


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
        entries = view.setdefault(nic["network_name"], [])
        for text in (nic["address"], *nic.get("more_addresses", ())):
            if text:
                entries.append(_address(nic, text, "fixed"))
        for text, _ in nic.get("floating", ()):
            entries.append(_address(nic, text, "floating"))
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
