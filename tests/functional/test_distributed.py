"""Each sub-service a process of its own over RabbitMQ and MariaDB: who does the work, and who dies in the middle of it."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilonova.backing.mariadb import MariaDB
from tests import clouds
from tests.clouds import DOWN_AFTER, Client, Cloud, eventually

pytestmark = pytest.mark.distributed

CONTROL = ("nova-conductor", "nova-scheduler", "nova-api")
HOSTS = ("host1", "host2")
OLD = {"openstack-api-version": "compute 2.87"}


@pytest.fixture
def cloud(distributed_cloud: Cloud) -> Iterator[Cloud]:
    """The shared deployment; every process of it is up again afterwards."""
    yield distributed_cloud
    for name in (*CONTROL, *HOSTS):
        if name not in distributed_cloud.processes:
            distributed_cloud.start(name)
    distributed_cloud.wait()
    with distributed_cloud.client() as client:
        all_up(client)


@pytest.fixture
def client(cloud: Cloud) -> Iterator[Client]:
    with cloud.client() as client:
        yield client
        client.delete(*(server["id"] for server in client.get("/servers?all_tenants=1")["servers"]))


@pytest.fixture(scope="module")
def image(distributed_cloud: Cloud) -> str:
    with distributed_cloud.client() as client:
        return client.upload("distributed", b"\0" * 512)


def all_up(client: Client) -> dict[tuple[str, str], str]:
    def look() -> dict[tuple[str, str], str] | None:
        found = client.services()
        return found if set(found.values()) == {"up"} else None

    found = eventually(look, "all services up")
    assert found is not None
    return found


def test_who_runs_where(client: Client) -> None:
    assert set(all_up(client)) == {(name, "control") for name in CONTROL} | {("nova-compute", name) for name in HOSTS}


def test_servers_spread_over_the_hosts(client: Client, image: str) -> None:
    servers = [client.boot(f"s{number}", image) for number in range(6)]
    hosts = Counter(client.becomes(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] for server in servers)
    assert hosts == {"host1": 3, "host2": 3}


def test_a_killed_compute_goes_down_and_comes_back(cloud: Cloud, client: Client, image: str) -> None:
    cloud.kill("host1")
    eventually(lambda: client.services()["nova-compute", "host1"] == "down", "host1 down", DOWN_AFTER * 2)
    server = client.boot("elsewhere", image)
    assert client.becomes(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "host2"
    cloud.start("host1")
    all_up(client)


@pytest.mark.parametrize("victim", ["nova-conductor", "nova-scheduler", "nova-api"])
def test_killed_in_the_middle_of_creates(cloud: Cloud, client: Client, image: str, victim: str) -> None:
    """kill -9 of a process that has begun: whatever was accepted ends ACTIVE, built once."""
    if victim == "nova-api":
        servers = [client.boot(f"s{number}", image) for number in range(6)]
    else:
        cloud.processes[victim].send_signal(signal.SIGSTOP)  # it takes the messages and gets no further
        servers = [client.boot(f"s{number}", image) for number in range(6)]
        if victim == "nova-conductor":  # each build has asked it for its lease
            eventually(lambda: all(client.server(s)["OS-EXT-SRV-ATTR:host"] for s in servers), "hosts chosen")
    cloud.kill(victim)
    cloud.start(victim)
    cloud.wait()
    for server in servers:
        client.becomes(server, "ACTIVE")
    usage = client.get("/limits")["limits"]["absolute"]
    assert usage["totalInstancesUsed"] == len(servers)
    statistics = client.http.get("/compute/v2.1/os-hypervisors/statistics", headers=OLD).json()
    assert statistics["hypervisor_statistics"]["running_vms"] == len(servers)
    ports = client.http.get("/network/v2.0/ports").json()["ports"]
    of_servers = [port for port in ports if port["device_owner"].startswith("compute:")]
    assert Counter(port["device_id"] for port in of_servers) == dict.fromkeys(servers, 1)


def test_a_compute_killed_while_it_builds(cloud: Cloud, client: Client, image: str) -> None:
    servers = [client.boot(f"s{number}", image) for number in range(6)]
    cloud.kill("host2")
    for server in servers:  # what host2 had begun is taken over by its successor or built elsewhere
        if server == servers[0]:
            cloud.start("host2")
        client.becomes(server, "ACTIVE")


@pytest.mark.parametrize("name", [*CONTROL, *HOSTS])
def test_sigterm_drains(cloud: Cloud, client: Client, image: str, name: str) -> None:
    server = client.boot("draining", image)
    assert cloud.terminate(name) == 0
    assert "Traceback" not in cloud.log(name)
    cloud.start(name)
    cloud.wait()
    client.becomes(server, "ACTIVE")


def test_a_compute_knows_no_database(cloud: Cloud, mariadb_server: MariaDB) -> None:
    """Neither in what it was given nor in the files it keeps nor in a connection: and it works."""
    for name in HOSTS:
        pid = cloud.processes[name].pid
        given = " ".join(cloud.processes[name].args) + Path(f"/proc/{pid}/environ").read_text(errors="replace")  # type: ignore[arg-type]
        assert "mysql" not in given
        assert mariadb_server.password not in given
        for file in (cloud.directory / name).rglob("*"):
            assert not file.is_file() or mariadb_server.password.encode() not in file.read_bytes(), file
        assert mariadb_server.port not in remote_ports(pid)
    assert mariadb_server.port in remote_ports(cloud.processes["nova-conductor"].pid)


def remote_ports(pid: int) -> set[int]:
    """The ports at the other ends of a process's TCP connections over IPv4."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return {int(row[2].split(":")[1], 16) for row in rows if row[9] in inodes}


def test_the_api_accepts_while_all_others_stand_still(cloud: Cloud, client: Client, image: str) -> None:
    """What it accepts is done when they are back."""
    for name in ("nova-scheduler", *HOSTS):
        cloud.processes[name].send_signal(signal.SIGSTOP)
    try:
        servers = [client.boot(f"s{number}", image) for number in range(3)]
        assert {client.server(server)["status"] for server in servers} == {"BUILD"}
    finally:
        for name in ("nova-scheduler", *HOSTS):
            cloud.processes[name].send_signal(signal.SIGCONT)
    for server in servers:
        client.becomes(server, "ACTIVE")


def test_a_program_that_cannot_run_alone(tmp_path: Path) -> None:
    """Without a broker the services must share a process; it is said in one line."""
    cloud = Cloud(tmp_path)
    cloud.spawn("api", "nova-api")
    process = cloud.processes.pop("api")
    assert process.wait(clouds.PATIENCE) == 78
    assert len(cloud.log("api").splitlines()) == 1
    assert "messaging.url" in cloud.log("api")
