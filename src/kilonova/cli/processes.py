"""Starts the ``nova-*`` programs so that they outlive the command, watches them come up, and ends them."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kilonova.backing.server import Process
from kilonova.cli.state import Program, State
from kilonova.model.errors import KilonovaError, Misconfigured

POLL = 0.03
TAIL = 12


class Died(KilonovaError):
    """A program ended while it was starting; ``code`` is how."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Child:
    """A program while we are its parent."""

    def __init__(
        self, state: State, name: str, program: str, arguments: Sequence[str], environment: Mapping[str, str]
    ):
        self.name = name
        self._pid_file = state.pid_file(name)
        self._pid_file.unlink(missing_ok=True)
        self._log = state.log(name)
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        command = [str(Path(sys.executable).parent / program), "--pid-file", str(self._pid_file), *arguments]
        with self._log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(environment),
            )
        self.program = Program(name=name, process=Process.of(self._popen.pid), log=str(self._log))

    @property
    def up(self) -> bool:
        """Whether all its services are. Raises ``Died`` if it has ended instead."""
        code = self._popen.poll()
        if code is not None:
            raise Died(self._obituary(code), code if code > 0 else 70)
        return self._pid_file.exists()

    def let_go(self) -> None:
        """We leave it to itself: the command ends before it does."""
        self._popen.returncode = self._popen.returncode or 0

    def said(self) -> list[str]:
        """What it wrote since it was started."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").splitlines()

    def _obituary(self, code: int) -> str:
        lines = self.said()
        if lines and lines[-1].startswith("nova-") and code in (69, 78):
            return lines[-1]  # it said what is wrong in one line
        how = f"with code {code}" if code >= 0 else f"by signal {-code}"
        return "\n".join([f"{self.name} ended {how} while it was starting; the end of {self._log}:", *lines[-TAIL:]])


def wait_until(ready: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when ``ready``; raise ``KilonovaError`` that names ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise KilonovaError(
                f"{what} did not happen within {seconds:g} s; the logs in the state directory say why"
            )
        time.sleep(POLL)


def end(programs: Sequence[Program], seconds: float, progress: Callable[[str], None]) -> list[str]:
    """SIGTERM to all, SIGKILL to those that are left after ``seconds``; the names of the killed."""
    for program in programs:
        program.process.signal_group(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (left := [program for program in programs if program.process.alive]) and time.monotonic() < deadline:
        progress(", ".join(program.name for program in left))
        time.sleep(POLL)
    for program in left:
        program.process.signal_group(signal.SIGKILL)
    for program in left:
        while program.process.alive:
            time.sleep(POLL)
    return [program.name for program in left]


# --- ports ---------------------------------------------------------------------------------------------------


def require_free_port(host: str, port: int) -> None:
    """Raise ``Misconfigured`` that names the process that listens there already."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            who = listener(port)
            by = f" by {who}" if who else ""
            raise Misconfigured(
                f"{host}:{port} is taken{by} ({error.strerror}); stop that, or choose another port with --port"
            ) from None


def listener(port: int) -> str | None:
    """The process that listens on a TCP port, as ``name (pid N)``; None if it cannot be told."""
    inodes = set(_listening(port))
    if not inodes:
        return None
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (directory / "fd").iterdir()):
                return f"{(directory / 'comm').read_text().strip()} (pid {directory.name})"
        except OSError:
            continue
    return None


def _listening(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"
