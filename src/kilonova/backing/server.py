"""What the private servers have in common: a directory, a record of the process, a start and an end.

A private server belongs to one directory and listens on loopback only. Its record, ``server.json``, is how a
later process finds it again; it names the process by pid *and* start time, so that a recycled pid is never
signalled. The record holds a password and is readable by its owner alone.
"""

import contextlib
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from kilonova.model.errors import Misconfigured, Unavailable

LOOPBACK = "127.0.0.1"
_TAIL_LINES = 5


class Process(msgspec.Struct, frozen=True):
    """A process of this machine: ``started`` is its start in clock ticks since the boot (proc(5), field 22)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has ``pid`` now. Raises ``ProcessLookupError`` if none has."""
        state, started = _proc_stat(pid)
        if state == "Z":
            raise ProcessLookupError(pid)
        return cls(pid, started)

    @property
    def alive(self) -> bool:
        try:
            return Process.of(self.pid) == self
        except ProcessLookupError:
            return False

    def signal_group(self, number: signal.Signals) -> None:
        """Signal it and its children; each of ours leads a process group."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def _proc_stat(pid: int) -> tuple[str, int]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


class Record(msgspec.Struct, kw_only=True):
    """``server.json``. Ports, password and durability stay the same over restarts on the same data."""

    kind: str
    ports: dict[str, int]
    user: str
    password: str
    durable: bool
    processes: dict[str, Process] = {}


class PrivateServer(ABC):
    """One server of our own in ``directory``, on 127.0.0.1 and ``port`` (0: a free one is chosen).

    ``durable=False`` trades the safety of the data against a power cut for speed; a killed process loses
    nothing either way. A directory that has a record keeps the port and durability written there. Not safe
    for two processes that start the same directory at the same moment.
    """

    kind: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    account: ClassVar[str]
    roles: ClassVar[tuple[str, ...]] = ("server",)
    port_names: ClassVar[tuple[str, ...]] = ("server",)

    def __init__(self, directory: Path, *, port: int = 0, durable: bool = True) -> None:
        self.directory = directory.absolute()
        self._children: list[subprocess.Popen[bytes]] = []
        self._record = self._read_record() or Record(
            kind=self.kind,
            ports={"server": port},
            user="kilonova",
            password=secrets.token_urlsafe(18),
            durable=durable,
        )

    @classmethod
    def found_in(cls, directory: Path) -> Self | None:
        """The server that was once started in ``directory``, running or not; None if there never was one."""
        return cls(directory) if (directory / "server.json").exists() else None

    # --- what a kind of server has to say ----------------------------------------------------------------

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect to, with the password: never for a log."""

    @property
    @abstractmethod
    def log(self) -> Path:
        """Its log, whose tail goes into errors."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data directory and the configuration, if they are not there yet."""

    @abstractmethod
    def _commands(self) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
        """Command line and additional environment of each role, in the order to start them."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves a real request now."""

    # --- life --------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return self._record.ports["server"]

    @property
    def password(self) -> str:
        return self._record.password

    @property
    def process(self) -> Process | None:
        """The server's process, if it is running."""
        process = self._record.processes.get("server")
        return process if process is not None and process.alive else None

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(self, timeout: float = 60.0) -> None:
        """Start and wait until it answers. One that runs already is only waited for.

        Raises ``Misconfigured`` (binaries missing, port taken, directory out of reach) or ``Unavailable``
        with the tail of its log; nothing is left running then.
        """
        deadline = time.monotonic() + timeout
        if not self.running:
            self._end(signal.SIGKILL, 5.0)
            self._choose_ports()
            self.directory.mkdir(parents=True, exist_ok=True)
            self._adopt(self.directory)
            self._prepare()
            for role, (command, environment) in self._commands().items():
                self._record.processes[role] = self._spawn(command, environment)
                self._write_record()
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                what = f"gave no answer within {timeout:g} s" if self.running else "ended while it was starting"
                self.kill()
                raise Unavailable(f"The private {self.kind} server in {self.directory} {what}: {self._tail()}")
            time.sleep(0.05)

    def stop(self, timeout: float = 30.0) -> None:
        """End it in order, or by force after ``timeout`` seconds. The data stay."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL, 10.0)

    def restart(self, timeout: float = 60.0) -> None:
        """Stop it if it runs, and start it again on the same data and port."""
        self.stop()
        self.start(timeout)

    def destroy(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        """Helpers (the later roles in ``roles``) end after the server, which may need them to stop in order."""
        for role in self.roles:
            process = self._record.processes.get(role)
            if process is not None:
                process.signal_group(number)
                if not self._gone(process, timeout):
                    process.signal_group(signal.SIGKILL)
                    self._gone(process, 10.0)
        if self._record.processes:
            self._record.processes = {}
            self._write_record()

    def _gone(self, process: Process, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while process.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        self._children = [child for child in self._children if child.poll() is None]
        return not process.alive

    # --- the record --------------------------------------------------------------------------------------

    def _read_record(self) -> Record | None:
        path = self.directory / "server.json"
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise Misconfigured(f"{path} is not the record of a private server ({error}); remove it") from error
        if record.kind != self.kind:
            raise Misconfigured(f"{self.directory} belongs to a private {record.kind} server, not to {self.kind}")
        return record

    def _write_record(self) -> None:
        self._write("server.json", json.dumps(msgspec.to_builtins(self._record), indent=2) + "\n", owned=False)

    def _write(self, name: str, text: str, *, owned: bool = True) -> Path:
        """Replace a file of the directory as one step; readable by its owner (the server's account) alone."""
        path = self.directory / name
        draft = path.with_name(path.name + ".new")
        draft.touch(mode=0o600)
        draft.write_text(text)
        if owned:
            self._adopt(draft)
        draft.replace(path)
        return path

    # --- ports, accounts, processes ----------------------------------------------------------------------

    def _choose_ports(self) -> None:
        for name in self.port_names:
            port = self._record.ports.get(name, 0)
            if port == 0:
                self._record.ports[name] = free_port(taken=self._record.ports.values())
            elif not _becomes_free(port, 3.0):
                raise Misconfigured(
                    f"Port {port} on {LOOPBACK}, which the private {self.kind} server in {self.directory} wants, "
                    "is taken; end the program that listens there, or use another directory"
                )

    @property
    def _user(self) -> str | None:
        """The account to drop to; None to run as ourselves."""
        if os.geteuid() != 0 or not _may_enter(self.account, self.directory):
            return None
        return self.account

    def _adopt(self, path: Path) -> None:
        """Give ``path`` to the account the server runs under."""
        if self._user is not None:
            shutil.chown(path, self._user, pwd.getpwnam(self._user).pw_gid)

    def _identity(self) -> dict[str, Any]:
        user = self._user
        if user is None:
            return {}
        entry = pwd.getpwnam(user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Only what is meant for it: our own variables may name other servers."""
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self.directory), **more}

    def _spawn(self, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        with (self.directory / "output.log").open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment(environment),
                cwd=self.directory,
                start_new_session=True,
                umask=0o077,
                **self._identity(),
            )
        self._children.append(child)
        return Process.of(child.pid)

    def _run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Run a tool of the server to its end, under its account. Raises ``Unavailable`` with what it said."""
        result: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self._environment(environment or {}),
            cwd=self.directory,
            umask=0o077,
            timeout=120,
            check=False,
            **self._identity(),
        )
        if result.returncode != 0:
            said = " | ".join((result.stderr or result.stdout).strip().splitlines()[-_TAIL_LINES:])
            raise Unavailable(f"{Path(command[0]).name} of {self.directory} failed ({result.returncode}): {said}")
        return result.stdout

    def _binary(self, *candidates: str) -> str:
        """The first of the paths (or patterns, newest version first) that exists."""
        for candidate in candidates:
            for path in sorted(Path("/").glob(candidate.lstrip("/")), reverse=True):
                return str(path)
        raise Misconfigured(
            f"The {self.kind} server is not installed ({candidates[0]} is missing): "
            f"apt-get install --no-install-recommends {' '.join(self.packages)}"
        )

    def _tail(self) -> str:
        for path in (self.log, self.directory / "output.log"):
            with contextlib.suppress(OSError):
                lines = path.read_text(errors="replace").strip().splitlines()[-_TAIL_LINES:]
                if lines:
                    return " | ".join(lines).replace(self.password, "***")
        return "it wrote no log"


def free_port(taken: Sequence[int] | Any = ()) -> int:
    """A free port below the ephemeral range, so that no outgoing connection takes it during a restart."""
    for _ in range(500):
        port = random.randrange(20000, 32000)
        if port not in taken and _is_free(port):
            return port
    raise Misconfigured(f"No free port between 20000 and 32000 on {LOOPBACK}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _becomes_free(port: int, timeout: float) -> bool:
    """A killed process counts as dead a moment before the kernel has closed the sockets of its threads."""
    deadline = time.monotonic() + timeout
    while not _is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _may_enter(account: str, directory: Path) -> bool:
    """Whether ``account`` exists and may pass through every parent of ``directory``."""
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return False
    for parent in directory.parents:
        with contextlib.suppress(FileNotFoundError):
            status = parent.stat()
            if status.st_uid == entry.pw_uid:
                needed = stat.S_IXUSR
            elif status.st_gid == entry.pw_gid:
                needed = stat.S_IXGRP
            else:
                needed = stat.S_IXOTH
            if not status.st_mode & needed:
                return False
    return True
