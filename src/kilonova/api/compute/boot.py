"""Reads a create request: checks what it names, and makes the rows of its servers and actions (step 2 of the picture)."""

import re
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute import personality
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_address, is_base64
from kilonova.api.compute.server_metadata import check_quota
from kilonova.api.compute.submission import action_row
from kilonova.database import flavors, keypairs, membership, server_groups
from kilonova.image.protocol import Image
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.flavor import Flavor, Keypair
from kilonova.model.kinds.create import CREATE
from kilonova.model.placement import REQUESTED_HOST, group_hint, users_hints
from kilonova.model.server import PowerState, TaskState, VmState
from kilonova.model.topology.request import TopologyRequest, asking, read_request
from kilonova.network.protocol import RequestedNic
from kilonova.web.call import Call
from kilonova.web.schema import is_uuid

_MOST_AT_ONCE = 1000  # servers of one request: they are written in one transaction
_TRUE = {"true", "1", "on", "yes"}


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """A create request, understood: everything it names exists and fits together."""

    body: dict[str, Any]
    hints: dict[str, Any]
    flavor: Flavor
    topology: TopologyRequest | None
    image: Image | None
    keypair: Keypair | None
    networks: list[RequestedNic]
    groups: list[str]
    zone: str | None
    requested_host: str | None
    count: int
    smallest: int
    password: str


async def read(cloud: Deployment, call: Call) -> Boot:
    """Understand and check a request. Raises ``Invalid``, ``Forbidden`` or ``NotFound`` in Nova's words."""
    body: dict[str, Any] = call.body["server"]
    hints = call.body.get("os:scheduler_hints") or call.body.get("OS-SCH-HNT:scheduler_hints") or {}
    _refuse_what_we_lack(body)
    check_user_data(body)
    image_id = _image_id(body)
    zone, forced = _zone(call, body)
    zone = zone or (None if forced else cloud.config.scheduler.default_schedule_zone)
    smallest, count = _counts(body)
    flavor, keypair = await cloud.database.run(_named, cloud, call, body, hints, zone, forced)
    image = await find_image(cloud, call, image_id)
    check_fit(flavor, image)
    topology = read_topology(cloud, flavor, image.properties)
    groups = await _groups(cloud, call, body)
    networks = await _networks(cloud, call, body, groups, count)
    return Boot(
        body=body,
        hints=hints,
        flavor=flavor,
        topology=topology,
        image=image,
        keypair=keypair,
        networks=networks,
        groups=_asked_groups(body) or [name for _, name in groups],
        zone=zone,
        requested_host=forced,
        count=count,
        smallest=smallest,
        password=body.get("adminPass") or cloud.ids.short(12),
    )


def _refuse_what_we_lack(body: dict[str, Any]) -> None:
    if body.get("trusted_image_certificates"):
        raise Invalid("Image certificates are not validated in this cloud.")
    devices = [*body.get("block_device_mapping", []), *body.get("block_device_mapping_v2", [])]
    for device in devices:
        if device.get("source_type") != "image" or device.get("destination_type", "local") != "local":
            raise Invalid("Block Device Mapping is Invalid: there is no volume service in this cloud yet.")


def _image_id(body: dict[str, Any]) -> str:
    image_id: str = body.get("imageRef", "").rsplit("/", 1)[-1]
    for device in body.get("block_device_mapping_v2", []):
        if str(device.get("boot_index")) == "0":
            image_id = image_id or device.get("uuid", "")
    if not image_id:
        raise Invalid("Invalid imageRef provided.")
    if not is_uuid(image_id):
        raise Invalid("Invalid imageRef provided.")
    return image_id


def _zone(call: Call, body: dict[str, Any]) -> tuple[str | None, str | None]:
    """The zone and the host asked for: ``zone:host`` and, from 2.74, ``host`` are for administrators."""
    zone, _, forced = (body.get("availability_zone") or "").partition(":")
    if forced:
        call.require("os_compute_api:servers:create:forced_host")
        forced = forced.partition(":")[0]
    named = body.get("host") or body.get("hypervisor_hostname")
    if named:
        call.require("os_compute_api:servers:create:requested_destination")
    return zone or None, forced or named or None


def _counts(body: dict[str, Any]) -> tuple[int, int]:
    smallest = int(body.get("min_count", 1))
    largest = int(body.get("max_count", smallest))
    if smallest > largest:
        raise Invalid("min_count must be <= max_count")
    if smallest > _MOST_AT_ONCE:
        raise Invalid(f"One request can create {_MOST_AT_ONCE} servers at most.")
    return smallest, min(largest, _MOST_AT_ONCE)


def _named(
    connection: Connection,
    cloud: Deployment,
    call: Call,
    body: dict[str, Any],
    hints: dict[str, Any],
    zone: str | None,
    host: str | None,
) -> tuple[Flavor, Keypair | None]:
    """What the request names in our own tables, read in one transaction."""
    flavor_id = str(body["flavorRef"]).rsplit("/", 1)[-1]
    flavor = flavors.find_flavor(connection, flavor_id, call.caller.project_id, call.caller.is_admin)
    if flavor is None:
        raise Invalid(f"Flavor {flavor_id[:64]} could not be found.")
    keypair = None
    if body.get("key_name"):
        keypair = keypairs.find_keypair(connection, call.caller.user_id, body["key_name"])
        if keypair is None:
            raise Invalid("Invalid key_name provided.")
    hosts = membership.list_hosts(connection) if zone or host else []
    if zone and not any(known.availability_zone == zone for known in hosts):
        raise Invalid("The requested availability zone is not available")
    if host and not any(known.host == host for known in hosts):
        raise Invalid(f"Compute host {host[:255]} could not be found.")
    check_quota(connection, cloud, call.project_id, body.get("metadata", {}))
    personality.check_quota(connection, cloud, call.project_id, personality.files(body))
    _check_group(connection, call, group_hint(hints))
    return flavor, keypair


def _check_group(connection: Connection, call: Call, group_id: str | None) -> None:
    try:
        if group_id is not None:
            server_groups.get(connection, group_id, None if call.caller.is_admin else call.project_id)
    except NotFound as error:
        raise Invalid(error.message) from None


async def find_image(cloud: Deployment, call: Call, image_id: str) -> Image:
    """An image to boot from. Raises ``Invalid``."""
    try:
        image = await cloud.images.show(call.caller, image_id)
    except NotFound:
        raise Invalid(f"Image {image_id} could not be found.") from None
    if image.status != "active":
        raise Invalid(f"Image {image.id} is not active.")
    return image


def check_fit(flavor: Flavor, image: Image | None) -> None:
    """Raise ``Invalid`` if the flavor has too little memory or disk for the image."""
    if image is None:
        return
    if image.min_memory_mb > flavor.memory_mb:
        raise Invalid("Flavor's memory is too small for requested image.")
    needed = max(image.virtual_size, image.min_disk_gb << 30)
    if flavor.disk_gb and needed > flavor.disk_gb << 30:
        raise Invalid(
            "Flavor's disk is too small for requested image. "
            f"Flavor disk is {flavor.disk_gb << 30} bytes, image is {needed} bytes."
        )


def read_topology(cloud: Deployment, flavor: Flavor, properties: dict[str, str]) -> TopologyRequest | None:
    """What flavor and image ask of a host's topology. Raises ``Invalid``."""
    aliases = cloud.config.pci.aliases
    return read_request(flavor.vcpus, flavor.memory_mb, flavor.extra_specs, properties, aliases)


def check_user_data(body: dict[str, Any]) -> None:
    """Raise ``Invalid`` unless the user data, if there are any, are base64."""
    if body.get("user_data") is not None and not is_base64(body["user_data"]):
        raise Invalid("Invalid input for field/attribute user_data. It must be base64 encoded.")


def _asked_groups(body: dict[str, Any]) -> list[str]:
    """Names or ids, as the server shows them until it has ports."""
    return [group["name"] for group in body.get("security_groups", []) if group.get("name")]


async def _groups(cloud: Deployment, call: Call, body: dict[str, Any]) -> list[tuple[str, str]]:
    """(id, name) of the security groups asked for by either. Raises ``Invalid`` for one that is not the project's."""
    try:
        return await cloud.networks.find_groups(call.project_id, _asked_groups(body) or ["default"])
    except NotFound as error:
        raise Invalid(error.message) from None


async def _networks(
    cloud: Deployment, call: Call, body: dict[str, Any], groups: list[tuple[str, str]], count: int
) -> list[RequestedNic]:
    """The server's cards: as asked for, or the one network that the project has; new ports carry the groups."""
    ids = [group_id for group_id, _ in groups]
    by_id = not set(_asked_groups(body)) <= {name for _, name in groups}
    asked = body.get("networks")
    if asked == "none":
        return []
    wanted = None if not asked or asked == "auto" else [_nic(nic, count) for nic in asked]
    requested = await cloud.networks.check(call.caller, wanted)
    return [
        nic if nic.port_id is not None else msgspec.structs.replace(nic, security_groups=ids, groups_by_id=by_id)
        for nic in requested
    ]


def _nic(nic: dict[str, Any], count: int) -> RequestedNic:
    port_id, address = nic.get("port"), nic.get("fixed_ip")
    if port_id is None and nic.get("uuid") is None:
        raise Invalid("Bad network format: missing 'uuid'")
    if port_id is None and not is_uuid(nic["uuid"]):
        raise Invalid(f"Bad networks format: network uuid is not in proper format ({nic['uuid'][:64]})")
    if port_id is not None and address is not None:
        raise Invalid(f"Specified Fixed IP '{address}' cannot be used with port '{port_id}'.")
    if count > 1 and port_id is not None:
        raise Invalid(
            "Unable to launch multiple instances with a single configured port ID. Ask for them one by one."
        )
    if count > 1 and address is not None:
        raise Invalid("Invalid instance request: a fixed IP is for one instance, and max_count asks for more.")
    return RequestedNic(
        network_id=None if port_id is not None else nic["uuid"], port_id=port_id, fixed_ip=address, tag=nic.get("tag")
    )


def rows(cloud: Deployment, call: Call, boot: Boot, now: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the servers, and of the actions that build them."""
    reservation = f"r-{cloud.ids.short()}"
    server_rows = [_server_row(cloud, call, boot, index, reservation, now) for index in range(boot.count)]
    action_rows = []
    for row in server_rows:
        action = action_row(cloud, call, server_id=row["id"], kind=CREATE, before={}, arguments={}, now=now)
        row["action_id"] = action["id"]
        action_rows.append(action)
    return server_rows, action_rows


def _server_row(cloud: Deployment, call: Call, boot: Boot, index: int, reservation: str, now: int) -> dict[str, Any]:
    body, image = boot.body, boot.image
    name = body["name"].strip()
    if boot.count > 1:
        name = f"{name}-{index + 1}"
    server_id = cloud.ids.uuid()
    hints = users_hints(boot.hints)
    if boot.requested_host:
        hints[REQUESTED_HOST] = boot.requested_host
    return {
        "id": server_id,
        "project_id": call.project_id,
        "user_id": call.caller.user_id,
        "name": name,
        "hostname": body.get("hostname") or hostname(name, server_id),
        "description": body.get("description", name if call.version < 19 else None),
        "vm_state": str(VmState.BUILDING),
        "task_state": str(TaskState.SCHEDULING),
        "power_state": int(PowerState.NOSTATE),
        "requested_zone": boot.zone,
        "flavor_id": boot.flavor.id,
        "flavor": asking(msgspec.to_builtins(boot.flavor), boot.topology),
        "image_id": image.id if image else None,
        "image": image_record(image) if image else None,
        "key_name": boot.keypair.name if boot.keypair else None,
        "public_key": boot.keypair.public_key if boot.keypair else None,
        "user_data": body.get("user_data"),
        "personality": personality.files(body) or None,
        "config_drive": _config_drive(body, image),
        "metadata": body.get("metadata", {}),
        "tags": sorted(set(body.get("tags", []))),
        "networks": [msgspec.to_builtins(nic) for nic in boot.networks],
        "addresses": [],
        "security_groups": sorted(set(boot.groups)) if boot.networks else [],
        "scheduler_hints": hints,
        "reservation_id": reservation,
        "launch_index": index,
        "root_device_name": "/dev/vda",
        "access_ip_v4": as_address(body.get("accessIPv4")),
        "access_ip_v6": as_address(body.get("accessIPv6")),
        "disk_config": body.get("OS-DCF:diskConfig", "MANUAL"),
        "locked": False,
        "progress": 0,
        "created_at": now,
        "updated_at": now,
    }


def image_record(image: Image) -> dict[str, Any]:
    """What of its image a server must know when that is gone; ``least_disk_gb`` holds the image itself as well."""
    return {
        "name": image.name,
        "properties": image.properties,
        "min_disk_gb": image.min_disk_gb,
        "min_memory_mb": image.min_memory_mb,
        "least_disk_gb": max(image.min_disk_gb, -(-image.virtual_size >> 30)),
    }


def _config_drive(body: dict[str, Any], image: Image | None) -> bool:
    """Asked for, or demanded by the image. (What the guest really gets is the hypervisor's business.)"""
    mandatory = image is not None and image.properties.get("img_config_drive") == "mandatory"
    return mandatory or str(body.get("config_drive") or "").lower() in _TRUE


def hostname(name: str, server_id: str) -> str:
    """A name that DNS allows (RFC 1123), made from the server's; ``Server-<id>`` if nothing is left of it."""
    cleaned = re.sub(r"[^a-z0-9-]+", "-", re.sub(r"[\s_.]+", "-", name.lower())).strip("-")[:63].strip("-")
    return cleaned or f"Server-{server_id}"
