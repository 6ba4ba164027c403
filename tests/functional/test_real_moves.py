"""Moves of real guests, as far as one machine's QEMU goes: a size changed in place, off the shelf again; all else is refused."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import guests
from tests.clouds import Client, Cloud

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with guests.real("knt3", "moves.allow_resize_to_same_host=true") as cloud:
        yield cloud
        guests.none_left(cloud)


@pytest.fixture
def client(cloud: Cloud) -> Iterator[Client]:
    with cloud.client() as client:
        yield client
    guests.remove_all(cloud)


def memory(cloud: Cloud, server: str) -> str:
    """What QEMU was told of the guest's memory."""
    pid = guests.guest_processes(cloud)[server]
    argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return argv[argv.index("-m") + 1]


def disk_gb(cloud: Cloud, server: str) -> int:
    """GiB that the guest's disk pretends to have."""
    (disk,) = cloud.directory.glob(f"*/state/hosts/*/instances/{server}/disk.qcow2")
    argv = ["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", str(disk)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return int(said.split('"virtual-size": ')[1].split(",")[0]) >> 30


def test_a_guest_gets_another_size_and_goes_back(cloud: Cloud, client: Client) -> None:
    server = client.boot("grows", guests.upload_guest(client), "84")
    client.becomes(server, "ACTIVE")
    guests.ready(client, server)
    assert (memory(cloud, server), disk_gb(cloud, server)) == ("size=192M", 1)
    client.act(server, resize={"flavorRef": "d1"})
    assert client.becomes(server, "VERIFY_RESIZE")["flavor"]["original_name"] == "ds512M"
    guests.ready(client, server, times=2)
    assert (memory(cloud, server), disk_gb(cloud, server)) == ("size=512M", 5)
    client.act(server, revertResize=None)
    assert client.becomes(server, "ACTIVE")["flavor"]["original_name"] == "m1.micro"
    guests.ready(client, server, times=3)
    assert memory(cloud, server) == "size=192M"
    client.act(server, resize={"flavorRef": "d1"})
    client.becomes(server, "VERIFY_RESIZE")
    client.act(server, confirmResize=None)
    client.becomes(server, "ACTIVE")
    assert memory(cloud, server) == "size=512M"
    client.delete(server)


def test_a_shelved_guest_comes_back_from_its_image(cloud: Cloud, client: Client) -> None:
    server = client.boot("shelved", guests.upload_guest(client), "84")
    client.becomes(server, "ACTIVE")
    guests.ready(client, server)
    client.act(server, shelve=None)
    client.becomes(server, "SHELVED_OFFLOADED")
    guests.none_left(cloud)
    client.act(server, unshelve=None)
    client.becomes(server, "ACTIVE")
    guests.ready(client, server)
    client.delete(server)


def test_what_qemu_cannot_is_refused_before_anything_changes(cloud: Cloud, client: Client) -> None:
    server = client.boot("stays", guests.upload_guest(client), "84")
    client.becomes(server, "ACTIVE")
    for action, code in (
        ({"migrate": None}, 409),
        ({"os-migrateLive": {"block_migration": "auto", "host": None}}, 400),
        ({"evacuate": {}}, 400),
        ({"resize": {"flavorRef": "42"}}, 202),
    ):
        answer = client.http.post(f"/compute/v2.1/servers/{server}/action", json=action)
        assert answer.status_code == code, answer.text
    assert client.becomes(server, "VERIFY_RESIZE")["flavor"]["original_name"] == "m1.nano"
    assert [entry["status"] for entry in client.get("/os-migrations")["migrations"]] != []
    client.delete(server)
