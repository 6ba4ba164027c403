"""The rules that hold between any two transactions, as questions to the database.

Each of them is kept by the engine's transactions, so a finding means a bug, a hand in the tables, or (``action_late``) that
no nova-conductor sweeps. Nothing is mended here: what a rule's breach means depends on how it came about.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import check_questions as ask
from kilonova.database.outgoing import quota_of
from kilonova.database.tables import allocations
from kilonova.database.topology_checks import topology_missing, topology_usage
from kilonova.model.finding import Finding
from kilonova.model.server import VmState

_l = allocations.c


def check(connection: Connection, now: int, grace: int) -> list[Finding]:
    """Every breach there is at this moment, in the order of the rules below; empty if all is well.

    ``now`` and ``grace`` are microseconds: an action may be late by ``grace`` before that counts, as the sweep looks only every
    so often. The transaction must see one moment (SQLite does; else ``DatabaseSettings.snapshot``), or a change that is
    committed between two of the questions looks like a breach.
    """
    found = [finding for rule in _RULES for finding in rule(connection)]
    return [*found, *_late_actions(connection, now, grace)]


# --- allocations -------------------------------------------------------------------------------------------


def _allocations_without_server(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.ALLOCATIONS_WITHOUT_SERVER):
        yield Finding(
            kind="allocation_without_server",
            subject=row.server_id,
            message=f"host {row.host} is claimed for a server that is deleted or unknown; the claim is leaked",
        )


def _allocations_elsewhere(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.ALLOCATIONS_ELSEWHERE):
        yield Finding(
            kind="allocation_elsewhere",
            subject=row.server_id,
            message=f"it is on {row.home or 'no host'}, and claims host {row.host}; the claim is leaked",
        )


def _allocations_missing(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.ALLOCATIONS_MISSING):
        yield Finding(
            kind="allocation_missing",
            subject=row.id,
            message=f"it is on host {row.host} and claims nothing of it; the host may be promised to others as well",
        )


def _allocations_doubled(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.ALLOCATIONS_DOUBLED).all():
        names = connection.execute(sa.select(_l.host).where(_l.consumer == row.consumer).order_by(_l.host)).scalars()
        yield Finding(
            kind="allocation_doubled", subject=row.consumer, message=f"it claims several hosts: {', '.join(names)}"
        )


def _allocations_held_for_nothing(connection: Connection) -> Iterator[Finding]:
    """What a move holds is held while it goes on, or until it is confirmed or reverted."""
    for row in connection.execute(ask.ALLOCATIONS_OF_MOVES):
        if row.consumer not in (row.action_id, (row.resized_from or {}).get("move")):
            yield Finding(
                kind="allocation_held",
                subject=row.server_id,
                message=f"host {row.host} is held for its move {row.consumer}, which is over; the claim is leaked",
            )


def _resized_without_a_way_back(connection: Connection) -> Iterator[Finding]:
    """A server that awaits its confirmation holds the host it came from; no other one says where it came from."""
    held = {(row.consumer, row.host) for row in connection.execute(ask.CONSUMERS)}
    for row in connection.execute(ask.RESIZED):
        before = row.resized_from or {}
        sides = ((before.get("move"), before.get("host")), (before.get("move"), row.host))
        if row.vm_state != VmState.RESIZED or not held.intersection(sides):
            yield Finding(
                kind="resized_astray",
                subject=row.id,
                message=f"it is {row.vm_state} and came from {before.get('host') or 'nowhere'}, where nothing is held for it",
            )


# --- hosts -------------------------------------------------------------------------------------------------


def _host_usage(connection: Connection) -> Iterator[Finding]:
    """What hosts count as used is the sum of their allocations, and within what may be claimed."""
    sums = {
        row.host: (int(row.vcpus), int(row.memory_mb), int(row.disk_gb), int(row.servers))
        for row in connection.execute(ask.CLAIMED)
    }
    for row in connection.execute(ask.HOSTS):
        used = (row.vcpus_used, row.memory_mb_used, row.disk_gb_used, row.servers_count)
        claimed = sums.pop(row.host, (0, 0, 0, 0))
        if used != claimed:
            yield Finding(
                kind="host_usage",
                subject=row.host,
                message=f"it counts {_amounts(used)} as used; its allocations are {_amounts(claimed)}",
            )
        capacity = (row.vcpus_capacity, row.memory_mb_capacity, row.disk_gb_capacity)
        if any(much > most for much, most in zip(used, capacity, strict=False)):
            yield Finding(
                kind="capacity_exceeded",
                subject=row.host,
                message=f"{_amounts(used)} are used of {capacity[0]} cores, {capacity[1]} MiB, {capacity[2]} GiB; "
                "did its ratios or reservations change while servers were on it?",
            )
    for host, claimed in sorted(sums.items()):
        yield Finding(
            kind="allocation_without_host",
            subject=host,
            message=f"{_amounts(claimed)} are claimed of a host that is not known (its service was deleted?)",
        )


def _custom_usage(connection: Connection) -> Iterator[Finding]:
    """What is used of the inventories that operators added is what allocations have of them."""
    claimed: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(ask.CLAIMED_CUSTOM):
        claimed.update({(row.host, name): amount for name, amount in row.custom.items()})
    used = {(row.host, row.resource_class): int(row.used) for row in connection.execute(ask.USED_CUSTOM)}
    for host, name in sorted(claimed.keys() | used.keys()):
        counted, amount = used.get((host, name), 0), claimed[host, name]
        if counted != amount:
            message = f"it counts {counted} of {name} as used; its allocations are {amount}"
            yield Finding(kind="custom_usage", subject=f"{host} {name}", message=message)


def _amounts(amounts: tuple[int, int, int, int]) -> str:
    return f"{amounts[0]} cores, {amounts[1]} MiB, {amounts[2]} GiB for {amounts[3]} servers"


# --- quota -------------------------------------------------------------------------------------------------


def _quota_usage(connection: Connection) -> Iterator[Finding]:
    """What projects count as used is the sum of their servers that are not deleted, softly either, and of their groups."""
    sums: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(ask.CHARGED):
        for resource, amount in (row.charged or quota_of(row.flavor)).items():
            sums[row.project_id, resource] += amount
    sums.update({(project_id, "server_groups"): int(count) for project_id, count in connection.execute(ask.GROUPS)})
    counted = {(row.project_id, row.resource): int(row.in_use) for row in connection.execute(ask.USAGES)}
    for project_id, resource in sorted({*sums, *counted}):
        counts, uses = counted.get((project_id, resource), 0), sums[project_id, resource]
        if counts != uses:
            yield Finding(
                kind="quota_usage",
                subject=project_id,
                message=f"the project counts {counts} {resource} as used, and has {uses}",
            )


# --- actions and the servers they hold ---------------------------------------------------------------------


def _late_actions(connection: Connection, now: int, grace: int) -> Iterator[Finding]:
    for row in connection.execute(ask.LATE, {"before": now - grace}):
        late = (now - row.lease_until) / 1_000_000
        yield Finding(
            kind="action_late",
            subject=row.id,
            message=f"'{row.kind}' of server {row.server_id} should have been taken over {late:.1f} s ago "
            f"(step '{row.step}', {row.state}); does a nova-conductor run?",
        )


def _unleased_actions(connection: Connection) -> Iterator[Finding]:
    """Exactly the actions that are open have a lease: that is how the sweep finds them."""
    for row in connection.execute(ask.UNLEASED):
        yield Finding(
            kind="action_lease",
            subject=row.id,
            message=f"'{row.kind}' of server {row.server_id} is {row.state}, and its lease or its end say otherwise",
        )


def _actions_that_hold_nothing(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.HOLDING_NOTHING):
        yield Finding(
            kind="action_without_server",
            subject=row.id,
            message=f"'{row.kind}' is open, and server {row.server_id} is unknown or held by another action",
        )


def _servers_held_by_nothing(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.HELD_BY_NOTHING):
        yield Finding(
            kind="server_held",
            subject=row.id,
            message=f"it is held by action {row.action_id}, which {'is ' + row.state if row.state else 'does not exist'}; "
            "a delete is the only request it can take",
        )


def _charges_of_nobody(connection: Connection) -> Iterator[Finding]:
    """Quota beyond the flavor is charged only while the flavor may change."""
    for row in connection.execute(ask.CHARGED_FOR_NOTHING):
        yield Finding(kind="charge_of_nobody", subject=row.id, message="it is charged for a resize that is over")


def _tasks_of_nobody(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.TASKS_OF_NOBODY):
        yield Finding(
            kind="task_without_action",
            subject=row.id,
            message=f"its task_state is {row.task_state!r}, and no action holds it; it waits for nothing",
        )


def _builds_of_nobody(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.BUILDS_OF_NOBODY):
        yield Finding(
            kind="build_without_action",
            subject=row.id,
            message="it is in BUILD, and no action builds it; delete it and create it anew",
        )


# --- networks ----------------------------------------------------------------------------------------------


def _ports_of_nobody(connection: Connection) -> Iterator[Finding]:
    """Ports that Compute bound; what users write into a port's ``device_id`` is their own business."""
    for row in connection.execute(ask.PORTS_OF_NOBODY):
        yield Finding(
            kind="port_without_server",
            subject=row.id,
            message=f"the port is bound to server {row.device_id}, which is deleted or unknown; delete the port",
        )


def _ports_missing(connection: Connection) -> Iterator[Finding]:
    """The ports that servers were given are there and theirs; networks that are not ours know it themselves."""
    ours = set(connection.execute(ask.NETWORKS).scalars())
    owners = {row.id: row.device_id for row in connection.execute(ask.PORTS)}
    for row in connection.execute(ask.WITH_ADDRESSES):
        for nic in row.addresses:
            if nic["network_id"] in ours and owners.get(nic["port_id"]) != row.id:
                yield Finding(
                    kind="port_missing",
                    subject=row.id,
                    message=f"its port {nic['port_id']} ({nic['address']}) does not exist or is not its own; "
                    "its address may be given to another server",
                )


def _addresses_of_nobody(connection: Connection) -> Iterator[Finding]:
    for row in connection.execute(ask.ADDRESSES_OF_NOBODY):
        yield Finding(
            kind="address_without_port",
            subject=row.ip_address,
            message=f"the address is taken by port {row.port_id}, which does not exist; nobody else can have it",
        )


_RULES: tuple[Callable[[Connection], Iterator[Finding]], ...] = (
    _allocations_without_server,
    _allocations_elsewhere,
    _allocations_missing,
    _allocations_doubled,
    _allocations_held_for_nothing,
    _resized_without_a_way_back,
    _host_usage,
    topology_usage,
    topology_missing,
    _custom_usage,
    _quota_usage,
    _charges_of_nobody,
    _unleased_actions,
    _actions_that_hold_nothing,
    _servers_held_by_nothing,
    _tasks_of_nobody,
    _builds_of_nobody,
    _ports_of_nobody,
    _ports_missing,
    _addresses_of_nobody,
)
