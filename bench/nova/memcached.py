"""A private memcached: where Nova's services and Keystone keep the tokens they have looked at."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from kilonova.backing.server import LOOPBACK, PrivateServer


class Memcached(PrivateServer):
    """One cache of 64 MiB on loopback, TCP only."""

    kind: ClassVar[str] = "memcached"
    packages: ClassVar[tuple[str, ...]] = ("memcached",)
    account: ClassVar[str] = "memcache"

    @property
    def url(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "output.log"

    def _prepare(self) -> None:
        self._binary("/usr/bin/memcached")

    def _commands(self) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
        command = [self._binary("/usr/bin/memcached"), "-l", LOOPBACK, "-p", str(self.port), "-U", "0", "-m", "64"]
        as_user = ["-u", self._user or "root"] if self._identity() == {} else []
        return {"server": ([*command, *as_user], {})}

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
                connection.sendall(b"version\r\n")
                return connection.recv(64).startswith(b"VERSION")
        except OSError:
            return False
