"""Clouds with real guests: QEMU, a bridge and taps; what an outsider sees of them on the machine."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilonova.hypervisor.qemu import bridge
from kilonova.hypervisor.qemu.process import find
from tests import clouds
from tests.clouds import Client, Cloud, eventually
from tests.contract.hypervisors import guest_image

READY = "kilonova-guest ready:"
NETWORKS = {"knt0": "10.223.0.0/24", "knt1": "10.224.0.0/24", "knt2": "10.225.0.0/24", "knt3": "10.226.0.0/24"}
"""A bridge and its addresses for each deployment that may run at the same time."""


def taps(bridge: str) -> list[str]:
    """The cards plugged into a bridge."""
    ports = Path("/sys/class/net") / bridge / "brif"
    return sorted(port.name for port in ports.iterdir()) if ports.exists() else []


def guest_processes(cloud: Cloud) -> dict[str, int]:
    """Pids of QEMU processes by server, found by where they work."""
    found: dict[str, int] = {}
    for instances in cloud.directory.glob("*/state/hosts/*/instances"):
        found |= find(instances.resolve())
    return found


def leftovers(cloud: Cloud) -> list[str]:
    """What is on the machine of any guest of this cloud."""
    directories = [path.name for path in cloud.directory.glob("*/state/hosts/*/instances/*")]
    processes = [f"guest process {pid}" for pid in guest_processes(cloud).values()]
    return [*directories, *processes, *(tap for bridge in cloud.bridges for tap in taps(bridge))]


def none_left(cloud: Cloud) -> None:
    """Fails if anything of a guest is still on the machine after a moment."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: not leftovers(cloud), "nothing left of guests", 20.0)
    assert leftovers(cloud) == []


@contextlib.contextmanager
def no_bridge_after(name: str) -> Iterator[None]:
    """Takes the bridge away at the end; guests that are still plugged in fail the test."""
    try:
        yield
    finally:
        plugged = taps(name)
        asyncio.run(_without(name))
        assert not plugged, f"left on {name}: {plugged}"


async def _without(name: str) -> None:
    await bridge.remove_bridge(name)


def driver_options(name: str) -> tuple[str, ...]:
    """Real guests on the bridge ``name``."""
    options = ("compute.driver=qemu", "compute.accelerator=tcg", "compute.reserved_memory_mb=0")
    return (*options, f"network.bridge={name}", f"network.cidr={NETWORKS[name]}")


@contextlib.contextmanager
def real(name: str, *options: str, **environment: str) -> Iterator[Cloud]:
    """nova-all-in-one with the QEMU driver, on the bridge ``name``."""
    with no_bridge_after(name), clouds.embedded(*driver_options(name), *options, **environment) as cloud:
        cloud.bridges.append(name)
        try:
            yield cloud
        finally:
            remove_all(cloud)


def remove_all(cloud: Cloud) -> None:
    """Delete what failed tests left, so that it does not outlive them."""
    with contextlib.suppress(AssertionError), cloud.client() as client:
        client.delete(*(server["id"] for server in client.get("/servers?all_tenants=1")["servers"]))


def upload_guest(client: Client) -> str:
    """The test guest as a public image."""
    return client.upload("cirros", guest_image().read_bytes(), "qcow2")


def ready(client: Client, server: str, times: int = 1) -> str:
    """The console once the guest has booted."""

    def look() -> str:
        said = client.console(server)
        return said if said.count(READY) >= times else ""

    return eventually(look, f"{READY!r} on the console of {server}")


def ssh(key: Path, address: str, command: str) -> str:
    """What a command in the guest prints."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=20", "BatchMode=yes")
    argv = ["ssh", "-q", "-i", str(key), *(part for option in options for part in ("-o", option))]
    done = subprocess.run([*argv, f"cirros@{address}", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ssh to {address}: {done.stderr or done.stdout or done.returncode}"
    return done.stdout


@pytest.fixture(scope="session")
def real_cloud() -> Iterator[Cloud]:
    """Shared by all tests that only boot guests."""
    with real("knt0") as cloud:
        yield cloud
        none_left(cloud)
