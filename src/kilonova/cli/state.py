"""The state directory of a cloud that was started here: where things lie in it, and which processes are its own.

``run/cloud.json`` is how a later ``stop``, ``status`` or ``start`` finds them again. It names each process by pid *and*
start time, so that a recycled pid is never signalled.
"""

import os
from pathlib import Path

import msgspec

from kilonova.backing.server import Process
from kilonova.model.errors import Misconfigured

DEFAULT = Path(".state")


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One ``nova-*`` process we started."""

    name: str
    process: Process
    log: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What was started: ``shape`` is ``embedded`` or ``distributed``, ``driver`` what the hosts run on."""

    shape: str
    driver: str
    bridge: str
    programs: list[Program]
    links: str | None = None
    backing: bool = False


class State:
    """One state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.run = self.directory / "run"
        self.logs = self.directory / "log"
        self.hosts = self.directory / "hosts"
        self.backing = self.directory / "backing"
        self.openrc = self.directory / "openrc"
        self.clouds = self.directory / "clouds.yaml"
        self.control_file = self.directory / "kilonova.toml"
        self._record = self.run / "cloud.json"

    def make(self) -> None:
        """The directories, readable by their owner only where secrets lie; the servers' accounts may pass through."""
        try:
            for directory in (self.directory, self.run, self.logs):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(
                f"the state directory {self.directory} cannot be made ({error.strerror}); name another with --state-dir"
            ) from None
        if not os.access(self.directory, os.W_OK):
            raise Misconfigured(
                f"the state directory {self.directory} belongs to another user; use sudo, or another with --state-dir"
            )

    def pid_file(self, name: str) -> Path:
        """Where a program says that all of it is up."""
        return self.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        """Where a program's words go."""
        return self.logs / f"{name}.log"

    def record(self) -> Record | None:
        """What was started last and not stopped since, whether it still runs or not."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise Misconfigured(f"{self._record} cannot be read ({error}); remove it") from None

    def write_record(self, record: Record) -> None:
        """Remember it, as one step."""
        draft = self._record.with_suffix(".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        draft.replace(self._record)

    def forget_record(self) -> None:
        """Everything it named has ended."""
        self._record.unlink(missing_ok=True)

    def running(self) -> list[Program]:
        """Its programs that live."""
        record = self.record()
        return [program for program in record.programs if program.process.alive] if record else []

    def api_url(self) -> str | None:
        """Where nova-api answers, once it does."""
        try:
            found = msgspec.json.decode((self.directory / "api.json").read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return found.get("url")

    def forget_api(self) -> None:
        """Before a start: what an earlier nova-api wrote is no answer."""
        (self.directory / "api.json").unlink(missing_ok=True)

    def password(self) -> str | None:
        """The administrator's password, if this directory has it."""
        try:
            return (self.directory / "admin-password").read_text().strip()
        except FileNotFoundError:
            return None


def write_private(path: Path, text: str) -> None:
    """A file only its owner may read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
