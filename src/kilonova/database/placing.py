"""The transactions of nova-scheduler: servers are put on the hosts that were chosen for them, alone or many at once.

``place_all`` first tries all of a batch with a handful of statements; if anything about any of them is not as the scheduler
believed, that is taken back and each is placed by itself, so that the answer is the same. Both lock in the order of the
engine: actions, servers, groups, hosts (by name).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import actions, aggregates, decisions, ledger, membership, moves, server_groups, servers
from kilonova.database.engine import queued
from kilonova.database.tables import actions as action_rows
from kilonova.database.tables import servers as server_rows
from kilonova.messaging.contract import Need, TimelineEvent
from kilonova.model.action import ActionState, host_of_step
from kilonova.model.decision import DecisionRecord
from kilonova.model.errors import Stale
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.kinds.create import CREATE, SCHEDULE

_a, _s = action_rows.c, server_rows.c


class ClaimLost(Exception):
    """The host filled up, or its servers or zone changed, between the decision and the claim; the transaction is rolled back."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """A server, the host that was chosen for it, and what there is to be written about that."""

    action_id: str
    epoch: int
    server_id: str
    project_id: str
    host: str
    zone: str
    need: Need
    kind: str
    work: Mapping[str, Any]
    group_id: str | None
    events: Sequence[TimelineEvent]
    decisions: Sequence[DecisionRecord]


class Outcome(StrEnum):
    """What became of a placement: it holds; its action has moved on without us; the host no longer takes it."""

    PLACED = "placed"
    STALE = "stale"
    LOST = "lost"


def place_all(connection: Connection, placements: Sequence[Placement], *, now: int, dispatch: int) -> list[Outcome]:
    """Place each of them if that still can be; the outcomes in the same order."""
    if len(placements) > 1 and all(_is_simple(placement) for placement in placements):
        try:
            with connection.begin_nested():
                _place_together(connection, placements, now, dispatch)
            return [Outcome.PLACED] * len(placements)
        except (ClaimLost, Stale):  # one of them; which, each will find out by itself
            pass
    outcomes = dict.fromkeys(range(len(placements)), Outcome.LOST)
    for at in sorted(outcomes, key=lambda at: placements[at].host):  # others may do the same: wait in one direction
        outcomes[at] = _place_alone(connection, placements[at], now, dispatch)
    return list(outcomes.values())


def _is_simple(placement: Placement) -> bool:
    return placement.kind == CREATE.name and not placement.work


def _place_alone(connection: Connection, placement: Placement, now: int, dispatch: int) -> Outcome:
    try:
        with connection.begin_nested():
            place(connection, placement, now=now, dispatch=dispatch)
    except Stale:
        return Outcome.STALE
    except ClaimLost:
        return Outcome.LOST
    return Outcome.PLACED


def place(connection: Connection, placed: Placement, *, now: int, dispatch: int) -> None:
    """Claim the host for the server and pass the action on: to that host, or for a move to whoever goes first.

    Raises ``Stale`` if the action has moved on without us, ``ClaimLost`` if the host has filled up or was disabled, or the
    server's group with a policy does not go there any more.
    """
    host, action_id, server_id = placed.host, placed.action_id, placed.server_id
    moves_it = KINDS[placed.kind].moves
    following = KINDS[placed.kind].after(SCHEDULE.name)
    assert following is not None
    work = {**placed.work, "destination": host, "zone": placed.zone} if moves_it else dict(placed.work)
    on_host = host_of_step(following, host, work)
    columns = queued(following, on_host, placed.epoch + 1, now, dispatch) | {"work": work}
    pending = (ActionState.PENDING,)
    if not actions.change(connection, action_id, columns, epoch=placed.epoch, states=pending, step=SCHEDULE.name):
        raise Stale(f"action {action_id} is no longer at epoch {placed.epoch}")
    places = {} if moves_it else {"host": host, "availability_zone": placed.zone}
    task = following.task_state
    if not servers.update(connection, server_id, held_by=action_id, task_state=task, updated_at=now, **places):
        raise Stale(f"server {server_id} is no longer held by action {action_id}")
    if placed.group_id is not None and not server_groups.claim_place(connection, placed.group_id, server_id, host):
        raise ClaimLost(host)
    if not ledger.claim(
        connection,
        server_id=server_id,
        project_id=placed.project_id,
        host=host,
        need=placed.need,
        now=now,
        held_by=action_id if moves_it else None,
    ):
        raise ClaimLost(host)
    # The scheduler's view is older than an operator's word. Asked with the host's row held: a zone with servers stays.
    if membership.open_zone(connection, host) != placed.zone:
        raise ClaimLost(host)
    if moves_it:
        moves.destined(connection, action_id, placed.kind, host, now)
    actions.record(connection, action_id, placed.events)
    decisions.record(connection, placed.decisions)


# --- many at once ----------------------------------------------------------------------------------------------


def _place_together(connection: Connection, placements: Sequence[Placement], now: int, dispatch: int) -> None:
    """Raises ``Stale`` or ``ClaimLost`` without saying whose."""
    _pass_on(connection, placements, now, dispatch)
    if not server_groups.claim_places(
        connection, [(p.group_id, p.host) for p in placements if p.group_id is not None]
    ):
        raise ClaimLost
    zones = {placement.host: placement.zone for placement in placements}
    ledger.hold(connection, sorted(zones))
    claims = [(p.server_id, p.project_id, p.host, p.need) for p in placements]
    if not ledger.claim_all(connection, claims, now):
        raise ClaimLost
    if not membership.all_take_servers(connection, sorted(zones)):
        raise ClaimLost
    if aggregates.zones_of(connection, sorted(zones)) != zones:
        raise ClaimLost
    actions.record_all(connection, {placement.action_id: placement.events for placement in placements})
    decisions.record(connection, [made for placement in placements for made in placement.decisions])


_BY_EPOCH = sa.and_(
    _a.id.in_(sa.bindparam("these", expanding=True)),
    _a.epoch == sa.bindparam("at_epoch"),
    _a.state == ActionState.PENDING,
    _a.step == SCHEDULE.name,
)


def _pass_on(connection: Connection, placements: Sequence[Placement], now: int, dispatch: int) -> None:
    following = CREATE.after(SCHEDULE.name)
    assert following is not None
    on_host = {placement.action_id: placement.host for placement in placements}
    by_epoch = Counter(placement.epoch for placement in placements)
    for epoch in sorted(by_epoch):
        these = sorted(placement.action_id for placement in placements if placement.epoch == epoch)
        values = queued(following, None, epoch + 1, now, dispatch) | {"on_host": _by(_a.id, these, on_host)}
        statement = action_rows.update().where(_BY_EPOCH).values(**values, work={})
        if connection.execute(statement, {"these": these, "at_epoch": epoch}).rowcount != len(these):
            raise Stale("an action of the batch has moved on")
    ids = sorted(placement.server_id for placement in placements)
    hosts = {placement.server_id: placement.host for placement in placements}
    zones = {placement.server_id: placement.zone for placement in placements}
    statement = (
        server_rows.update()
        .where(_s.id.in_(ids), _s.action_id.in_(sorted(on_host)))
        .values(
            host=_by(_s.id, ids, hosts),
            availability_zone=_by(_s.id, ids, zones),
            task_state=following.task_state,
            updated_at=now,
        )
    )
    if connection.execute(statement).rowcount != len(ids):
        raise Stale("a server of the batch is no longer held")


def _by(column: sa.ColumnElement[Any], keys: Sequence[str], values: Mapping[str, str]) -> sa.ColumnElement[Any]:
    """The value that belongs to each key."""
    wanted = {key: values[key] for key in keys}
    distinct = set(wanted.values())
    return sa.literal(distinct.pop()) if len(distinct) == 1 else sa.case(wanted, value=column)
