"""A private MariaDB: its own data directory, reached over TCP on loopback only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from kilonova.backing.database import DatabaseServer
from kilonova.backing.server import LOOPBACK
from kilonova.model.errors import Unavailable


class MariaDB(DatabaseServer):
    """One server; the user ``kilonova`` may do everything from loopback, root only through the socket."""

    kind: ClassVar[str] = "mariadb"
    packages: ClassVar[tuple[str, ...]] = ("mariadb-server",)
    account: ClassVar[str] = "mysql"
    scheme: ClassVar[str] = "mysql+asyncmy"
    query: ClassVar[str] = "?charset=utf8mb4"

    @property
    def log(self) -> Path:
        return self.directory / "mariadb.log"

    @property
    def _temporary(self) -> Path:
        """A server that starts removes temporary tables it finds, those of another that shares the directory too."""
        return self.directory / "tmp"

    def _prepare(self) -> None:
        data = self.directory / "data"
        self._temporary.mkdir(exist_ok=True)
        self._adopt(self._temporary)
        if not (data / "complete").exists():
            self._discard(data)
            data.mkdir()
            self._adopt(data)
            self._run(
                [
                    self._binary("/usr/bin/mariadb-install-db"),
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--tmpdir={self._temporary}",
                    "--auth-root-authentication-method=socket",
                    "--skip-test-db",
                    "--skip-name-resolve",
                    "--skip-log-bin",
                    "--innodb-flush-log-at-trx-commit=0",
                    *self._as_user(),
                ]
            )
            (data / "complete").touch()
        self._write(
            "init.sql",
            f"CREATE OR REPLACE USER '{self._record.user}'@'{LOOPBACK}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{self._record.user}'@'{LOOPBACK}' WITH GRANT OPTION;\n",
        )
        self._write("client.cnf", f"[client]\nuser={self._record.user}\npassword={self.password}\n")

    def _as_user(self) -> list[str]:
        """MariaDB refuses to run as root unless it is told to."""
        return [f"--user={self._user or 'root'}"] if self._identity() or self._is_root else []

    def _commands(self) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
        command = [
            self._binary("/usr/sbin/mariadbd"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self._temporary}",
            f"--bind-address={LOOPBACK}",
            f"--port={self.port}",
            # Relative to the data directory: a socket's path may have 107 bytes only.
            "--socket=server.sock",
            f"--pid-file={self.directory / 'data' / 'server.pid'}",
            f"--log-error={self.log}",
            f"--init-file={self.directory / 'init.sql'}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--performance-schema=OFF",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--innodb-buffer-pool-size=128M",
            "--innodb-log-file-size=48M",
            "--max-connections=500",
            *self._as_user(),
        ]
        if not self._record.durable:
            command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
        return {"server": (command, {})}

    def _statement(self, statement: str) -> None:
        self._run(
            [
                self._binary("/usr/bin/mariadb"),
                f"--defaults-file={self.directory / 'client.cnf'}",
                f"--host={LOOPBACK}",
                f"--port={self.port}",
                "--protocol=tcp",
                "--connect-timeout=5",
                f"--execute={statement}",
            ]
        )

    def _answers(self) -> bool:
        try:
            self._statement("SELECT 1")
        except Unavailable:
            return False
        return True

    def create_database(self, name: str) -> str:
        self._statement(f"CREATE DATABASE `{self._checked(name)}`")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        self._statement(f"DROP DATABASE IF EXISTS `{self._checked(name)}`")
