"""The ``openstack`` command itself against identity, image and network."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import clients_bin

pytestmark = pytest.mark.slow

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def openstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    directory = tmp_path_factory.mktemp("cloud")
    root = Path(__file__).parents[2]
    server = subprocess.Popen([sys.executable, "-m", "tests.functional.serve_neighbours", directory], cwd=root)
    try:
        deadline = time.monotonic() + 20
        while not (directory / "port").exists():
            assert server.poll() is None and time.monotonic() < deadline, "the services did not start"
            time.sleep(0.05)
        base = f"http://127.0.0.1:{(directory / 'port').read_text()}"

        def run(*words: str, user: str = "admin", project: str = "admin", fails: bool = False) -> Any:
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(directory),
                "OS_AUTH_URL": f"{base}/identity",
                "OS_USERNAME": user,
                "OS_PASSWORD": "correct horse",
                "OS_PROJECT_NAME": project,
                "OS_USER_DOMAIN_NAME": "Default",
                "OS_PROJECT_DOMAIN_NAME": "Default",
                "OS_IDENTITY_API_VERSION": "3",
            }
            done = subprocess.run(
                [str(clients_bin() / "openstack"), *words],
                check=False,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode != 0) == fails, done.stderr
            return json.loads(done.stdout) if "json" in words and not fails else done.stdout + done.stderr

        yield run
    finally:
        server.terminate()
        server.wait(10)


def test_identity(openstack: Run) -> None:
    as_json = ("-f", "json")
    assert openstack("token", "issue", *as_json)["project_id"]
    assert {entry["Name"] for entry in openstack("catalog", "list", *as_json)} >= {"keystone", "nova", "glance"}
    made = openstack("project", "create", "p1", "--description", "d", *as_json)
    openstack("user", "create", "u1", "--project", "p1", "--password", "correct horse", *as_json)
    openstack("role", "add", "--user", "u1", "--project", "p1", "member")
    rows = openstack("role", "assignment", "list", "--user", "u1", "--names", *as_json)
    assert rows[0]["Role"] == "member" and rows[0]["Project"] == "p1@Default"
    assert openstack("token", "issue", *as_json, user="u1", project="p1")["project_id"] == made["id"]
    openstack("user", "list", fails=True, user="u1", project="p1")
    credential = openstack("application", "credential", "create", "c1", *as_json, user="demo", project="demo")
    assert credential.get("secret") or credential.get("Secret")
    openstack("application", "credential", "delete", "c1", user="demo", project="demo")
    assert len(openstack("endpoint", "list", *as_json)) == 15
    assert len(openstack("role", "list", *as_json)) == 5
    openstack("domain", "create", "d1", *as_json)
    openstack("domain", "set", "d1", "--disable")
    openstack("domain", "delete", "d1")
    openstack("user", "set", "u1", "--password", "other")
    openstack("role", "remove", "--user", "u1", "--project", "p1", "member")
    openstack("user", "delete", "u1")
    openstack("project", "delete", "p1")


def test_image(openstack: Run, tmp_path: Path) -> None:
    as_json = ("-f", "json")
    source = tmp_path / "guest.raw"
    source.write_bytes(b"\0guest" * 300_000)
    made = openstack(
        *("image", "create", "guest", "--file", str(source), "--disk-format", "raw", "--public"),
        *("--property", "hw_disk_bus=virtio", "--tag", "t", *as_json),
    )
    image = openstack("image", "show", "guest", *as_json)
    assert image["id"] == made["id"] and image["status"] == "active" and image["size"] == source.stat().st_size
    openstack("image", "set", "guest", "--property", "os_distro=debian", "--min-disk", "1", "--name", "renamed")
    openstack("image", "unset", "renamed", "--property", "os_distro", "--tag", "t")
    assert [entry["Name"] for entry in openstack("image", "list", *as_json, user="demo", project="demo")] == [
        "renamed"
    ]
    saved = tmp_path / "saved"
    openstack("image", "save", "renamed", "--file", str(saved))
    assert saved.read_bytes() == source.read_bytes()
    openstack("image", "delete", "renamed", fails=True, user="demo", project="demo")
    openstack("image", "delete", "renamed")
    assert openstack("image", "list", *as_json) == []


def test_network(openstack: Run) -> None:
    as_json = ("-f", "json")
    demo = {"user": "demo", "project": "demo"}
    assert {entry["Name"] for entry in openstack("network", "list", *as_json)} == {"private", "public"}
    assert openstack("network", "show", "private", *as_json, **demo)["shared"] is True
    assert openstack("subnet", "show", "private-subnet", *as_json)["cidr"] == "10.200.0.0/16"
    openstack("port", "create", "--network", "private", "p1", *as_json, **demo)
    openstack("port", "set", "p1", "--name", "p2", **demo)
    assert [entry["Name"] for entry in openstack("port", "list", *as_json, **demo)] == ["p2"]
    openstack("port", "delete", "p2", **demo)
    openstack("security", "group", "show", "default", *as_json, **demo)
    assert openstack("extension", "list", "--network", *as_json)


def test_a_network_of_ones_own(openstack: Run) -> None:
    as_json, demo = ("-f", "json"), {"user": "demo", "project": "demo"}
    openstack("network", "create", "n1", "--mtu", "1400", "--tag", "mine", *as_json, **demo)
    openstack("network", "set", "n1", "--description", "d", **demo)
    openstack(
        *("subnet", "create", "s1", "--network", "n1", "--subnet-range", "10.5.0.0/24", "--gateway", "10.5.0.254"),
        *("--allocation-pool", "start=10.5.0.10,end=10.5.0.20", "--dns-nameserver", "9.9.9.9", *as_json),
        **demo,
    )
    openstack("subnet", "set", "s1", "--host-route", "destination=10.6.0.0/16,gateway=10.5.0.9", **demo)
    openstack("router", "create", "r1", "--external-gateway", "public", *as_json, **demo)
    openstack("router", "add", "subnet", "r1", "s1", **demo)
    openstack("security", "group", "create", "web", *as_json, **demo)
    rule = ("security", "group", "rule", "create", "web", "--protocol", "tcp", "--dst-port", "80:81")
    assert openstack(*rule, *as_json, **demo)["port_range_max"] == 81
    assert "already exists" in openstack(*rule, **demo, fails=True)
    fixed = "subnet=s1,ip-address=10.5.0.15"
    openstack("port", "create", "p1", "--network", "n1", "--fixed-ip", fixed, "--security-group", "web", **demo)
    assert [e["Name"] for e in openstack("port", "list", "--fixed-ip", "ip-address=10.5.0.15", *as_json)] == ["p1"]
    address = openstack("floating", "ip", "create", "public", *as_json, **demo)["floating_ip_address"]
    openstack("floating", "ip", "set", address, "--port", "p1", **demo)
    shown = openstack("floating", "ip", "show", address, *as_json, **demo)
    assert shown["fixed_ip_address"] == "10.5.0.15" and shown["status"] == "ACTIVE"
    for busy in (("network", "delete", "n1"), ("security", "group", "delete", "web"), ("router", "delete", "r1")):
        openstack(*busy, **demo, fails=True)
    openstack("floating", "ip", "unset", "--port", address, **demo)
    openstack("floating", "ip", "delete", address, **demo)
    openstack("port", "delete", "p1", **demo)
    openstack("router", "remove", "subnet", "r1", "s1", **demo)
    openstack("router", "delete", "r1", **demo)
    openstack("network", "delete", "n1", **demo)
    openstack("security", "group", "delete", "web", **demo)
    assert openstack("quota", "set", "--networks", "7", "demo") == ""
    assert openstack("quota", "show", "demo", "--network", "-f", "value", "-c", "Limit").split()
    assert openstack("network", "auto", "allocated", "topology", "create", *as_json, **demo)["id"]
    openstack("network", "auto", "allocated", "topology", "delete", **demo)
