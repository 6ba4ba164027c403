"""The clients people come with, unmodified, each in its own process and from an environment of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import Cloud

ROOT = Path(__file__).resolve().parents[1]


def clients_bin() -> Path:
    """Where ``openstack`` and ``nova`` are. Fails, and says what to do, if they are not there."""
    directory = Path(os.environ.get("KILONOVA_CLIENTS", ROOT / ".venv-clients")).absolute() / "bin"
    missing = [name for name in ("openstack", "nova", "python") if not (directory / name).exists()]
    if missing:
        pytest.fail(
            f"{', '.join(missing)} not in {directory}: run make clients, or set KILONOVA_CLIENTS", pytrace=False
        )
    return directory


def _environment(cloud: Cloud, name: str, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "NOVA"))}
    return {
        **kept,
        "OS_CLIENT_CONFIG_FILE": str(cloud.clouds_file),
        "OS_CLOUD": name,
        "NO_PROXY": "127.0.0.1",
        **more,
    }


def openrc(cloud: Cloud, user: str, password: str) -> dict[str, str]:
    """The variables of an ``openrc``: what the ``nova`` command reads, which knows no ``clouds.yaml``."""
    return {
        "OS_AUTH_URL": f"{cloud.url}/identity/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": user,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "RegionOne",
    }


def run(cloud: Cloud, *command: str, name: str = "admin", **environment: str) -> str:
    """What a client prints, run as a user does. Fails with what it complained about."""
    argv = [str(clients_bin() / command[0]), *command[1:]]
    variables = _environment(cloud, name, **environment)
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


class Failed(AssertionError):
    """A command ended with another exit code than 0."""


class Shell:
    """One process that runs command after command."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, *command: str) -> str:
        """What ``openstack`` prints. Raises ``Failed`` with what it complained about."""
        return self.run("openstack", *command)

    def nova(self, *command: str) -> str:
        """The same for ``nova``."""
        return self.run("nova", *command)

    def json(self, *command: str) -> Any:
        """The answer as a document."""
        return json.loads(self.run("openstack", *command, "-f", "json"))

    def run(self, *command: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client ended while it ran {command}"
        answer = json.loads(line)
        if answer["code"] != 0:
            raise Failed(f"{' '.join(command)}: {answer['err'] or answer['out']}")
        return str(answer["out"])


@contextmanager
def shell(cloud: Cloud, name: str = "admin", **environment: str) -> Iterator[Shell]:
    """A shell of a user of ``cloud``."""
    argv = [str(clients_bin() / "python"), str(Path(__file__).with_name("openstack_shell.py"))]
    variables = _environment(cloud, name, **environment)
    process = subprocess.Popen(argv, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Shell(process)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait(30)
