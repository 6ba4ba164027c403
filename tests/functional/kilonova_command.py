"""The ``kilonova`` command as a user runs it: a subprocess in a directory of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
TIMEOUT = 240


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Command:
    """Runs it with one state directory; ``environment`` adds options as KILONOVA_* variables."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.state = directory / "state"
        self._directory = directory
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KILONOVA_", "OS_"))}
        self._environment = {**kept, "KILONOVA_STATE_DIR": str(self.state), **environment}

    def run(
        self, *arguments: str, program: str = "kilonova", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; whatever its exit code."""
        return subprocess.run(
            [str(BIN / program), *arguments],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """Its output; the test fails if its exit code is not 0."""
        done = self.run(*arguments, timeout=TIMEOUT)
        assert done.returncode == 0, (
            f"kilonova {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Its output with --json."""
        return json.loads(self.ok(*arguments, "--json"))

    def processes(self) -> list[int]:
        """Processes of this cloud, guests too: those that have its state directory open or named."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environment = (entry / "cmdline").read_bytes().decode(errors="replace")
                directory = str((entry / "cwd").readlink())
                files = {str(link.readlink()) for link in (entry / "fd").iterdir()}
            except OSError:
                continue
            state = str(self.state)
            if state in environment or directory.startswith(state) or any(file.startswith(state) for file in files):
                found.append(int(entry.name))
        return found

    def kill_services(self) -> None:
        """End the services as a crash would."""
        record = json.loads((self.state / "run" / "cloud.json").read_text())
        for program in record["programs"]:
            os.kill(program["process"]["pid"], signal.SIGKILL)
