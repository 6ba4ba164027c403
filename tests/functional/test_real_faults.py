"""Real guests when something is broken: the server says what to do, nothing is left of it, and what runs goes on."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import clouds, guests
from tests.clouds import Client, Cloud, eventually

pytestmark = pytest.mark.real

TOOLS = ("qemu-img", "genisoimage", "prlimit", "mke2fs", "mkswap")
QEMU = "qemu-system-x86_64"
GARBAGE = bytes(range(256)) * 4096
BAD_QEMU = """#!/bin/sh
case "$*" in *-version*) exec {qemu} --version ;; esac
echo "qemu: could not lock the moon" >&2
exit 1
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``PATH`` of its own, from which programs can be taken away."""
    directory = tmp_path_factory.mktemp("bin")
    for tool in (*TOOLS, QEMU):
        found = shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert found, f"{tool} is not installed: run make test-packages"
        (directory / tool).symlink_to(found)
    return directory


@pytest.fixture(scope="module")
def faulty_cloud(programs: Path) -> Iterator[Cloud]:
    with guests.real("knt1", PATH=str(programs)) as cloud:
        yield cloud
        guests.none_left(cloud)


@pytest.fixture
def client(faulty_cloud: Cloud) -> Iterator[Client]:
    with faulty_cloud.client() as client:
        yield client
    guests.remove_all(faulty_cloud)


def broken(cloud: Cloud, client: Client, server: str, message: str) -> None:
    """The server is in ERROR with a fault in these words, and holds nothing."""
    fault = client.becomes(server, "ERROR")["fault"]
    assert re.search(message, fault["message"]), fault
    holds_nothing(client, server)
    guests.none_left(cloud)
    client.delete(server)


def reasons(client: Client, server: str) -> str:
    """What the timeline of the create tells an administrator."""
    actions = client.get(f"/servers/{server}/os-instance-actions")["instanceActions"]
    action = client.get(f"/servers/{server}/os-instance-actions/{actions[-1]['request_id']}")["instanceAction"]
    return " ".join(event["details"] or "" for event in action["events"])


def holds_nothing(client: Client, server: str) -> None:
    assert used(client) == (0, 0, 0)
    # A server that no host could take is ended by nova-scheduler; nova-conductor gives its ports back within a sweep.
    eventually(lambda: _ports(client, server) == [], "the ports are given back")


def _ports(client: Client, server: str) -> list[Any]:
    ports: list[Any] = client.http.get("/network/v2.0/ports", params={"device_id": server}).json()["ports"]
    return ports


def used(client: Client) -> tuple[int, int, int]:
    """Processors, memory and disk that are claimed of all hosts."""
    headers = {"openstack-api-version": "compute 2.87"}
    found = client.http.get("/compute/v2.1/os-hypervisors/statistics", headers=headers).json()
    statistics: dict[str, Any] = found["hypervisor_statistics"]
    return statistics["vcpus_used"], statistics["memory_mb_used"], statistics["local_gb_used"]


def test_qemu_that_ends_at_once(faulty_cloud: Cloud, client: Client, programs: Path) -> None:
    link = programs / QEMU
    good = link.readlink()
    link.unlink()
    link.write_text(BAD_QEMU.format(qemu=good))
    link.chmod(0o755)
    try:
        server = client.boot("dies", client.upload("garbage", GARBAGE), "42")
        client.becomes(server, "ERROR")
        assert "could not lock the moon" in reasons(client, server)
        broken(faulty_cloud, client, server, "QEMU ended while it started")
    finally:
        link.unlink()
        link.symlink_to(good)


def test_qemu_that_is_gone(faulty_cloud: Cloud, client: Client, programs: Path) -> None:
    link = programs / QEMU
    good = link.readlink()
    link.unlink()
    try:
        server = client.boot("gone", client.upload("garbage", GARBAGE), "42")
        broken(faulty_cloud, client, server, rf"{QEMU} cannot be started.*install")
    finally:
        link.symlink_to(good)


def test_no_qemu_at_the_start(tmp_path: Path) -> None:
    """The program ends with one line that names the package; nothing is half started."""
    programs = tmp_path / "bin"
    programs.mkdir()
    cloud = Cloud(tmp_path, *guests.driver_options("knt1"))
    cloud.spawn("all", "nova-all-in-one", PATH=str(programs))
    assert cloud.processes.pop("all").wait(clouds.PATIENCE) == 78
    assert "apt-get install" in cloud.log("all").splitlines()[-1]
    assert "Traceback" not in cloud.log("all")


def test_an_image_that_was_damaged_on_disk(faulty_cloud: Cloud, client: Client, tmp_path: Path) -> None:
    source = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", source, "16M"], check=True)
    image = client.upload("damaged", source.read_bytes(), "qcow2")
    stored = [path for path in (faulty_cloud.directory / "all/state/images").rglob(f"*{image}*") if path.is_file()]
    assert len(stored) == 1
    stored[0].chmod(0o600)
    with stored[0].open("r+b") as file:
        file.seek(4000)
        file.write(b"something else")
    broken(faulty_cloud, client, client.boot("damaged", image, "42"), "checksum.*(upload it again|choose another)")


def test_an_image_that_boots_to_nothing(faulty_cloud: Cloud, client: Client) -> None:
    """Garbage that is declared raw is a disk like any other: what is on it is its owner's business."""
    server = client.boot("nothing", client.upload("garbage", GARBAGE), "42")
    client.becomes(server, "ACTIVE")
    client.delete(server)
    holds_nothing(client, server)
    guests.none_left(faulty_cloud)


def test_a_guest_that_is_killed(faulty_cloud: Cloud, client: Client) -> None:
    """The server is shown as it is, and can be started again."""
    server = client.boot("killed", client.upload("garbage", GARBAGE), "42")
    client.becomes(server, "ACTIVE")
    os.kill(guests.guest_processes(faulty_cloud)[server], signal.SIGKILL)
    client.becomes(server, "SHUTOFF")
    client.act(server, **{"os-start": None})
    client.becomes(server, "ACTIVE")
    assert server in guests.guest_processes(faulty_cloud)


def test_no_room_on_the_disk(tmp_path: Path) -> None:
    """The state directory is on a file system with less room than is kept free."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900m", "kilonova-test", small], check=True)
    try:
        with guests.real("knt2", f"state_dir={small}") as cloud, cloud.client() as client:
            body = {"flavor": {"id": "none", "name": "none", "ram": 64, "vcpus": 1, "disk": 0}}
            assert client.http.post("/compute/v2.1/flavors", json=body).status_code == 200
            image = client.upload("garbage", GARBAGE)
            subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
            server = client.boot("big", image, "none")
            broken(cloud, client, server, "no disk space left.*delete servers")
            assert list(small.glob("hosts/*/instances/*")) == []
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_guests_outlive_the_services(real_cloud: Cloud, number: signal.Signals) -> None:
    """kill -9 or an orderly restart: the same process of the guest, found again, with its console."""
    with real_cloud.client() as client:
        image = guests.upload_guest(client)
        server = client.boot("survivor", image, "84")
        client.becomes(server, "ACTIVE")
        said = guests.ready(client, server)
        pid = guests.guest_processes(real_cloud)[server]
        if number is signal.SIGKILL:
            real_cloud.kill("all")
        else:
            assert real_cloud.terminate("all") == 0
        assert guests.guest_processes(real_cloud) == {server: pid}
        real_cloud.start("all")
        real_cloud.wait()
        assert client.server(server)["status"] == "ACTIVE"
        eventually(lambda: client.console(server).startswith(said[:100]), "the console of before")
        assert guests.guest_processes(real_cloud) == {server: pid}
        client.act(server, reboot={"type": "HARD"})
        client.becomes(server, "ACTIVE")
        guests.ready(client, server, times=2)
        client.delete(server)
    guests.none_left(real_cloud)
