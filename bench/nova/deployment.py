"""Real Nova, Placement and Keystone as private processes on loopback, with backing servers and stand-ins of their own.

Everything is in one directory, which is removed in the end; nothing of it outlives the ``with``.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import processor_time
from bench.closed_loop import Used
from bench.nova.configuration import Site, write, write_compute
from bench.nova.environment import ROOT
from bench.nova.memcached import Memcached
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.backing.server import PrivateServer, free_port

API_PROCESSES = {"keystone": 2, "placement": 2, "nova-api": 4}


class Deployment:
    """The processes of one real Nova. Starting order and first contents: see ``bench.nova.preparation``."""

    def __init__(self, site: Site, backing: list[PrivateServer]) -> None:
        self.site = site
        self.backing = backing
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a service, and wait until it listens if it has a port. Raises ``SystemExit`` with its log's tail."""
        command, more = self._command(name)
        with (self.site.logs / f"{name}.out").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.variables(**more),
                cwd=ROOT if name == "stand-ins" else self.site.directory,
                start_new_session=True,
            )
        if name in self.site.ports:
            self._wait(name, self.site.ports[name], 90.0)

    def stop(self, names: list[str]) -> None:
        """End these: asked first, by force after ten seconds together."""
        leaving = {name: self.processes.pop(name) for name in names if name in self.processes}
        for process in leaving.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + 10.0
        for process in leaving.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
            with contextlib.suppress(ProcessLookupError):  # its workers are of its session and group
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def manage(self, program: str, service: str, *arguments: str, **more: str) -> None:
        """Run one of the management commands to its end. Raises ``SystemExit`` with what it said."""
        command = [self.site.program(program), "--config-file", str(self.site.conf(service)), *arguments]
        done = subprocess.run(command, env=self.variables(**more), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{program} {' '.join(arguments[:2])} failed: {(done.stderr or done.stdout)[-1500:]}")

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of every process: our own settings are not meant for it."""
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self.site.directory), **more}

    def used(self) -> Used:
        """Processor time of Nova, Placement and Keystone, and of all backing servers."""
        return self._used([name for name in self.processes if name != "stand-ins"], self.backing)

    def used_to_decide(self) -> Used:
        """Processor time of the scheduler and Placement, and of the database."""
        return self._used(["nova-scheduler", "placement"], [self.site.database])

    def _used(self, names: Sequence[str], backing: Sequence[PrivateServer]) -> Used:
        leaders = [self.processes[name].pid for name in names]
        return Used(sum(processor_time.of_sessions(leaders).values()), processor_time.of_servers(backing))

    def used_by(self) -> dict[str, float]:
        """Processor time of each program, all computes as one, and of each backing server."""
        pids = {name: process.pid for name, process in self.processes.items()}
        pids |= {server.kind: server.process.pid for server in self.backing if server.process}
        seconds = processor_time.of_sessions(pids.values())
        found: dict[str, float] = {}
        for name, pid in pids.items():
            kind = "nova-compute" if name.startswith("compute") else name
            found[kind] = found.get(kind, 0.0) + seconds[pid]
        return found

    def check(self) -> None:
        """Raises ``SystemExit`` if a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended: {self._tail(name)}")

    # --- how each is started -----------------------------------------------------------------------------

    def _command(self, name: str) -> tuple[list[str], dict[str, str]]:
        site = self.site
        etc = {service: str(site.conf(service).parent) for service in ("keystone", "placement", "nova")}
        own = ["--config-file", str(site.conf("nova"))]
        if name == "stand-ins":
            return [sys.executable, "-m", "bench.nova.stand_ins", str(site.ports["stand-ins"])], {}
        if name == "keystone":
            return self._uwsgi(name, "keystone.wsgi.api:application"), {"OS_KEYSTONE_CONFIG_DIR": etc["keystone"]}
        if name == "placement":
            return self._uwsgi(name, "placement.wsgi.api:application"), {"OS_PLACEMENT_CONFIG_DIR": etc["placement"]}
        if name == "nova-api":
            command = self._uwsgi(name, "nova.wsgi.osapi_compute:application")
            return [*command, "--pyargv", f"--log-file {site.logs}/nova-api.log"], {"OS_NOVA_CONFIG_DIR": etc["nova"]}
        if name.startswith("compute"):
            compute = write_compute(site, int(name.removeprefix("compute")))
            return [site.program("nova-compute"), *own, "--config-file", str(compute)], {}
        return [site.program(name), *own, "--log-file", f"{site.logs}/{name}.log"], {}

    def _uwsgi(self, name: str, module: str) -> list[str]:
        options = {
            "http-socket": f"127.0.0.1:{self.site.ports[name]}",
            "module": module,
            "processes": str(API_PROCESSES[name]),
            "threads": "1",
            "listen": "128",
            "buffer-size": "65535",
            "add-header": "Connection: close",
        }
        command = [self.site.program("uwsgi")]
        for option, value in options.items():
            command += [f"--{option}", value]
        switches = (
            "master",
            "enable-threads",
            "lazy-apps",
            "thunder-lock",
            "need-app",
            "disable-logging",
            "die-on-term",
        )
        return [*command, *(f"--{switch}" for switch in switches)]

    def _wait(self, name: str, port: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise SystemExit(f"{name} did not listen within {seconds:g} s: {self._tail(name)}")

    def _tail(self, name: str) -> str:
        log = (self.site.logs / f"{name}.out").read_text(errors="replace")
        return log.replace(self.site.password, "***")[-1500:]


@contextmanager
def deployed(environment: Path, say: Callable[[str], None]) -> Iterator[Deployment]:
    """Backing servers and configuration, and nothing of Nova started yet. Ends and removes everything afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="kn-nova-"))
    directory.chmod(0o755)  # the private servers run as users of their own
    database, broker = MariaDB(directory / "mariadb"), RabbitMQ(directory / "rabbitmq")
    memcached = Memcached(directory / "memcached")
    backing: list[PrivateServer] = [database, broker, memcached]
    deployment: Deployment | None = None
    try:
        say("starting MariaDB, RabbitMQ and memcached for Nova")
        for server in backing:
            server.start()
        site = Site(
            directory=directory,
            environment=environment,
            ports=_ports(("keystone", "placement", "nova-api", "stand-ins")),
            password=secrets.token_urlsafe(18),
            database=database,
            broker=broker,
            memcached=memcached,
        )
        write(site)
        deployment = Deployment(site, backing)
        yield deployment
    finally:
        say("stopping Nova and removing its data")
        if deployment is not None:
            deployment.stop(list(deployment.processes))
        for server in reversed(backing):
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _ports(names: Sequence[str]) -> dict[str, int]:
    """A free port for each."""
    found: dict[str, int] = {}
    for name in names:
        found[name] = free_port(taken=found.values())
    return found
