"""A private PostgreSQL: its own cluster, reached over TCP on loopback only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from kilonova.backing.database import DatabaseServer
from kilonova.backing.server import LOOPBACK
from kilonova.model.errors import Misconfigured, Unavailable

_BINARIES = "/usr/lib/postgresql/*/bin"


class PostgreSQL(DatabaseServer):
    """One server; the superuser ``kilonova`` logs in with its password, nobody without."""

    kind: ClassVar[str] = "postgresql"
    packages: ClassVar[tuple[str, ...]] = ("postgresql",)
    account: ClassVar[str] = "postgres"
    scheme: ClassVar[str] = "postgresql+asyncpg"
    query: ClassVar[str] = ""

    @property
    def log(self) -> Path:
        return self.directory / "postgresql.log"

    def _prepare(self) -> None:
        if self._is_root and self._user is None:
            raise Misconfigured(
                f"PostgreSQL does not run as root, and the user {self.account!r} cannot enter {self.directory}; "
                "use a state directory whose parents others may pass, or start it as another user"
            )
        initdb = self._binary(f"{_BINARIES}/initdb")
        data = self.directory / "data"
        if not (data / "complete").exists():
            self._discard(data)
            password = self._write("initial-password", self.password + "\n")
            self._run(
                [
                    initdb,
                    f"--pgdata={data}",
                    f"--username={self._record.user}",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ]
            )
            password.unlink()
            (data / "complete").touch()

    def _commands(self) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
            "max_connections": "500",
            "shared_buffers": "128MB",
        }
        if not self._record.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [self._binary(f"{_BINARIES}/postgres"), "-D", str(self.directory / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return {"server": (command, {})}

    def _statement(self, statement: str) -> None:
        self._run(
            [
                self._binary(f"{_BINARIES}/psql"),
                "--no-psqlrc",
                "--quiet",
                f"--host={LOOPBACK}",
                f"--port={self.port}",
                f"--username={self._record.user}",
                "--dbname=postgres",
                f"--command={statement}",
            ],
            {"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "5"},
        )

    def _answers(self) -> bool:
        try:
            self._statement("SELECT 1")
        except Unavailable:
            return False
        return True

    def create_database(self, name: str) -> str:
        self._statement(f'CREATE DATABASE "{self._checked(name)}"')
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        self._statement(f'DROP DATABASE IF EXISTS "{self._checked(name)}" WITH (FORCE)')
