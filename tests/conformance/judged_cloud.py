"""The cloud that is judged: an embedded one with two ``fake`` hosts, a state directory and ports of its own, behind a tap.

It is started by ``kilonova start`` and ended by ``kilonova stop``, as people do it. What the suites need beyond that a
new cloud holds (a second image) is made through the public APIs.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from kilonova.backing.server import free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOSTS = 2


def judges() -> Path:
    """The environment with the released Nova, Tempest and the clients. Raises ``SystemExit`` if it is not there."""
    directory = Path(os.environ.get("KILONOVA_JUDGES", ROOT / ".venv-conformance")).absolute()
    if not (directory / "bin" / "tempest").exists():
        raise SystemExit(f"nothing in {directory}: run make judges, or set KILONOVA_JUDGES")
    return directory


class JudgedCloud:
    """Where it is and how to talk to it as its administrator."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.recording = directory / "calls.jsonl"
        self.port, self._backend_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)
        self.token = ""

    # --- life --------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator["JudgedCloud"]:
        """From start to stop; nothing of it is left behind."""
        self.directory.mkdir(parents=True, exist_ok=True)
        tap = self._tap()
        try:
            self._kilonova("start", *self._options())
            self._log_in()
            yield self
        finally:
            self._kilonova("stop", "--state-dir", str(self.state))
            assert tap.stdin is not None
            tap.stdin.close()
            tap.wait(20)
            self._http.close()

    def _tap(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.conformance.wiretap", str(self.port), str(self._backend_port)]
        tap = subprocess.Popen([*command, str(self.recording)], cwd=ROOT, stdin=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while True:
            try:
                self._http.get("/")
            except httpx.ConnectError:
                if time.monotonic() > deadline or tap.poll() is not None:
                    raise
                time.sleep(0.05)
            except httpx.HTTPError:
                return tap  # it listens; behind it is nobody yet
            else:
                return tap

    def _options(self) -> list[str]:
        settings = {
            "api.public_url": self.url,
            "compute.reserved_memory_mb": "0",
        }
        options = ["--state-dir", str(self.state), "--driver", "fake", "--hosts", str(HOSTS)]
        options += ["--port", str(self._backend_port), "--no-first-server"]
        for name, value in settings.items():
            options += ["--set", f"{name}={value}"]
        return options

    def _kilonova(self, *command: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KILONOVA_", "OS_"))}
        argv = [str(BIN / "kilonova"), *command]
        done = subprocess.run(argv, cwd=ROOT, env=kept, capture_output=True, text=True, check=False, timeout=180)
        if done.returncode != 0:
            raise SystemExit(f"kilonova {command[0]}: {done.stderr or done.stdout}")

    @property
    def clouds_file(self) -> Path:
        """What ``OS_CLIENT_CONFIG_FILE`` points at."""
        return self.state / "clouds.yaml"

    @property
    def password(self) -> str:
        """The administrator's, made up at the first start."""
        return (self.state / "admin-password").read_text().strip()

    # --- talk --------------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        domain = {"id": "default"}
        user = {"name": "admin", "password": self.password, "domain": domain}
        scope = {"project": {"name": "admin", "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = self._http.post("/identity/v3/auth/tokens", json=body).raise_for_status()
        self.token = answer.headers["x-subject-token"]
        self._http.headers["x-auth-token"] = self.token

    def get(self, path: str, **query: str) -> Any:
        """An answer's document."""
        return self._http.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        """An answer's document."""
        return self._http.post(path, json=body).raise_for_status().json()

    def image(self) -> str:
        """The id of the image a new cloud has."""
        images = self.get("/image/v2/images", status="active")["images"]
        return str(next(image["id"] for image in images if image["name"].startswith("cirros-")))

    def second_image(self) -> str:
        """The id of another one, made if it is not there."""
        name = "another-disk"
        found = self.get("/image/v2/images", name=name)["images"]
        if found:
            return str(found[0]["id"])
        properties = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        made = self.post("/image/v2/images", properties)
        headers = {"content-type": "application/octet-stream"}
        content = bytes(1 << 20)
        self._http.put(f"/image/v2/images/{made['id']}/file", content=content, headers=headers).raise_for_status()
        return str(made["id"])

    def network(self, name: str) -> str | None:
        """A network's id by its name, or None."""
        found = self.get("/network/v2.0/networks", name=name)["networks"]
        return str(found[0]["id"]) if found else None

    def network_extensions(self) -> list[str]:
        """What the network service says it can."""
        return [str(extension["alias"]) for extension in self.get("/network/v2.0/extensions")["extensions"]]

    def drop_flavors(self, *names: str) -> None:
        """Delete flavors, if they are there."""
        for flavor in self.get("/compute/v2.1/flavors")["flavors"]:
            if flavor["name"] in names:
                self._http.delete(f"/compute/v2.1/flavors/{flavor['id']}").raise_for_status()

    def flavor(self, name: str) -> str:
        """A flavor's id by its name."""
        flavors = self.get("/compute/v2.1/flavors")["flavors"]
        return str(next(flavor["id"] for flavor in flavors if flavor["name"] == name))
