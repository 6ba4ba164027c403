"""What must be so in a world that has come to rest: the database's own rules, and those about guests and promises."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.engine import Connection

from kilonova.database import checks
from kilonova.database.tables import actions, ports, servers
from kilonova.model.action import ActionState
from kilonova.model.finding import Finding
from kilonova.model.guest import GuestState
from kilonova.model.server import Server, VmState
from kilonova.simulation.clients import Promise
from kilonova.simulation.hypervisor import Machine

_NO_ACTION = ("delete", "abort")  # a delete may find another one at work; an abort is a word to an action that runs
_OFF = (GuestState.OFF, GuestState.CRASHED)
_SETTLED = (GuestState.RUNNING, *_OFF)


class Seen(msgspec.Struct, frozen=True):
    """What the database does not know: the machines, and what clients were promised."""

    machines: Mapping[str, Machine]
    promises: Sequence[Promise]


def check(connection: Connection, seen: Seen, now: int) -> list[Finding]:
    """Every breach."""
    rows = [Server(**row._mapping) for row in connection.execute(select(servers).order_by(servers.c.seq))]
    by_id = {server.id: server for server in rows}
    return [
        *checks.check(connection, now, 0),
        *_actions(connection),
        *_servers(rows, seen),
        *_guests(by_id, seen),
        *_ports(connection, rows),
        *_promises(connection, by_id, seen),
    ]


def _actions(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(select(actions).order_by(actions.c.seq)):
        what = f"'{row.kind}' of server {row.server_id}, step '{row.step}'"
        if row.finished_at is None:
            yield Finding(kind="action_open", subject=row.id, message=f"{what} is still {row.state}")
        elif row.state == ActionState.FAILED and not row.message:
            yield Finding(kind="action_mute", subject=row.id, message=f"{what} failed and does not say why")
        elif row.state == ActionState.UNDONE and not row.message:
            yield Finding(kind="action_mute", subject=row.id, message=f"{what} was undone and does not say why")


def _servers(rows: Sequence[Server], seen: Seen) -> Iterator[Finding]:
    for server in rows:
        here = {
            host: machine.guests[server.id] for host, machine in seen.machines.items() if server.id in machine.guests
        }
        if server.deleted_at is not None:
            if here:
                yield _finding("guest_of_deleted", server, f"its guest is still on {', '.join(here)}")
            continue
        if server.task_state is not None:
            yield _finding("task_state", server, f"its task_state is still {server.task_state!r}")
        if server.vm_state == VmState.ERROR and server.fault is None:
            yield _finding("fault_missing", server, "it is in ERROR and does not say why")
        copy = here.pop((server.resized_from or {}).get("host", ""), None)
        if server.vm_state == VmState.RESIZED and (copy is None or copy.state not in _OFF):
            yield _finding("no_way_back", server, f"it may be reverted, and its copy is {copy and copy.state}")
        if len(here) > 1:
            yield _finding("guest_twice", server, f"it has guests on {', '.join(here)}")
        guest = here.get(server.host or "")
        state = None if guest is None else guest.state
        if server.vm_state == VmState.ACTIVE and state is not GuestState.RUNNING:
            yield _finding(
                "active_not_running", server, f"it is ACTIVE on {server.host}, its guest is {state or 'missing'}"
            )
        if server.vm_state == VmState.SHELVED:
            yield _finding("still_on_its_host", server, f"it is shelved, and nobody had it leave {server.host}")
        if server.vm_state == VmState.SHELVED_OFFLOADED and (server.host is not None or here):
            yield _finding("not_gone", server, f"it was offloaded, and is on {server.host or ', '.join(here)}")
        if server.vm_state == VmState.RESIZED and state not in _SETTLED:
            yield _finding(
                "resized_not_there", server, f"it was moved to {server.host}, its guest is {state or 'missing'}"
            )
        if server.vm_state == VmState.STOPPED and state is not None and state not in _OFF:
            yield _finding("stopped_not_off", server, f"it is SHUTOFF on {server.host}, its guest is {state}")
        if server.vm_state == VmState.STOPPED and state is None:
            yield _finding("stopped_without_guest", server, f"it is SHUTOFF on {server.host}, and its guest is gone")


def _guests(by_id: Mapping[str, Server], seen: Seen) -> Iterator[Finding]:
    for host, machine in seen.machines.items():
        for server_id, guest in machine.guests.items():
            server = by_id.get(server_id)
            if server is None:
                yield Finding(
                    kind="guest_of_nobody", subject=server_id, message=f"a guest on {host}, and no such server"
                )
            elif server.deleted_at is None and host not in (server.host, (server.resized_from or {}).get("host")):
                where = server.host or "no host"
                yield _finding(
                    "guest_elsewhere", server, f"a guest of it is {guest.state} on {host}, it is on {where}"
                )


def _ports(connection: Connection, rows: Sequence[Server]) -> Iterator[Finding]:
    held = {row.id: row.device_id for row in connection.execute(select(ports.c.id, ports.c.device_id))}
    for server in rows:
        if server.deleted_at is not None or server.vm_state not in (VmState.ACTIVE, VmState.STOPPED, VmState.RESIZED):
            continue
        if not server.addresses:
            yield _finding("no_address", server, f"it is {server.vm_state} and has no address")
        for nic in server.addresses:
            if held.get(nic["port_id"]) != server.id:
                yield _finding("port_lost", server, f"its port {nic['port_id']} does not exist or is not its own")


def _promises(connection: Connection, by_id: Mapping[str, Server], seen: Seen) -> Iterator[Finding]:
    known = {
        (row.server_id, row.request_id)
        for row in connection.execute(select(actions.c.server_id, actions.c.request_id))
    }
    for promise in seen.promises:
        server = by_id.get(promise.server_id)
        what = f"'{promise.kind}' of {promise.server_id} ({promise.request_id})"
        if server is None:
            yield Finding(
                kind="promise_lost", subject=promise.server_id, message=f"{what} was accepted; no such server"
            )
        elif promise.kind == "delete" and server.deleted_at is None:
            yield _finding("promise_broken", server, f"{what} was accepted, and the server is still there")
        elif promise.kind not in _NO_ACTION and (promise.server_id, promise.request_id) not in known:
            yield _finding("promise_lost", server, f"{what} was accepted, and there is no such action")


def _finding(kind: str, server: Server, message: str) -> Finding:
    return Finding(kind=kind, subject=server.id, message=f"server {server.name}: {message}")
