"""The first image and the first server of a new cloud, asked for like any client would: through the public APIs."""

import time
from pathlib import Path
from typing import Any

import msgspec

from kilonova.cli.blank_image import blank_qcow2
from kilonova.cli.checkout import GUEST_NAME
from kilonova.cli.client import Cloud, Refused
from kilonova.cli.terminal import Step, Terminal
from kilonova.model.errors import KilonovaError

FLAVOR = "m1.tiny"
NAME = "first"
READY = "kilonova-guest ready:"
ACTIVE_SECONDS = 120.0
READY_SECONDS = 180.0
LONGEST_LINES = 6
_POLL = 0.1
_EMPTY_DISK = 1 << 20  # bytes

_REAL = {
    "name": GUEST_NAME,
    "disk_format": "qcow2",
    "container_format": "bare",
    "visibility": "public",
    "min_disk": 0,
    "min_ram": 0,
    "description": "Small Linux test guest, built by guest/build.py from Debian packages. It behaves like CirrOS "
    "(user cirros, password gocubsgo), and is not CirrOS.",
    "hw_rng_model": "virtio",
    "img_config_drive": "mandatory",
    "os_distro": "debian",
    "os_admin_user": "cirros",
}
_IMITATED = {
    "name": "cirros-imitated-0.1-x86_64-disk",
    "disk_format": "qcow2",
    "container_format": "bare",
    "visibility": "public",
    "min_disk": 0,
    "min_ram": 0,
    "description": "A MiB of zeros, under a name that scripts made for DevStack find. The hosts of this cloud are "
    "imitated, so no guest ever reads it.",
}


class FirstServer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. ``console`` are the last lines of its serial console."""

    server_id: str
    name: str
    request_id: str
    status: str
    host: str
    addresses: list[str]
    console: list[str]
    ready: str | None


def ensure_image(cloud: Cloud, file: Path | None, terminal: Terminal) -> tuple[str, str]:
    """Name and id of the image; uploaded unless one of its name is there. ``file`` None: an empty disk."""
    properties = _REAL if file else _IMITATED
    name = str(properties["name"])
    found = cloud.get("image", "/v2/images", name=name)["images"]
    usable = next((image for image in found if image["status"] == "active"), None)
    if usable is not None:
        return name, usable["id"]
    content = file.read_bytes() if file else blank_qcow2(_EMPTY_DISK)
    with terminal.step(f"Uploading the image {name}") as step:
        image = cloud.post("image", "/v2/images", properties)
        cloud.put("image", f"/v2/images/{image['id']}/file", content)
        step.result = f"Image {name} uploaded ({_amount(len(content))})"
    return name, image["id"]


def _amount(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def servers(cloud: Cloud) -> list[dict[str, Any]]:
    """All servers of the cloud, the newest first."""
    found: list[dict[str, Any]] = cloud.get("compute", "/servers/detail", all_tenants=1)["servers"]
    return found


def create_first(cloud: Cloud, image_id: str, terminal: Terminal, *, imitated: bool) -> FirstServer:
    """Create it, and wait until its guest says that it is ready."""
    with terminal.step(f"Creating the server {NAME} ({FLAVOR})") as step:
        body = {"name": NAME, "imageRef": image_id, "flavorRef": _flavor(cloud), "networks": "auto"}
        server_id = cloud.post("compute", "/servers", {"server": body})["server"]["id"]
        server = _await_active(cloud, server_id, step)
        addresses = _addresses(server)
        host = str(server.get("OS-EXT-SRV-ATTR:host"))
        step.result = f"Server {NAME} is ACTIVE on host {host}, address {', '.join(addresses)}"
    with terminal.step("Waiting for the guest to boot") as step:
        console, ready = _await_ready(cloud, server_id, step)
        booted = (
            "The imitated guest pretends to say"
            if imitated
            else "The guest has booted; it says on its serial console"
        )
        step.result = f"{booted}:" if ready else _silent()
    return FirstServer(
        server_id=server_id,
        name=NAME,
        request_id=_create_request(cloud, server_id),
        status=server["status"],
        host=host,
        addresses=addresses,
        console=console,
        ready=ready,
    )


def _silent() -> str:
    return f"The guest did not report itself within {READY_SECONDS:.0f} s; its serial console ends with:"


def _flavor(cloud: Cloud) -> str:
    flavors = cloud.get("compute", "/flavors")["flavors"]
    found = next((flavor["id"] for flavor in flavors if flavor["name"] == FLAVOR), None)
    if found is None:
        raise KilonovaError(f"there is no flavor {FLAVOR}; make one, or start with --no-first-server")
    return str(found)


def _await_active(cloud: Cloud, server_id: str, step: Step) -> dict[str, Any]:
    deadline = time.monotonic() + ACTIVE_SECONDS
    while True:
        server: dict[str, Any] = cloud.get("compute", f"/servers/{server_id}")["server"]
        if server["status"] == "ACTIVE":
            return server
        if server["status"] == "ERROR":
            reason = server.get("fault", {}).get("message", "no reason given")
            raise KilonovaError(f"server {NAME} ({server_id}) went to ERROR: {reason}")
        if time.monotonic() > deadline:
            raise KilonovaError(
                f"server {NAME} ({server_id}) is still {server['status']} after {ACTIVE_SECONDS:.0f} s; "
                f"`kilonova trace {NAME}` shows how far it came"
            )
        step.update(str(server.get("OS-EXT-STS:task_state") or server["status"]))
        time.sleep(_POLL)


def _addresses(server: dict[str, Any]) -> list[str]:
    return [address["addr"] for network in server["addresses"].values() for address in network]


def _await_ready(cloud: Cloud, server_id: str, step: Step) -> tuple[list[str], str | None]:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        lines = _console(cloud, server_id)
        ready = next((line for line in reversed(lines) if READY in line), None)
        if ready is not None or time.monotonic() > deadline:
            return lines[-LONGEST_LINES:], ready
        if lines:
            step.update(lines[-1][:60])
        time.sleep(_POLL * 3)


def _console(cloud: Cloud, server_id: str) -> list[str]:
    try:
        answer = cloud.post("compute", f"/servers/{server_id}/action", {"os-getConsoleOutput": {"length": 50}})
    except Refused as refused:
        if refused.status in (404, 409):
            return []  # no output yet
        raise
    text = str(answer["output"]).replace("\r", "")
    return [line for line in text.splitlines() if line.strip()]


def _create_request(cloud: Cloud, server_id: str) -> str:
    actions = cloud.get("compute", f"/servers/{server_id}/os-instance-actions")["instanceActions"]
    return next((str(action["request_id"]) for action in actions if action["action"] == "create"), "")
