"""The private servers: start, answer, crash, come back with their data, be found again, leave nothing."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kilonova.backing.__main__ import KINDS, main, status
from kilonova.backing.database import DatabaseServer
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.packages import install, missing, services_forbidden
from kilonova.backing.postgresql import PostgreSQL
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.backing.server import LOOPBACK, PrivateServer, Process, free_port
from kilonova.model.errors import Invalid, Misconfigured, Unavailable


def _listening(pids: set[int]) -> set[str]:
    """Local addresses (hexadecimal, without port) on which the processes listen, from /proc/net/tcp."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].rpartition(":")[0])
    return found


@pytest.fixture(params=sorted(KINDS))
def server(request: pytest.FixtureRequest) -> PrivateServer:
    found: PrivateServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(params=["mariadb", "postgresql"])
def database_server(request: pytest.FixtureRequest) -> DatabaseServer:
    found: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.mark.distributed
def test_listens_on_loopback_only_and_keeps_its_record_to_itself(server: PrivateServer) -> None:
    assert server.running
    pids = {process.pid for process in server._record.processes.values()}
    assert _listening(pids) <= {"0100007F", "00000000000000000000000001000000"}
    assert stat.S_IMODE((server.directory / "server.json").stat().st_mode) == 0o600
    assert server.password in server.url
    assert server.password not in json.dumps(status(type(server), server.directory))
    command_lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    assert not any(server.password in line for line in command_lines)


@pytest.mark.distributed
def test_survives_a_crash_on_the_same_port_and_is_found_by_another_process(server: PrivateServer) -> None:
    port, process = server.port, server.process
    assert process is not None
    server.kill()
    assert not process.alive
    assert not server.running
    server.start()
    assert server.port == port
    found = type(server).found_in(server.directory)
    assert found is not None
    assert found.process == server.process
    assert found.url == server.url
    found.start()  # waits only: it runs already
    assert found.process == server.process


@pytest.mark.distributed
def test_databases_are_kept_apart_and_outlive_a_crash(database_server: DatabaseServer) -> None:
    url = database_server.create_database("first_one")
    assert url.startswith(database_server.scheme)
    assert "/first_one" in url
    with pytest.raises(Unavailable, match="exists"):
        database_server.create_database("first_one")
    database_server.kill()
    database_server.start()
    assert database_server.ensure_database("first_one") == url
    database_server.drop_database("first_one")
    database_server.drop_database("first_one")
    with pytest.raises(Invalid, match="cannot name a database"):
        database_server.create_database("x; DROP")


@pytest.mark.distributed
async def test_mariadb_url_works(mariadb_server: MariaDB) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(mariadb_server.create_database("by_url"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT DATABASE(), @@character_set_database"))).one() == (
            "by_url",
            "utf8mb4",
        )
        users = (await connection.execute(text("SELECT User, Host FROM mysql.user ORDER BY 1, 2"))).all()
    await engine.dispose()
    mariadb_server.drop_database("by_url")
    # Nobody logs in over TCP without the password: root and mariadb.sys have the socket only.
    assert [user for user, host in users if host != "localhost"] == ["kilonova"]
    assert "" not in {user for user, _ in users}


@pytest.mark.distributed
async def test_mariadb_keeps_its_temporary_tables_where_no_other_server_cleans_up(mariadb_server: MariaDB) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(mariadb_server.create_database("temporary"))
    async with engine.connect() as connection:
        where = (await connection.execute(text("SELECT @@tmpdir"))).scalar_one()
    await engine.dispose()
    mariadb_server.drop_database("temporary")
    assert where == str(mariadb_server.directory / "tmp")


@pytest.mark.distributed
async def test_postgresql_url_works(postgresql_server: PostgreSQL) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(postgresql_server.create_database("by_url"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_database()"))).scalar() == "by_url"
    await engine.dispose()
    postgresql_server.drop_database("by_url")


@pytest.mark.distributed
def test_command_line_starts_what_another_process_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Under pytest's closed directory nobody but us may enter: MariaDB then runs under our own account.
    directory = tmp_path_factory.mktemp("cli")
    command = [sys.executable, "-m", "kilonova.backing"]
    try:
        for _ in range(2):
            subprocess.run([*command, "start", "--fast", "--dir", directory, "mariadb"], check=True, timeout=60)
        report = status(MariaDB, directory / "mariadb")
        assert report["running"]
        url = subprocess.run(
            [*command, "url", "--dir", directory, "mariadb"], capture_output=True, text=True, check=True
        )
        assert url.stdout.startswith("mysql+asyncmy://kilonova:")
    finally:
        subprocess.run([*command, "stop", "--dir", directory, "mariadb"], check=True, timeout=60)
    assert not status(MariaDB, directory / "mariadb")["running"]
    pid = report["pid"]
    assert isinstance(pid, int)
    with pytest.raises(ProcessLookupError):
        Process.of(pid)


def test_stop_of_nothing_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("not running") == 3


def test_taken_port_is_a_one_line_error(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, free_port())) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"Port {port} on 127.0.0.1") as caught:
            RabbitMQ(tmp_path / "rabbitmq", port=port).start()
    assert "\n" not in caught.value.message


def test_missing_binaries_name_the_package(tmp_path: Path) -> None:
    class Absent(RabbitMQ):
        def _binary(self, *candidates: str) -> str:
            return super()._binary(*(f"/nowhere{candidate}" for candidate in candidates))

    with pytest.raises(Misconfigured, match="apt-get install --no-install-recommends rabbitmq-server"):
        Absent(tmp_path / "rabbitmq").start()


@pytest.mark.distributed
def test_server_that_cannot_start_says_why_and_leaves_nothing(backing_directory: Path) -> None:
    server = MariaDB(backing_directory / "broken", durable=False)
    server.start()
    server.stop()
    (server.directory / "data" / "ibdata1").write_bytes(b"nonsense")
    with pytest.raises(Unavailable, match="ended while it was starting") as caught:
        server.start()
    assert "\n" not in caught.value.message
    assert "ERROR" in caught.value.message
    assert not server.running
    server.destroy()
    assert not server.directory.exists()


def test_recycled_pid_is_never_taken_for_the_server(tmp_path: Path) -> None:
    mine = Process.of(os.getpid())
    assert mine.alive
    assert not Process(mine.pid, mine.started - 1).alive


def test_record_of_another_kind_or_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(
        '{"kind": "mariadb", "ports": {"server": 1}, "user": "u", "password": "p", "durable": true}'
    )
    with pytest.raises(Misconfigured, match="belongs to a private mariadb server"):
        RabbitMQ(tmp_path)
    (tmp_path / "server.json").write_text("{")
    with pytest.raises(Misconfigured, match="not the record"):
        RabbitMQ(tmp_path)


def test_services_are_forbidden_only_while_packages_are_installed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with services_forbidden(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("the operator's")
    with pytest.raises(RuntimeError), services_forbidden(policy):
        raise RuntimeError
    assert policy.read_text() == "the operator's"


def test_nothing_to_install_touches_nothing() -> None:
    assert missing(["base-files"]) == []
    assert missing(["no-such-package"]) == ["no-such-package"]
    assert install(["base-files"]) == []


def test_missing_packages_are_installed_while_services_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, log = tmp_path / "policy-rc.d", tmp_path / "log"
    tool = tmp_path / "apt-get"
    # The first install fails, as with an old package list.
    tool.write_text(
        f'#!/bin/sh\n"{policy}"; echo "$? $*" >> "{log}"\n[ "$1" = update ] || [ "$(wc -l < "{log}")" -gt 1 ]\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("kilonova.backing.packages._POLICY", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert install(["base-files", "no-such-package"]) == ["no-such-package"]
    line = "101 install --yes --no-install-recommends no-such-package"
    assert log.read_text().splitlines() == [line, "101 update", line]
    assert not policy.exists()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Misconfigured, match="apt-get install --yes"):
        install(["no-such-package"])
