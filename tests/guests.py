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
BRIDGE = "knt0"
CIDR = "10.223.0.0/24"
REAL = ("compute.driver=qemu", "compute.accelerator=tcg", f"network.bridge={BRIDGE}", f"network.cidr={CIDR}")


def taps(name: str = BRIDGE) -> list[str]:
    """The cards plugged into a bridge."""
    ports = Path("/sys/class/net") / name / "brif"
    return sorted(port.name for port in ports.iterdir()) if ports.exists() else []


def guest_processes(cloud: Cloud, process: str = "all") -> dict[str, int]:
    """Pids of QEMU processes by server, below the state of one of the cloud's processes."""
    found: dict[str, int] = {}
    for instances in (cloud.directory / process / "state" / "hosts").glob("*/instances"):
        found |= find(instances.resolve())
    return found


def leftovers(cloud: Cloud) -> list[str]:
    """What is on the machine of any guest of this cloud."""
    directories = cloud.directory.glob("*/state/hosts/*/instances/*")
    processes = [f"guest process {pid}" for name in cloud.processes for pid in guest_processes(cloud, name).values()]
    return [*(path.name for path in directories), *processes, *taps()]


def none_left(cloud: Cloud) -> None:
    """Fails if anything of a guest is still on the machine after a moment."""
    eventually(lambda: not leftovers(cloud), f"nothing left of guests: {leftovers(cloud)}", 20.0)


@contextlib.contextmanager
def no_bridge_after() -> Iterator[None]:
    """Takes the bridge away at the end; guests that are still plugged in fail the test."""
    try:
        yield
    finally:
        plugged = taps()
        asyncio.run(bridge.remove_bridge(BRIDGE))
        assert not plugged, f"left on {BRIDGE}: {plugged}"


@contextlib.contextmanager
def real(*options: str, **environment: str) -> Iterator[Cloud]:
    """nova-all-in-one with the QEMU driver, on the test bridge."""
    with no_bridge_after(), clouds.embedded(*REAL, *options, **environment) as cloud:
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
    with real() as cloud:
        yield cloud
        none_left(cloud)
