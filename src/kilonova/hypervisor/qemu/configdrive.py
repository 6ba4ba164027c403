"""The config drive: what a guest learns about itself when it boots, as a small ISO with the label ``config-2``.

The same documents that the metadata service gives, in OpenStack's layout, so cloud-init and all that
imitate it find their way. The documents are made by pure functions.
"""

import base64
import ipaddress
import shutil
from pathlib import Path
from typing import Any

import msgspec

from kilonova.hypervisor.qemu.command import CommandFailed, run_limited
from kilonova.hypervisor.qemu.launch import CONFIG_DRIVE
from kilonova.hypervisor.qemu.record import write_private
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestSpec, Nic

VERSIONS = ("latest", "2018-08-27", "2017-02-22", "2016-10-06", "2015-10-15", "2012-08-10")
"""The directories a reader may ask for; a newer document only has more in it, so all get the same."""

TREE = "config.tree"


async def make_config_drive(directory: Path, spec: GuestSpec, settings: QemuSettings) -> None:
    """Write the guest's config drive into its directory. Raises ``HostFault``."""
    tree = directory / TREE
    shutil.rmtree(tree, ignore_errors=True)
    try:
        for name, content in documents(spec).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(tree / name, content)
        unfinished = f"{CONFIG_DRIVE}.new"
        options = ["-quiet", "-ldots", "-allow-lowercase", "-allow-multidot", "-l", "-J", "-r", "-V", "config-2"]
        argv = [settings.iso_tool, *options, "-o", unfinished, TREE]
        await run_limited(argv, cwd=directory, timeout=settings.tool_timeout)
        (directory / unfinished).chmod(0o600)
        (directory / unfinished).rename(directory / CONFIG_DRIVE)
    except CommandFailed as error:
        message = f"the config drive of server {spec.server_id} could not be made; look at the host's disks"
        raise HostFault(message, details=str(error)) from error
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def documents(spec: GuestSpec) -> dict[str, bytes]:
    """Every file of the drive: path -> content."""
    meta = msgspec.json.encode(meta_data(spec))
    network = msgspec.json.encode(network_data(spec.nics))
    files = {"ec2/latest/meta-data.json": msgspec.json.encode(ec2_meta_data(spec))}
    for version in VERSIONS:
        files[f"openstack/{version}/meta_data.json"] = meta
        files[f"openstack/{version}/network_data.json"] = network
        files[f"openstack/{version}/vendor_data.json"] = b"{}"
        files[f"openstack/{version}/vendor_data2.json"] = b"{}"
        if spec.user_data is not None:
            files[f"openstack/{version}/user_data"] = user_data(spec)
    if spec.user_data is not None:
        files["ec2/latest/user-data"] = user_data(spec)
    for number, file in enumerate(spec.files):
        files[f"openstack/{_content(number)}"] = from_base64(file.contents)
    return files


def _content(number: int) -> str:
    """Where the guest finds the content of an injected file, below ``openstack``."""
    return f"content/{number:04}"


def user_data(spec: GuestSpec) -> bytes:
    """The user's own bytes."""
    return from_base64(spec.user_data or "")


def from_base64(text: str) -> bytes:
    """What the API carries as base64, where foreign letters stand for nothing; text that is none, is taken as it is."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return text.encode()


def meta_data(spec: GuestSpec) -> dict[str, Any]:
    """``meta_data.json``."""
    document: dict[str, Any] = {
        "uuid": spec.server_id,
        "hostname": spec.hostname,
        "name": spec.name,
        "launch_index": spec.launch_index,
        "availability_zone": spec.availability_zone or "nova",
        "project_id": spec.project_id,
        "meta": spec.metadata,
        "devices": [],
        "dedicated_cpus": [] if spec.topology is None else sorted(spec.topology.pins),
    }
    if spec.public_key:
        name = spec.key_name or "key"
        key = spec.public_key.strip()
        document["public_keys"] = {name: key}
        document["keys"] = [{"name": name, "type": "ssh", "data": key}]
    if spec.files:
        document["files"] = [
            {"content_path": f"/{_content(number)}", "path": file.path} for number, file in enumerate(spec.files)
        ]
    if spec.admin_password:
        document["admin_pass"] = spec.admin_password
    return document


def ec2_meta_data(spec: GuestSpec) -> dict[str, Any]:
    """The part of the EC2 document that readers still look at."""
    short = spec.server_id.split("-", maxsplit=1)[0]
    document: dict[str, Any] = {
        "ami-id": f"ami-{short}",
        "ami-launch-index": spec.launch_index,
        "hostname": spec.hostname,
        "instance-id": f"i-{short}",
        "local-hostname": spec.hostname,
        "local-ipv4": spec.nics[0].address if spec.nics else "",
        "placement": {"availability-zone": spec.availability_zone or "nova"},
    }
    if spec.public_key:
        openssh = {"openssh-key": spec.public_key.strip()}
        document["public-keys"] = {"0": {"_name": f"0={spec.key_name or 'key'}", **openssh}}
    return document


def network_data(nics: list[Nic]) -> dict[str, Any]:
    """``network_data.json``: a link and a network for each card, the name servers once each."""
    servers = list(dict.fromkeys(server for nic in nics for server in nic.dns))
    return {
        "links": [_link(nic) for nic in nics],
        "networks": [_network(number, nic) for number, nic in enumerate(nics)],
        "services": [{"type": "dns", "address": server} for server in servers],
    }


def _link(nic: Nic) -> dict[str, Any]:
    return {
        "id": _link_id(nic),
        "vif_id": nic.port_id,
        "type": "bridge",
        "mtu": nic.mtu,
        "ethernet_mac_address": nic.mac,
    }


def _network(number: int, nic: Nic) -> dict[str, Any]:
    subnet = ipaddress.ip_network(nic.cidr, strict=False)
    family = f"ipv{subnet.version}"
    anywhere = {"ipv4": ("0.0.0.0", "0.0.0.0"), "ipv6": ("::", "::")}[family]
    # Only the first card's gateway is a way out: two default routes would make the answer a matter of luck.
    gateway = nic.gateway if number == 0 else None
    routes = [{"network": anywhere[0], "netmask": anywhere[1], "gateway": gateway}] if gateway else []
    return {
        "id": f"network{number}",
        "type": family,
        "link": _link_id(nic),
        "ip_address": nic.address,
        "netmask": str(subnet.netmask),
        "routes": routes,
        "network_id": nic.network_id,
        "services": [{"type": "dns", "address": server} for server in nic.dns],
    }


def _link_id(nic: Nic) -> str:
    return f"tap{nic.port_id[:11]}"
