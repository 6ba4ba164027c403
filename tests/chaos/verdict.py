"""Looks at a cloud from outside, in its database and in its hosts' journals: what is unfinished, and what is wrong."""

from collections import Counter
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import tables as t
from kilonova.database.checks import check
from kilonova.database.connection import DatabaseSettings, open_database
from kilonova.hypervisor.fake.journal import read
from kilonova.hypervisor.qemu.process import find
from kilonova.hypervisor.qemu.record import load
from kilonova.model.clock import SystemClock, system_random
from kilonova.model.finding import Finding
from kilonova.model.guest import GuestState
from tests.chaos.load import Asked

GRACE = 5_000_000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of a server."""

    host: str | None
    vm_state: str
    task_state: str | None
    deleted: bool
    fault: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A guest on a host. ``released``: it was let run, at some time."""

    running: bool
    released: bool


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One moment: servers by id, guests by host and server, open actions, findings."""

    servers: dict[str, Row]
    guests: dict[str, dict[str, Seen]]
    open_actions: list[str]
    findings: list[Finding]
    allocations: int

    def living(self) -> dict[str, Row]:
        """Those that are not deleted."""
        return {server_id: row for server_id, row in self.servers.items() if not row.deleted}

    def places(self) -> dict[str, list[str]]:
        """The hosts where each server has a guest."""
        found: dict[str, list[str]] = {}
        for host, guests in self.guests.items():
            for server_id in guests:
                found.setdefault(server_id, []).append(host)
        return found


class Witness:
    """Takes pictures, over a connection of its own."""

    def __init__(self, url: str, state: Path) -> None:
        self.clock = SystemClock()
        settings = DatabaseSettings(url=url, pool_size=1, snapshot=True, attempts=1)
        self._database = open_database(settings, self.clock, system_random())
        self._hosts = state / "hosts"

    async def picture(self) -> Picture:
        """Now. The journals are read after the database: a guest that was confirmed must be in one."""
        servers, opened, findings, allocations = await self._database.run(_read, self.clock.now())
        guests = {directory.name: _guests(directory) for directory in sorted(self._hosts.glob("*"))}
        return Picture(
            servers=servers, guests=guests, open_actions=opened, findings=findings, allocations=allocations
        )

    async def close(self) -> None:
        """Give the connection back."""
        await self._database.close()


def _guests(host: Path) -> dict[str, Seen]:
    """Those of one host, as its hypervisor left them: the fake one's journal, or QEMU's records and processes."""
    journal, instances = host / "guests.journal", host / "instances"
    if journal.exists():
        return {
            server_id: Seen(running=guest.state is GuestState.RUNNING, released=guest.released)
            for server_id, guest in read(journal).items()
        }
    processes = find(instances.resolve()) if instances.exists() else {}
    records = {directory.name: load(directory) for directory in sorted(instances.glob("*"))}
    return {
        server_id: Seen(running=released and server_id in processes, released=released)
        for server_id, record in records.items()
        if (released := record is not None and record.released) or server_id in processes or record is not None
    }


def _read(connection: Connection, now: int) -> tuple[dict[str, Row], list[str], list[Finding], int]:
    s, a = t.servers.c, t.actions.c
    servers = {
        row.id: Row(
            host=row.host,
            vm_state=row.vm_state,
            task_state=row.task_state,
            deleted=row.deleted_at is not None,
            fault=str((row.fault or {}).get("message", "")),
        )
        for row in connection.execute(sa.select(s.id, s.host, s.vm_state, s.task_state, s.deleted_at, s.fault))
    }
    opened = [
        f"{row.kind}/{row.step}/{row.state}"
        for row in connection.execute(sa.select(a.kind, a.step, a.state).where(a.lease_until.is_not(None)))
    ]
    allocations = connection.execute(sa.select(sa.func.count()).select_from(t.allocations)).scalar() or 0
    return servers, opened, check(connection, now, GRACE), allocations


def unfinished(picture: Picture, dead_hosts: set[str]) -> list[str]:
    """What is still to come: open actions, servers between two states, guests that are not as the database says.

    Hosts in ``dead_hosts`` cannot be tidied by anybody: their journals are not asked for.
    """
    found = sorted(f"{count} × {name}" for name, count in Counter(picture.open_actions).items())
    found += [
        f"server {server_id} is {row.vm_state}/{row.task_state}"
        for server_id, row in picture.living().items()
        if row.vm_state == "building" or row.task_state is not None
    ]
    living = picture.living()
    for host, guests in picture.guests.items():
        if host not in dead_hosts:
            found += [f"guest {one} is on {host}" for one in guests if one not in living or living[one].host != host]
    for server_id, row in living.items():
        guest = picture.guests.get(row.host or "", {}).get(server_id)
        running = guest is not None and guest.running
        if row.vm_state == "active" and not running and row.host not in dead_hosts:
            found.append(
                f"active server {server_id}: its guest {'stands still' if guest else 'is not'} on {row.host}"
            )
    return found


def duplicated(picture: Picture) -> list[str]:
    """Servers that run, or ever ran, on several hosts at this moment. Never right, whatever is down."""
    ran = {
        server_id: [host for host in hosts if picture.guests[host][server_id].released]
        for server_id, hosts in picture.places().items()
    }
    return [f"server {server_id} ran on {', '.join(hosts)}" for server_id, hosts in ran.items() if len(hosts) > 1]


class Verdict(msgspec.Struct, kw_only=True):
    """What became of everything that was asked for. ``violations`` are sentences; empty is the promise kept."""

    active: int = 0
    error: int = 0
    deleted: int = 0
    lost: int = 0
    stuck: int = 0
    duplicated: int = 0
    leaked: int = 0
    unasked: int = 0  # created by requests that nobody got an answer for
    violations: list[str] = []


def judge(picture: Picture, asked: Asked, dead_hosts: set[str]) -> Verdict:
    """The verdict on a cloud that has settled, or will not any more."""
    verdict = Verdict()
    living = picture.living()
    for server_id in asked.created:
        _judge_one(verdict, server_id, picture.servers.get(server_id), asked)
    for server_id, row in living.items():
        if server_id in asked.created:
            continue
        verdict.unasked += 1
        if row.vm_state not in ("active", "error"):
            verdict.violations.append(f"server {server_id}, whose client got no answer, is {row.vm_state}")
    leftover = unfinished(picture, dead_hosts)
    verdict.stuck = len(leftover)
    verdict.violations += [f"not finished: {what}" for what in leftover]
    twice = duplicated(picture)
    verdict.duplicated = len(twice)
    verdict.violations += twice
    verdict.leaked = sum(finding.kind.startswith("allocation") for finding in picture.findings)
    verdict.violations += [f"{one.kind}: {one.subject}: {one.message}" for one in picture.findings]
    return verdict


def _judge_one(verdict: Verdict, server_id: str, row: Row | None, asked: Asked) -> None:
    gone = row is None or row.deleted
    if server_id in asked.deleted:
        verdict.deleted += gone
        if not gone:
            verdict.violations.append(f"server {server_id} was to be deleted and is {row and row.vm_state}")
    elif gone and server_id in asked.perhaps_deleted:
        verdict.deleted += 1
    elif row is None or row.deleted:
        verdict.lost += 1
        verdict.violations.append(f"server {server_id} is lost: nobody asked to delete it")
    elif row.vm_state == "active":
        verdict.active += 1
    elif row.vm_state == "error":
        verdict.error += 1
        if not row.fault:
            verdict.violations.append(f"server {server_id} is in ERROR without a reason")
