"""Real deployments for functional tests: our programs as processes, on ports and in directories of their own.

A deployment is asked for by a session-wide fixture and shared by the tests that use it; when it ends, nothing of it may
be left on the machine: that is asserted.
"""

import contextlib
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from kilonova.backing.database import DatabaseServer
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.postgresql import PostgreSQL
from kilonova.backing.rabbitmq import RabbitMQ

PASSWORD = "correct horse"
BIN = Path(sys.executable).parent
PATIENCE = 90.0
"""Seconds until a test gives up waiting; on an idle machine everything takes a tenth of it."""
DOWN_AFTER = 4.0
QUICK = (
    "membership.heartbeat=0.5",
    f"membership.down_after={DOWN_AFTER}",
    "actions.lease=4",
    "actions.dispatch=2",
    "actions.sweep_interval=0.5",
    "compute.reconcile_interval=5",
)
"""Bounds short enough to wait for, long enough for a busy machine."""

Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer], what: str, patience: float = PATIENCE) -> Answer:
    """The first true answer of ``ask``."""
    deadline = time.monotonic() + patience
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}; last answer: {answer!r}"
        time.sleep(0.05)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cloud:
    """Processes of one deployment, by name."""

    def __init__(self, directory: Path, *common: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.bridges: list[str] = []
        self._common = (
            f"api.port={self.port}",
            f"identity.admin_password={PASSWORD}",
            "quota.instances=-1",
            "quota.cores=-1",
            "quota.ram=-1",
            *common,
        )
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._write_clouds()

    def _write_clouds(self) -> None:
        clouds = "\n".join(
            f"""\
  {cloud}:
    region_name: RegionOne
    auth:
      auth_url: {self.url}/identity/v3
      username: {user}
      password: {PASSWORD}
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default"""
            for cloud, user, project in (("admin", "admin", "admin"), ("demo", "demo", "demo"))
        )
        self.clouds_file.write_text(f"clouds:\n{clouds}\n")

    @property
    def clouds_file(self) -> Path:
        """What ``OS_CLIENT_CONFIG_FILE`` points at; the clouds are ``admin`` and ``demo``."""
        return self.directory / "clouds.yaml"

    def change(self, statement: str) -> None:
        """A hand in the tables of a running cloud that is all one process."""
        with sqlite3.connect(self.directory / "all" / "state" / "kilonova.db", timeout=30.0) as connection:
            connection.execute(statement)
        connection.close()

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    # --- processes ---------------------------------------------------------------------------------------

    def spawn(self, name: str, program: str, *options: str, **environment: str) -> None:
        """Start a program under ``name``; options of the deployment come first."""
        (self.directory / name).mkdir(exist_ok=True)
        command = [str(BIN / program)]
        for option in (f"state_dir={self.directory / name / 'state'}", *self._common, *options):
            command += ["--set", option]
        self._commands[name] = (command, environment)
        self.start(name)

    def start(self, name: str) -> None:
        """Start it (again) as it was spawned."""
        command, environment = self._commands[name]
        # Where the clients are installed is the tests' business; the programs take every KILONOVA_ variable for an option.
        kept = {key: value for key, value in os.environ.items() if key != "KILONOVA_CLIENTS"}
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.directory / name, env={**kept, **environment}
            )

    def kill(self, name: str) -> None:
        """As the machine's memory ending does: at once, without a word."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def terminate(self, name: str) -> int:
        """As an operator stops it; the exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(PATIENCE)

    def wait(self) -> None:
        """Return when the API answers. Fails with the log of a program that ended instead."""
        eventually(self._answers, f"an answer of {self.url}")

    def _answers(self) -> bool:
        for name, process in self.processes.items():
            if process.poll() is not None:
                pytest.fail(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/compute/v2.1", trust_env=False).is_success
        return False

    def close(self) -> None:
        """Stop everything in good order and look whether that is so."""
        codes = {}
        for name, process in reversed(self.processes.items()):
            process.terminate()
            try:
                codes[name] = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        left = [f"process {pid}" for pid in self.inside()]
        assert set(codes.values()) <= {0} and not left, f"exit codes {codes}, left: {left}"

    def inside(self) -> list[int]:
        """The processes whose working directory is in the deployment's: ours and those of guests."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if (entry / "cwd").readlink().is_relative_to(self.directory):
                        found.append(int(entry.name))
        return found

    def client(self, cloud: str = "admin") -> "Client":
        """A cheap client of the API, logged in."""
        return Client(self, cloud)


class Client:
    """The HTTP API, for what a test asks often: a real client takes seconds."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.http = httpx.Client(base_url=cloud.url, trust_env=False, timeout=30.0)
        domain = {"id": "default"}
        auth = {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": name, "domain": domain, "password": PASSWORD}},
            },
            "scope": {"project": {"name": name, "domain": domain}},
        }
        answer = self.http.post("/identity/v3/auth/tokens", json={"auth": auth})
        assert answer.status_code == 201, answer.text
        self.http.headers["x-auth-token"] = answer.headers["x-subject-token"]
        self.http.headers["openstack-api-version"] = "compute 2.100"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def get(self, path: str) -> Any:
        """A good answer's body; ``path`` is below the Compute API."""
        answer = self.http.get(f"/compute/v2.1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, name: str, data: bytes, disk_format: str = "raw") -> str:
        """A public image's id."""
        body = {"name": name, "disk_format": disk_format, "container_format": "bare", "visibility": "public"}
        made = self.http.post("/image/v2/images", json=body)
        assert made.status_code == 201, made.text
        image = str(made.json()["id"])
        headers = {"content-type": "application/octet-stream"}
        put = self.http.put(f"/image/v2/images/{image}/file", content=data, headers=headers)
        assert put.status_code == 204, put.text
        return image

    def boot(self, name: str, image: str, flavor: str = "1", **more: Any) -> str:
        """A new server's id, as soon as it is accepted."""
        server = {"name": name, "imageRef": image, "flavorRef": flavor, "networks": "auto", **more}
        answer = self.http.post("/compute/v2.1/servers", json={"server": server})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    def act(self, server: str, **action: Any) -> Any:
        """What an action answers with."""
        answer = self.http.post(f"/compute/v2.1/servers/{server}/action", json=action)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def server(self, server: str) -> dict[str, Any]:
        return dict(self.get(f"/servers/{server}")["server"])

    def becomes(self, server: str, status: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The server once it has the status; anything that cannot become it fails at once."""

        def look() -> dict[str, Any] | None:
            found = self.server(server)
            assert status == "ERROR" or found["status"] != "ERROR", found.get("fault")
            settled = found["status"] == status and found["OS-EXT-STS:task_state"] is None
            return found if settled else None

        found = eventually(look, f"server {server} {status}", patience)
        assert found is not None
        return found

    def delete(self, *servers: str) -> None:
        """Delete and wait until they are gone."""
        for server in servers:
            assert self.http.delete(f"/compute/v2.1/servers/{server}").status_code in (204, 404)
        for server in servers:
            eventually(
                lambda one=server: self.http.get(f"/compute/v2.1/servers/{one}").status_code == 404,  # type: ignore[misc]
                f"server {server} deleted",
            )

    def console(self, server: str) -> str:
        """The console, empty while there is none."""
        answer = self.http.post(f"/compute/v2.1/servers/{server}/action", json={"os-getConsoleOutput": {}})
        return str(answer.json()["output"]) if answer.is_success else ""

    def services(self) -> dict[tuple[str, str], str]:
        """``up`` or ``down`` by binary and host."""
        return {(s["binary"], s["host"]): s["state"] for s in self.get("/os-services")["services"]}


# --- the shapes ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def new_directory() -> Iterator[Path]:
    """A short path of our own (sockets have short names), open to the accounts of backing servers."""
    directory = Path(tempfile.mkdtemp(prefix="kn-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def embedded(*options: str, **environment: str) -> Iterator[Cloud]:
    """nova-all-in-one: SQLite and the in-process bus."""
    with new_directory() as directory:
        cloud = Cloud(directory, *QUICK, "database.durable=false", *options)
        try:
            cloud.spawn("all", "nova-all-in-one", **environment)
            cloud.wait()
            yield cloud
        finally:
            cloud.close()


@contextlib.contextmanager
def distributed(broker: str, database: str, *options: str) -> Iterator[Cloud]:
    """Each sub-service a process of its own, two nova-compute on hosts of different names, nothing shared but the broker."""
    with new_directory() as directory:
        cloud = Cloud(directory, *QUICK, f"messaging.url={broker}", *options)
        try:
            for program in ("nova-conductor", "nova-scheduler", "nova-api"):
                cloud.spawn(program, program, f"database.url={database}", "compute.host=control")
            for host in ("host1", "host2"):
                cloud.spawn(host, "nova-compute", f"compute.host={host}")
            cloud.wait()
            with cloud.client() as client:
                eventually(
                    lambda: list(client.services().values()) == ["up"] * 5,
                    "five services up",
                )
            yield cloud
        finally:
            cloud.close()


@contextlib.contextmanager
def on_private_servers(directory: Path, databases: DatabaseServer, *options: str) -> Iterator[Cloud]:
    """A distributed cloud with a broker of its own (queues have fixed names) and a fresh database."""
    broker = RabbitMQ(directory / f"rabbitmq-{secrets.token_hex(4)}", durable=False)
    broker.start()
    try:
        with distributed(broker.url, databases.create_database(f"clouds_{secrets.token_hex(4)}"), *options) as cloud:
            yield cloud
    finally:
        broker.destroy()


@pytest.fixture(scope="session")
def fake_cloud() -> Iterator[Cloud]:
    """Embedded, three hosts that are imitated."""
    with embedded("compute.driver=fake", "compute.fake_hosts=3") as cloud:
        yield cloud


@pytest.fixture(scope="session")
def distributed_cloud(backing_directory: Path, mariadb_server: MariaDB) -> Iterator[Cloud]:
    """RabbitMQ and MariaDB; a build takes a moment, so that it can be interrupted."""
    options = ("compute.driver=fake", "compute.fake_delay=0.4")
    with on_private_servers(backing_directory, mariadb_server, *options) as cloud:
        yield cloud


@pytest.fixture
def postgresql_cloud(backing_directory: Path, postgresql_server: PostgreSQL) -> Iterator[Cloud]:
    """RabbitMQ and PostgreSQL."""
    with on_private_servers(backing_directory, postgresql_server, "compute.driver=fake") as cloud:
        yield cloud
