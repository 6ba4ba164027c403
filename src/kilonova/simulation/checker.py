"""What must be so in a world that has come to rest: the database's own rules, and those about guests and promises."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import and_, or_, select
from sqlalchemy.engine import Connection

from kilonova.database import checks
from kilonova.database.tables import actions, allocations, ports, server_group_members, servers
from kilonova.model.action import ActionState
from kilonova.model.finding import Finding
from kilonova.model.guest import GuestState
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE
from kilonova.model.kinds.soft_delete import RESTORE, SOFT_DELETE
from kilonova.model.server import Server, VmState
from kilonova.model.topology.given import given_twice, read_given
from kilonova.simulation.clients import Promise
from kilonova.simulation.hypervisor import Machine
from kilonova.simulation.images import Shelved
from kilonova.simulation.services import APART

_NO_ACTION = ("delete", "abort")  # a delete may find another one at work; an abort is a word to an action that runs
_OFF = (GuestState.OFF, GuestState.CRASHED)
_STATES_OF: Mapping[str, tuple[GuestState, ...]] = {
    VmState.PAUSED: (GuestState.PAUSED,),
    VmState.SUSPENDED: (GuestState.SUSPENDED,),
    VmState.RESCUED: (GuestState.RUNNING, *_OFF),
    VmState.SHELVED: _OFF,
    VmState.SOFT_DELETED: _OFF,
}
_SETTLED = (GuestState.RUNNING, *_OFF)


_ALL_SERVERS = select(servers).order_by(servers.c.seq)
_ALL_ACTIONS = select(actions).order_by(actions.c.seq)
_TOPOLOGIES = select(allocations.c.server_id, allocations.c.host, allocations.c.topology)
_PORTS = select(ports.c.id, ports.c.device_id)
_CARDS_CHANGED = (
    select(actions.c.kind, actions.c.state, actions.c.input, actions.c.server_id)
    .where(actions.c.kind.in_((ATTACH_INTERFACE.name, DETACH_INTERFACE.name)))
    .order_by(actions.c.seq)
)
_PLACES = (
    select(allocations.c.host, allocations.c.server_id)
    .join(server_group_members, server_group_members.c.server_id == allocations.c.server_id)
    .where(server_group_members.c.group_id == APART)
    .distinct()
    .order_by(allocations.c.host, allocations.c.server_id)
)
_REQUESTS = select(actions.c.server_id, actions.c.request_id)
_TAKEN_BACK = select(actions.c.server_id).where(
    or_(
        and_(actions.c.kind == SOFT_DELETE.name, actions.c.state != ActionState.SUCCEEDED),
        actions.c.kind == RESTORE.name,
    )
)
_IMAGES_UNDONE = select(actions.c.input, actions.c.server_id).where(
    actions.c.kind.in_(("createImage", "createBackup", "shelve")), actions.c.state == ActionState.UNDONE
)


class Seen(msgspec.Struct, frozen=True):
    """What the database does not know: the machines, and what clients were promised."""

    machines: Mapping[str, Machine]
    promises: Sequence[Promise]
    unheard: Sequence[Promise] = ()
    images: Mapping[str, Shelved] = {}


def check(connection: Connection, seen: Seen, now: int) -> list[Finding]:
    """Every breach."""
    rows = [Server(**row._mapping) for row in connection.execute(_ALL_SERVERS)]
    by_id = {server.id: server for server in rows}
    return [
        *checks.check(connection, now, 0),
        *_actions(connection),
        *_servers(rows, seen),
        *_guests(by_id, seen),
        *_topologies(connection, seen),
        *_ports(connection, rows),
        *_cards(rows, seen),
        *_plugged(connection),
        *_group(connection),
        *_images(connection, by_id, seen),
        *_promises(connection, by_id, seen),
    ]


def _actions(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(_ALL_ACTIONS):
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
        came_from = (server.resized_from or {}).get("host", server.host)
        copy = None if came_from == server.host else here.pop(str(came_from), None)
        if (
            server.vm_state == VmState.RESIZED
            and came_from != server.host
            and (copy is None or copy.state not in _OFF)
        ):
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
        if server.vm_state in _STATES_OF and state not in _STATES_OF[server.vm_state]:
            yield _finding(
                "guest_astray", server, f"it is {server.vm_state} on {server.host}, its guest is {state or 'missing'}"
            )
        if guest is not None and guest.rescued and server.vm_state in (VmState.ACTIVE, VmState.PAUSED):
            yield _finding("still_rescued", server, f"it is {server.vm_state}, its guest boots a rescue system")
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


def _topologies(connection: Connection, seen: Seen) -> Iterator[Finding]:
    """What guests were told is what their servers' allocations say, and no two guests of a machine were told the same."""
    given: dict[tuple[str, str], list[object]] = {}
    for row in connection.execute(_TOPOLOGIES):
        told = None if row.topology is None else read_given(row.topology)
        given.setdefault((row.server_id, row.host), []).append(told)
    for host, machine in seen.machines.items():
        guests = {server_id: guest.spec.topology for server_id, guest in machine.guests.items()}
        for server_id, told in guests.items():
            if (known := given.get((server_id, host))) is not None and told not in known:
                yield Finding(
                    kind="topology_astray",
                    subject=server_id,
                    message=f"its guest on {host} uses what it was not given",
                )
        for what in given_twice(told for told in guests.values() if told is not None):
            yield Finding(kind="used_by_two", subject=host, message=f"two guests use {what}")


def _ports(connection: Connection, rows: Sequence[Server]) -> Iterator[Finding]:
    held = {row.id: row.device_id for row in connection.execute(_PORTS)}
    for server in rows:
        if server.deleted_at is not None or server.vm_state not in (VmState.ACTIVE, VmState.STOPPED, VmState.RESIZED):
            continue
        if not server.addresses:
            yield _finding("no_address", server, f"it is {server.vm_state} and has no address")
        for nic in server.addresses:
            if held.get(nic["port_id"]) != server.id:
                yield _finding("port_lost", server, f"its port {nic['port_id']} does not exist or is not its own")


def _cards(rows: Sequence[Server], seen: Seen) -> Iterator[Finding]:
    """A guest has the cards of its server, also after a host was away while they changed."""
    for server in rows:
        machine = seen.machines.get(server.host or "")
        guest = None if machine is None else machine.guests.get(server.id)
        if guest is None or server.deleted_at is not None or server.vm_state not in ATTACH_INTERFACE.vm_states:
            continue
        has, wanted = {nic.port_id for nic in guest.spec.nics}, {nic["port_id"] for nic in server.addresses}
        if has != wanted:
            yield _finding("cards_astray", server, f"its guest has cards of the ports {has}, and not of {wanted}")


def _plugged(connection: Connection) -> Iterator[Finding]:
    """What attaches and detaches said of their ports is so: a port that is gone came from neither."""
    held = {(row.id, row.device_id) for row in connection.execute(_PORTS)}
    for row in connection.execute(_CARDS_CHANGED):
        attached = row.kind == ATTACH_INTERFACE.name
        if attached is not (row.state == ActionState.SUCCEEDED) and (row.input["port_id"], row.server_id) in held:
            message = f"'{row.kind}' has {row.state}, and the port {row.input['port_id']} is its server's"
            yield Finding(kind="port_stays", subject=row.server_id, message=message)


def _group(connection: Connection) -> Iterator[Finding]:
    """Of the servers that are never to be on one host, no host holds two, nor a place for two."""
    held: dict[str, list[str]] = {}
    for row in connection.execute(_PLACES):
        held.setdefault(row.host, []).append(row.server_id)
    for host, together in held.items():
        if len(together) > 1:
            yield Finding(kind="not_apart", subject=host, message=f"it holds {' and '.join(together)}")


def _promises(connection: Connection, by_id: Mapping[str, Server], seen: Seen) -> Iterator[Finding]:
    known = {(row.server_id, row.request_id) for row in connection.execute(_REQUESTS)}
    back = _brought_back(connection, seen)
    for promise in seen.promises:
        server = by_id.get(promise.server_id)
        what = f"'{promise.kind}' of {promise.server_id} ({promise.request_id})"
        if server is None:
            yield Finding(
                kind="promise_lost", subject=promise.server_id, message=f"{what} was accepted; no such server"
            )
        elif promise.kind == "delete" and server.deleted_at is None and server.id not in back:
            yield _finding("promise_broken", server, f"{what} was accepted, and the server is still there")
        elif promise.kind not in _NO_ACTION and (promise.server_id, promise.request_id) not in known:
            yield _finding("promise_lost", server, f"{what} was accepted, and there is no such action")


def _brought_back(connection: Connection, seen: Seen) -> set[str]:
    """Servers whose delete was taken back, or was for the time being only and failed.

    A restore counts although its client never heard that it was accepted, and so does an administrator's reset.
    """
    back = {row.server_id for row in connection.execute(_TAKEN_BACK)}
    asked = (*seen.promises, *seen.unheard)
    return back | {promise.server_id for promise in asked if promise.kind in ("restore", "reset")}


def _images(connection: Connection, by_id: Mapping[str, Server], seen: Seen) -> Iterator[Finding]:
    """No image stays without its bytes. What an administrator's reset has cut off goes with its server at the latest."""
    cut_off = {
        row.input["image"]["id"]
        for row in connection.execute(_IMAGES_UNDONE)
        if by_id[row.server_id].deleted_at is None
    }
    for image_id, image in seen.images.items():
        if not image.deleted and not image.uploaded and image_id not in cut_off:
            yield Finding(
                kind="image_half_made", subject=image_id, message="an image of a server that never got its bytes"
            )


def _finding(kind: str, server: Server, message: str) -> Finding:
    return Finding(kind=kind, subject=server.id, message=f"server {server.name}: {message}")
