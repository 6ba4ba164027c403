"""Clouds to measure: our processes as an operator starts them, on fake hosts, and what they use of the machine."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench import processor_time
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.backing.server import PrivateServer

PASSWORD = "bench"
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cloud:
    """Our processes of one deployment. CPU and memory are theirs alone: not the client's, the broker's or the database's."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.backing: list[PrivateServer] = []

    def spawn(self, program: str, name: str, *options: str) -> None:
        log = (self.directory / f"{name}.log").open("wb")
        arguments = [str(BIN / program)]
        for option in (
            f"state_dir={self.directory / 'state'}",
            f"api.port={self.port}",
            f"identity.admin_password={PASSWORD}",
            "quota.instances=-1",
            "quota.cores=-1",
            "quota.ram=-1",
            "compute.driver=fake",
            "log.level=warning",
            *options,
        ):
            arguments += ["--set", option]
        self.processes[name] = subprocess.Popen(arguments, stdout=log, stderr=log)

    def wait(self, deadline: float = 60.0) -> float:
        """Seconds until the API answers."""
        began = time.monotonic()
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() - began < deadline:
                for name, process in self.processes.items():
                    if process.poll() is not None:
                        raise SystemExit(f"{name} ended:\n{(self.directory / f'{name}.log').read_text()[-2000:]}")
                try:
                    client.get(f"{self.url}/compute/v2.1", timeout=5.0).raise_for_status()
                except httpx.HTTPError:
                    time.sleep(0.005)
                else:
                    return time.monotonic() - began
        raise SystemExit("the API did not answer")

    def cpu(self) -> float:
        """CPU-seconds used so far by all our processes."""
        return sum(_cpu(process.pid) for process in self.processes.values())

    def cpu_by_process(self) -> dict[str, float]:
        return {name: _cpu(process.pid) for name, process in self.processes.items()}

    def resident_mb(self) -> float:
        """Resident memory of all our processes, MiB."""
        return sum(_resident(process.pid) for process in self.processes.values()) / 1024

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cpu(pid: int) -> float:
    return processor_time.parse(Path(f"/proc/{pid}/stat").read_text())[1]


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@contextmanager
def embedded(hosts: int, *options: str) -> Iterator[Cloud]:
    """nova-all-in-one: SQLite, the in-process bus, ``hosts`` fake hosts."""
    directory = Path(tempfile.mkdtemp(prefix="kn-bench-"))
    cloud = Cloud(directory, free_port())
    try:
        cloud.spawn("nova-all-in-one", "nova-all-in-one", f"compute.fake_hosts={hosts}", *options)
        yield cloud
    finally:
        cloud.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def distributed(hosts: int) -> Iterator[Cloud]:
    """One process per sub-service, two nova-compute, over a private RabbitMQ and a private MariaDB."""
    directory = Path(tempfile.mkdtemp(prefix="kn-bench-"))
    directory.chmod(0o755)  # the private servers run as users of their own
    cloud = Cloud(directory, free_port())
    broker, database = RabbitMQ(directory / "rabbitmq"), MariaDB(directory / "mariadb")
    cloud.backing = [broker, database]
    try:
        broker.start()
        database.start()
        bus = f"messaging.url={broker.url}"
        tables = f"database.url={database.create_database('kilonova')}"
        for program in ("nova-conductor", "nova-scheduler", "nova-api"):
            cloud.spawn(program, program, bus, tables, "compute.host=control")
            time.sleep(1.0 if program == "nova-conductor" else 0.0)  # the first one makes the schema
        for number in (1, 2):
            cloud.spawn(
                "nova-compute",
                f"nova-compute-{number}",
                bus,
                f"compute.host=host{number}",
                f"compute.fake_hosts={max(hosts // 2, 1)}",
            )
        yield cloud
    finally:
        cloud.stop()
        broker.stop()
        database.stop()
        shutil.rmtree(directory, ignore_errors=True)
