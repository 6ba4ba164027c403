"""Which programs make up a cloud on this machine, and how they are brought up together.

Embedded: one ``nova-all-in-one``. Distributed: a private RabbitMQ and MariaDB, and one process for each sub-service;
the nova-computes get a configuration without the database's password.
"""

import os
import time
from pathlib import Path

import msgspec

from kilonova.backing.mariadb import MariaDB
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.cli import configuration
from kilonova.cli.processes import Child, end, wait_until
from kilonova.cli.state import Program, Record, State
from kilonova.cli.terminal import Terminal
from kilonova.config import Config

UP_SECONDS = 60.0


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """How the start went: seconds until the API answered, and until every service was up."""

    answered: float
    complete: float


class Launcher:
    """Starts the programs of one cloud; whatever fails, nothing of it is left running."""

    def __init__(self, state: State, config: Config, terminal: Terminal, record: Record) -> None:
        self._state = state
        self._config = config
        self._terminal = terminal
        self._record = record
        self._children: list[Child] = []
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("KILONOVA_", "OS_"))
        }

    def launch(self, hosts: int) -> Launched:
        """Bring it up. Raises ``Died`` with the program's own words, or ``KilonovaError`` after a minute."""
        self._state.forget_api()
        try:
            return self._distributed(hosts) if self._record.shape == "distributed" else self._embedded()
        except BaseException:
            end([child.program for child in self._children], 10.0, lambda left: None)
            self._stop_backing()
            self._state.forget_record()
            raise

    def _embedded(self) -> Launched:
        configuration.write(self._config, self._state.control_file)
        doing = "Starting nova-api, nova-scheduler, nova-conductor, nova-compute in one process"
        with self._terminal.step(doing, timed=False) as step:
            started = time.monotonic()
            self._spawn("nova-all-in-one", "nova-all-in-one", self._state.control_file)
            answered = self._await_api(started)
            self._await_all()
            complete = time.monotonic() - started
            step.result = (
                "nova-api, nova-scheduler, nova-conductor and nova-compute run in one process; "
                f"first answer after {answered:.1f} s"
            )
        return self._done(answered, complete)

    def _distributed(self, hosts: int) -> Launched:
        config = self._start_backing()
        configuration.write(config, self._state.control_file)
        started = time.monotonic()
        with self._terminal.step("Starting nova-conductor") as step:
            self._spawn("nova-conductor", "nova-conductor", self._state.control_file)
            self._await_all()
            step.result = "nova-conductor runs, the database's tables are in place"
        with self._terminal.step(f"Starting nova-scheduler, nova-api and {hosts} nova-compute") as step:
            self._spawn("nova-scheduler", "nova-scheduler", self._state.control_file)
            self._spawn("nova-api", "nova-api", self._state.control_file)
            for number in range(1, hosts + 1):
                self._spawn_compute(config, f"{config.compute.host}-{number}")
            answered = self._await_api(started)
            self._await_all()
            step.result = f"nova-scheduler, nova-api and {hosts} nova-compute run"
        return self._done(answered, time.monotonic() - started)

    def _spawn_compute(self, config: Config, host: str) -> None:
        file = self._state.directory / f"nova-compute-{host}.toml"
        mine = configuration.changed(config, compute={"host": host})
        configuration.write(mine, file, without=frozenset({"database", "identity"}))
        self._spawn(f"nova-compute-{host}", "nova-compute", file)

    def _start_backing(self) -> Config:
        # The servers run under accounts of their own, which must be able to reach their directories.
        self._state.backing.mkdir(exist_ok=True)
        with self._terminal.step("Starting a private MariaDB and RabbitMQ") as step:
            step.update("MariaDB")
            database = MariaDB(self._state.backing / "mariadb")
            database.start()
            url = database.ensure_database("kilonova")
            step.update("RabbitMQ")
            broker = RabbitMQ(self._state.backing / "rabbitmq")
            broker.start()
            step.result = (
                f"MariaDB answers on port {database.port}, RabbitMQ on port {broker.port} (this machine only)"
            )
        return configuration.changed(self._config, database={"url": url}, messaging={"url": broker.url})

    def _stop_backing(self) -> None:
        if self._record.shape == "distributed":
            stop_backing(self._state)

    def _spawn(self, name: str, program: str, file: Path) -> None:
        child = Child(self._state, name, program, ["--config", str(file)], self._environment)
        self._children.append(child)
        programs: list[Program] = [child.program for child in self._children]
        self._state.write_record(msgspec.structs.replace(self._record, programs=programs))

    def _await_api(self, started: float) -> float:
        import httpx

        def answers() -> bool:
            self._check()
            url = self._state.api_url()
            if url is None:
                return False
            try:
                return httpx.get(f"{url}/healthcheck", timeout=2.0, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers, UP_SECONDS, "An answer of nova-api")
        return time.monotonic() - started

    def _await_all(self) -> None:
        wait_until(lambda: all(child.up for child in self._children), UP_SECONDS, "The start of all services")

    def _check(self) -> None:
        for child in self._children:
            _ = child.up

    def _done(self, answered: float, complete: float) -> Launched:
        for child in self._children:
            child.let_go()
        return Launched(answered=answered, complete=complete)


def stop_backing(state: State) -> list[str]:
    """End the private servers of a state directory; the names of those that ran."""
    stopped = []
    for kind in (RabbitMQ, MariaDB):
        server = kind.found_in(state.backing / kind.kind)
        if server is not None and server.running:
            server.stop()
            stopped.append(kind.kind)
    return stopped
