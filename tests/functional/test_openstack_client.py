"""``openstack``, ``nova`` and openstacksdk, unmodified, on every shape of the cloud."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilonova.backing.mariadb import MariaDB
from tests import clients, clouds, guests
from tests.clients import Failed, Shell
from tests.clouds import PASSWORD, Client, Cloud, eventually

SDK_SCRIPT = """
import sys
import openstack

cloud = openstack.connect(cloud="demo")
image, flavor = cloud.image.find_image(sys.argv[1]), cloud.compute.find_flavor("m1.tiny")
server = cloud.compute.create_server(name="sdk", image_id=image.id, flavor_id=flavor.id, networks="auto")
server = cloud.compute.wait_for_server(server, interval=0.2)
assert server.status == "ACTIVE", server.status
assert server.addresses["private"][0]["addr"], server.addresses
assert [s.name for s in cloud.compute.servers()] == ["sdk"]
cloud.compute.delete_server(server)
cloud.compute.wait_for_delete(server, interval=0.2)
print("deleted")
"""


@pytest.fixture(scope="module")
def image(fake_cloud: Cloud) -> str:
    """The name of a public image that starts nothing."""
    with fake_cloud.client() as client:
        client.upload("empty", b"\0" * 512)
    return "empty"


@pytest.fixture(scope="module")
def admin(fake_cloud: Cloud, image: str) -> Iterator[Shell]:
    with clients.shell(fake_cloud) as shell:
        yield shell


@pytest.fixture(scope="module")
def demo(fake_cloud: Cloud, image: str) -> Iterator[Shell]:
    with clients.shell(fake_cloud, "demo") as shell:
        yield shell


def test_a_first_server_as_a_user_makes_it(fake_cloud: Cloud, image: str) -> None:
    """The issue's own command, by the program itself."""
    command = ["server", "create", "--flavor", "m1.tiny", "--image", image, "--wait", "-f", "json", "web"]
    made = json.loads(clients.run(fake_cloud, "openstack", *command, name="demo"))
    assert made["status"] == "ACTIVE"
    assert made["addresses"]["private"]
    assert clients.run(fake_cloud, "openstack", "server", "delete", "--wait", "web", name="demo") == ""


def test_the_life_of_a_server(demo: Shell, admin: Shell, image: str) -> None:
    made = demo.json("server", "create", "--flavor", "m1.tiny", "--image", image, "--wait", "life")
    assert [s["Name"] for s in demo.json("server", "list")] == ["life"]
    assert demo.json("server", "list", "--long")[0]["Power State"] == 1
    assert admin.json("server", "list", "--all-projects", "--long")[0]["Host"]
    shown = demo.json("server", "show", "life")
    assert (shown["id"], shown["status"]) == (made["id"], "ACTIVE")
    assert "kilonova-guest ready:" in demo("console", "log", "show", "life")
    demo("server", "stop", "life")
    assert demo.json("server", "list", "--status", "SHUTOFF")[0]["Name"] == "life"
    demo("server", "start", "life")
    demo("server", "reboot", "--wait", "life")
    demo("server", "reboot", "--hard", "--wait", "life")
    demo("server", "set", "--name", "renamed", "--description", "mine", "life")
    assert demo.json("server", "show", "renamed")["description"] == "mine"
    events = demo.json("server", "event", "list", "renamed")
    assert [e["Action"] for e in reversed(events)] == ["create", "stop", "start", "reboot", "reboot"]
    event = demo.json("server", "event", "show", "renamed", events[-1]["Request ID"])
    assert event["action"] == "create"
    assert demo.json("port", "list", "--server", "renamed")[0]["Fixed IP Addresses"]
    demo("server", "delete", "--wait", "renamed")
    assert demo.json("server", "list") == []
    assert demo.json("port", "list") == []


def test_several_at_once_and_what_cannot_be(demo: Shell, image: str) -> None:
    demo("server", "create", "--flavor", "m1.nano", "--image", image, "--min", "2", "--max", "2", "--wait", "twin")
    assert {s["Name"] for s in demo.json("server", "list", "--name", "twin")} == {"twin-1", "twin-2"}
    demo("server", "delete", "--wait", "twin-1", "twin-2")
    with pytest.raises(Failed, match=r"(?i)no server found"):
        demo("server", "show", "twin-1")
    with pytest.raises(Failed, match="nothing"):
        demo("server", "create", "--flavor", "nothing", "--image", image, "none")


def test_ways_to_ask_for_a_server(admin: Shell, image: str, tmp_path: Path) -> None:
    """Networks, ports, hosts, zones, user data and tags as the command line spells them; and lists that find them."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    admin("port", "create", "--network", "private", "mine")
    admin("security", "group", "create", "web")
    ways = {
        "network": ["--network", "private"],
        "port": ["--port", "mine"],
        "none": ["--nic", "none"],
        "address": ["--nic", "net-id=private,v4-fixed-ip=10.200.0.77"],
        "more": ["--user-data", str(script), "--property", "a=b", "--config-drive", "True", "--tag", "blue"],
        "zone": ["--availability-zone", "nova", "--hint", "colour=blue", "--security-group", "web"],
    }
    for name, options in ways.items():
        admin("server", "create", "--flavor", "m1.tiny", "--image", image, *options, name)
    names = {"--ip=10.200.0.77": {"address"}, "--tags=blue": {"more"}, "--not-tags=blue": set(ways) - {"more"}}
    names |= {"--name=^(more|zone)$": {"more", "zone"}, f"--image={image}": set(ways), "--status=ERROR": set()}
    for option, expected in names.items():
        assert {s["Name"] for s in admin.json("server", "list", option)} == expected, option
    assert admin.json("server", "show", "none")["addresses"] == {}
    assert admin.json("server", "show", "more")["properties"] == {"a": "b"}
    with pytest.raises(Failed, match="400"):
        admin("server", "list", "--name", "(a+)+")
    admin("server", "delete", "--wait", *ways)
    assert [p["Name"] for p in admin.json("port", "list") if not p["MAC Address"].startswith("fa:16:3e:00:00:0")] == [
        "mine"
    ]
    admin("port", "delete", "mine")


def test_a_server_that_fits_nowhere_says_why(admin: Shell, demo: Shell, image: str) -> None:
    admin("flavor", "create", "--ram", "99000000", "--disk", "1", "--vcpus", "1", "vast")
    with pytest.raises(Failed):
        demo("server", "create", "--flavor", "vast", "--image", image, "--wait", "vast")
    shown = demo.json("server", "show", "vast")
    assert shown["status"] == "ERROR"
    assert "No valid host was found. Of 3 hosts none can take it" in shown["fault"]["message"]
    demo("server", "delete", "--wait", "vast")
    admin("flavor", "delete", "vast")


def test_hosts_and_services(admin: Shell, demo: Shell) -> None:
    services = admin.json("compute", "service", "list")
    assert {s["State"] for s in services} == {"up"}
    assert {s["Binary"] for s in services} == {"nova-api", "nova-scheduler", "nova-conductor", "nova-compute"}
    hypervisors = admin.json("hypervisor", "list")
    assert len(hypervisors) == 3
    name = hypervisors[0]["Hypervisor Hostname"]
    assert admin.json("hypervisor", "show", name)["hypervisor_hostname"] == name
    assert admin.json("hypervisor", "stats", "show")["count"] == 3
    assert "nova" in {z["Zone Name"] for z in demo.json("availability", "zone", "list")}
    with pytest.raises(Failed, match="403"):
        demo("compute", "service", "list")
    host = next(s["Host"] for s in services if s["Binary"] == "nova-compute")
    admin("compute", "service", "set", "--disable", "--disable-reason", "broken fan", host, "nova-compute")
    admin("compute", "service", "set", "--enable", host, "nova-compute")


def test_flavors_and_key_pairs(admin: Shell, demo: Shell, tmp_path: Path) -> None:
    assert "m1.tiny" in {f["Name"] for f in demo.json("flavor", "list")}
    admin("flavor", "create", "--ram", "64", "--disk", "1", "--vcpus", "1", "--property", "a:b=c", "own")
    assert demo.json("flavor", "show", "own")["ram"] == 64
    admin("flavor", "delete", "own")
    private = tmp_path / "key"
    demo("keypair", "create", "--private-key", str(private), "mine")
    assert "PRIVATE KEY" in private.read_text()
    assert [k["Name"] for k in demo.json("keypair", "list")] == ["mine"]
    assert demo.json("keypair", "show", "mine")["type"] == "ssh"
    demo("keypair", "delete", "mine")


def test_limits_quotas_and_usage(admin: Shell, demo: Shell) -> None:
    limits = {entry["Name"]: entry["Value"] for entry in demo.json("limits", "show", "--absolute")}
    assert limits["total_instances_used"] == 0
    quota = {entry["Resource"]: entry["Limit"] for entry in demo.json("quota", "show")}
    assert quota["instances"] == -1
    admin("quota", "set", "--instances", "7", "demo")
    quota = {entry["Resource"]: entry["Limit"] for entry in admin.json("quota", "show", "demo")}
    assert quota["instances"] == 7
    admin("quota", "delete", "demo")
    assert isinstance(admin.json("usage", "list"), list)
    assert demo.json("usage", "show")


def test_images(demo: Shell, tmp_path: Path) -> None:
    source, saved = tmp_path / "source", tmp_path / "saved"
    source.write_bytes(bytes(range(256)) * 4096)
    demo("image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", str(source), "own")
    assert "own" in {i["Name"] for i in demo.json("image", "list")}
    assert demo.json("image", "show", "own")["status"] == "active"
    demo("image", "save", "--file", str(saved), "own")
    assert saved.read_bytes() == source.read_bytes()
    demo("image", "set", "--property", "os_distro=debian", "own")
    demo("image", "delete", "own")
    assert "own" not in {i["Name"] for i in demo.json("image", "list")}


def test_networks_and_identity(admin: Shell, demo: Shell) -> None:
    assert {n["Name"] for n in demo.json("network", "list")} == {"private", "public"}
    assert len(demo.json("subnet", "list")) == 1
    assert {p["Name"] for p in admin.json("project", "list")} >= {"admin", "demo"}
    assert {u["Name"] for u in admin.json("user", "list")} >= {"admin", "demo"}
    assert demo.json("token", "issue")["id"]
    assert {e["Type"] for e in demo.json("catalog", "list")} >= {"compute", "identity", "image", "network"}


def test_application_credentials(fake_cloud: Cloud, demo: Shell) -> None:
    made = {key.lower(): value for key, value in demo.json("application", "credential", "create", "robot").items()}
    environment = {
        "OS_CLIENT_CONFIG_FILE": "/nonexistent",
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": f"{fake_cloud.url}/identity/v3",
        "OS_APPLICATION_CREDENTIAL_ID": made["id"],
        "OS_APPLICATION_CREDENTIAL_SECRET": made["secret"],
        "OS_REGION_NAME": "RegionOne",
    }
    with clients.shell(fake_cloud, "", **environment) as robot:
        assert robot.json("server", "list") == []
        assert robot.json("token", "issue")["project_id"]
    demo("application", "credential", "delete", "robot")


def test_nova(fake_cloud: Cloud, image: str) -> None:
    with clients.shell(fake_cloud, **clients.openrc(fake_cloud, "admin", PASSWORD)) as shell:
        assert "nova-conductor" in shell.nova("service-list")
        assert "m1.tiny" in shell.nova("flavor-list")
        shell.nova("boot", "--flavor", "m1.tiny", "--image", image, "--poll", "old")
        assert "ACTIVE" in shell.nova("list")
        assert "m1.tiny" in shell.nova("show", "old")
        assert "guest ready" in shell.nova("console-log", "old")
        assert "create" in shell.nova("instance-action-list", "old")
        shell.nova("reboot", "--poll", "old")
        shell.nova("delete", "old")


def test_sdk(fake_cloud: Cloud, image: str) -> None:
    assert _sdk(fake_cloud, image) == "deleted\n"


def _sdk(cloud: Cloud, image: str) -> str:
    return clients.run(cloud, "python", "-c", SDK_SCRIPT, image, name="demo")


@pytest.mark.real
def test_real_guests(real_cloud: Cloud, tmp_path: Path) -> None:
    """The whole first hour of a user, with a guest that really boots."""
    key = tmp_path / "key"
    with real_cloud.client("demo") as client, real_cloud.client() as administrator:
        guests.upload_guest(administrator)
        with clients.shell(real_cloud, "demo") as demo:
            demo("keypair", "create", "--private-key", str(key), "mine")
            key.chmod(0o600)
            create = ["--flavor", "m1.micro", "--image", "cirros", "--key-name", "mine", "--wait", "web"]
            made = demo.json("server", "create", *create)
            assert guests.READY in guests.ready(client, made["id"])
            assert guests.READY in demo("console", "log", "show", "web")
            address = made["addresses"]["private"][0]
            assert guests.ssh(key, address, "hostname") == "web\n"
            demo("server", "stop", "web")
            client.becomes(made["id"], "SHUTOFF")
            demo("server", "start", "web")
            client.becomes(made["id"], "ACTIVE")
            guests.ready(client, made["id"], times=2)
            demo("server", "reboot", "--hard", "--wait", "web")
            guests.ready(client, made["id"], times=3)
            assert guests.ssh(key, address, "hostname") == "web\n"
            demo("server", "delete", "--wait", "web")
            demo("keypair", "delete", "mine")
    guests.none_left(real_cloud)


@pytest.mark.real
@pytest.mark.distributed
def test_real_guests_on_two_hosts(backing_directory: Path, mariadb_server: MariaDB) -> None:
    """Each nova-compute fetches the image for itself; a killed one leaves its guest running and finds it again."""
    with (
        guests.no_bridge_after("knt2"),
        clouds.on_private_servers(backing_directory, mariadb_server, *guests.driver_options("knt2")) as cloud,
        cloud.client() as client,
    ):
        cloud.bridges.append("knt2")
        try:
            _two_hosts(cloud, client)
        finally:
            guests.remove_all(cloud)
        guests.none_left(cloud)


def _two_hosts(cloud: Cloud, client: Client) -> None:
    image = guests.upload_guest(client)
    servers = [client.boot(f"real{number}", image, "84") for number in (1, 2)]
    hosts = {server: client.becomes(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] for server in servers}
    assert set(hosts.values()) == {"host1", "host2"}
    for server in servers:
        guests.ready(client, server)
    before = guests.guest_processes(cloud)
    cloud.kill("host1")
    assert guests.guest_processes(cloud) == before
    cloud.start("host1")
    for server in servers:
        eventually(lambda one=server: guests.READY in client.console(one), "the console of before")  # type: ignore[misc]
    assert guests.guest_processes(cloud) == before
    client.delete(*servers)


@pytest.mark.distributed
@pytest.mark.parametrize("shape", ["distributed_cloud", "postgresql_cloud"])
def test_distributed(shape: str, request: pytest.FixtureRequest) -> None:
    """The core path where every message goes over RabbitMQ."""
    cloud: Cloud = request.getfixturevalue(shape)
    with cloud.client() as client:
        image = client.upload("empty", b"\0" * 512)
        with clients.shell(cloud, "demo") as demo:
            demo("server", "create", "--flavor", "m1.tiny", "--image", "empty", "--wait", "web")
            assert guests.READY in demo("console", "log", "show", "web")
            demo("server", "reboot", "--hard", "--wait", "web")
            server = demo.json("server", "show", "web")["id"]
            demo("server", "stop", "web")
            client.becomes(server, "SHUTOFF")
            demo("server", "start", "web")
            client.becomes(server, "ACTIVE")
            demo("server", "delete", "--wait", "web")
        assert _sdk(cloud, "empty") == "deleted\n"
        _remove_image(client, image)


def _remove_image(client: Client, image: str) -> None:
    assert client.http.delete(f"/image/v2/images/{image}").status_code == 204


def test_missing_clients_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KILONOVA_CLIENTS", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="make clients"):
        clients.clients_bin()


def test_the_shell_is_the_program(fake_cloud: Cloud, demo: Shell) -> None:
    """What the shared process answers is what the program prints."""
    alone = clients.run(fake_cloud, "openstack", "flavor", "list", "-f", "json", name="demo")
    assert json.loads(alone) == demo.json("flavor", "list")
    assert subprocess.run([clients.clients_bin() / "openstack", "--version"], check=False).returncode == 0
