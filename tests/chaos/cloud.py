"""A distributed cloud to break: every service a process, a supervisor that starts again what died, as systemd would."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx

from kilonova.backing.database import DatabaseServer
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.postgresql import PostgreSQL
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.backing.server import PrivateServer, free_port
from kilonova.hypervisor.qemu.process import find

PASSWORD = "chaos"
BIN = Path(sys.executable).parent
RESTART = 3.0
"""Seconds until the supervisor starts again what has ended (systemd's RestartSec=3)."""
BRIDGE = "knchaos0"
"""Where real guests are plugged in."""
PATIENCE = 90.0
"""Seconds until a start or a stop that must succeed has failed."""
COMPUTES = ("nova-compute-1", "nova-compute-2")
CONTROL = ("nova-conductor-1", "nova-conductor-2", "nova-scheduler-1", "nova-scheduler-2", "nova-api-1", "nova-api-2")


class Cloud:
    """The processes by name, and what the supervisor knows of each."""

    def __init__(
        self, directory: Path, database: DatabaseServer, broker: RabbitMQ, hosts: int, *, guests: bool = False
    ) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.database, self.broker = database, broker
        self.guests = guests  # real ones
        self.database_url = database.create_database("kilonova")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._commands = {name: self._command(name, hosts // len(COMPUTES)) for name in (*CONTROL, *COMPUTES)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, float] = {}
        self._kept_down: set[str] = set()
        self._supervisor: asyncio.Task[None] | None = None

    def _command(self, name: str, hosts: int) -> list[str]:
        program, number = name.rsplit("-", 1)
        options = [
            f"state_dir={self.state}",
            f"messaging.url={self.broker.url}",
            "log.level=info",
            "log.json_lines=true",
        ]
        if name in COMPUTES:
            options += [f"compute.host=rack{number}"]
            options += (
                ["compute.driver=qemu", "compute.accelerator=tcg", "compute.reserved_memory_mb=0"]
                if self.guests
                else ["compute.driver=fake", f"compute.fake_hosts={hosts}", "compute.fake_delay=0.3"]
            )
        else:
            options += [f"database.url={self.database_url}", f"compute.host=control{number}"]
            options += [f"api.port={self.port}", "api.reuse_port=true", f"identity.admin_password={PASSWORD}"]
            options += ["quota.instances=-1", "quota.cores=-1", "quota.ram=-1"]
            options += [f"network.bridge={BRIDGE}", "network.cidr=10.226.0.0/24"]
        command = [str(BIN / program), "--pid-file", str(self._pid_file(name))]
        for option in options:
            command += ["--set", option]
        return command

    def _pid_file(self, name: str) -> Path:
        return self.directory / f"{name}.pid"

    # --- processes -------------------------------------------------------------------------------------------

    def spawn(self, name: str) -> None:
        """Start it; it is up once its pid file is there."""
        self._pid_file(name).unlink(missing_ok=True)
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(self._commands[name], stdout=log, stderr=log)
        self._ended.pop(name, None)

    def kill(self, name: str, *, back: bool = True) -> None:
        """SIGKILL. Without ``back`` the supervisor leaves it down until ``bring_back``."""
        if not back:
            self._kept_down.add(name)
        process = self._processes[name]
        process.kill()
        process.wait()
        self._pid_file(name).unlink(missing_ok=True)

    async def freeze(self, names: Iterable[str], seconds: float, servers: Iterable[PrivateServer] = ()) -> None:
        """SIGSTOP, and SIGCONT so much later: they go on where they stood, with what they believed then."""
        groups = [process for server in servers if (process := server.process) is not None]
        processes = [self._processes[name] for name in names]

        def signal_all(number: signal.Signals) -> None:
            for group in groups:
                group.signal_group(number)
            for process in processes:
                process.send_signal(number)

        signal_all(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            signal_all(signal.SIGCONT)

    def bring_back(self, names: Iterable[str]) -> None:
        """Let the supervisor start them again."""
        self._kept_down.difference_update(names)

    async def terminate(self, name: str) -> tuple[int, float]:
        """SIGTERM, as an operator's restart does; the exit code and the seconds it took."""
        self._kept_down.add(name)
        began = time.monotonic()
        process = self._processes[name]
        process.send_signal(signal.SIGTERM)
        while process.poll() is None and time.monotonic() - began < PATIENCE:
            await asyncio.sleep(0.02)
        if process.poll() is None:
            process.kill()
        return process.wait(), time.monotonic() - began

    def up(self, name: str) -> bool:
        """Whether it runs and all of its services are up."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None and self._pid_file(name).exists()

    async def until_up(self, names: Iterable[str]) -> None:
        """Return when all of them are."""
        names = list(names)
        deadline = time.monotonic() + PATIENCE
        while missing := [name for name in names if not self.up(name)]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{', '.join(missing)} did not come up:\n{self.tail(missing[0])}")
            await asyncio.sleep(0.05)

    def tail(self, name: str) -> str:
        """The end of its log."""
        return (self.directory / f"{name}.log").read_text()[-3000:]

    async def supervise(self) -> None:
        """Start again what ended, ``RESTART`` seconds later."""
        while True:
            now = time.monotonic()
            for name, process in list(self._processes.items()):
                if process.poll() is None or name in self._kept_down:
                    continue
                if now - self._ended.setdefault(name, now) >= RESTART:
                    self.spawn(name)
            await asyncio.sleep(0.05)

    # --- backing servers -------------------------------------------------------------------------------------

    async def interrupt(self, server: PrivateServer, seconds: float, *, kill: bool) -> None:
        """Take a backing server away, and return when it answers again."""
        await asyncio.to_thread(server.kill if kill else server.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)

    async def lose_broker(self, seconds: float) -> None:
        """Kill it, and put a new, empty one in its place: every queue and message is gone."""
        await asyncio.to_thread(self.broker.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(shutil.rmtree, self.broker.directory / "data")
        await asyncio.to_thread(self.broker.start)

    # --- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The first conductor makes the tables; then all the others at once."""
        self.spawn(CONTROL[0])
        await self.until_up([CONTROL[0]])
        for name in (*CONTROL[1:], *COMPUTES):
            self.spawn(name)
        await self.until_up((*CONTROL, *COMPUTES))
        self._supervisor = asyncio.get_running_loop().create_task(self.supervise())
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            (await client.get("/healthcheck")).raise_for_status()

    async def stop(self) -> None:
        """End everything; SIGKILL what does not within the patience."""
        if self._supervisor is not None:
            self._supervisor.cancel()
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                await asyncio.to_thread(process.wait, PATIENCE / 3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.asynccontextmanager
async def running_cloud(kind: str, hosts: int, keep: Path | None, *, guests: bool = False) -> AsyncIterator[Cloud]:
    """A cloud of its own on a broker and a database (``mariadb`` or ``postgresql``) of its own; its logs go to ``keep``.

    ``guests``: real ones, on as many hosts as there are nova-computes. None is left behind.
    """
    directory = Path(tempfile.mkdtemp(prefix="kn-chaos-"))
    directory.chmod(0o755)  # the private servers run as users of their own
    broker = RabbitMQ(directory / "rabbitmq")
    database: DatabaseServer = {"mariadb": MariaDB, "postgresql": PostgreSQL}[kind](directory / kind)
    try:
        await asyncio.gather(asyncio.to_thread(broker.start), asyncio.to_thread(database.start))
        cloud = Cloud(directory, database, broker, hosts, guests=guests)
        try:
            await cloud.start()
            yield cloud
        finally:
            await cloud.stop()
            if guests:
                await end_guests(cloud.state)
    finally:
        broker.kill()
        database.kill()
        if keep is not None:
            shutil.copytree(
                directory, keep / directory.name, ignore=shutil.ignore_patterns("rabbitmq", kind, "images")
            )
        shutil.rmtree(directory, ignore_errors=True)


async def end_guests(state: Path) -> None:
    """Whatever still runs of a cloud that is over, and the bridge of its guests."""
    for instances in state.glob("hosts/*/instances"):
        for pid in find(instances.resolve()).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(subprocess.run, ["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def machine_load() -> float:
    """The load of the last minute: a number to read the times by."""
    return os.getloadavg()[0]
