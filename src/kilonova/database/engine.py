"""The transactions of the engine: every change of an action together with the server and the ledger it concerns.

Each is one function, all or nothing, and safe to run again. They return what has to be *sent* after the commit; if
the sender dies before it sends, the action's lease runs out and the sweep sends it again.

The order of statements is always action, server, group, host, quota, so that transactions wait for each other in one direction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import actions, decisions, host_builds, ledger, membership, outcomes, servers
from kilonova.database.outgoing import Outgoing, step_message
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.action import (
    WITHOUT,
    Action,
    ActionState,
    Performer,
    Remedy,
    Step,
    host_of_step,
    next_step,
    without,
)
from kilonova.model.decision import DecisionRecord
from kilonova.model.errors import NotFound, Stale
from kilonova.model.guest import Nic
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.kinds.create import CREATE, SCHEDULE
from kilonova.model.remedies import resend_delay
from kilonova.model.server import PowerState, Server, VmState

_PENDING = (ActionState.PENDING,)
_RUNNING = (ActionState.RUNNING,)
_OPEN = (ActionState.PENDING, ActionState.RUNNING)


# --- nova-scheduler ----------------------------------------------------------------------------------------


def queued(step: Step, on_host: str | None, epoch: int, now: int, dispatch: int) -> dict[str, Any]:
    """The columns of an action that waits for a step to be begun."""
    return {
        "step": step.name,
        "on_host": on_host,
        "state": ActionState.PENDING,
        "epoch": epoch,
        "owner": None,
        "claimant": None,
        "attempts": 0,
        "lease_until": now + dispatch,
        "updated_at": now,
    }


def no_valid_host(
    connection: Connection,
    *,
    action_id: str,
    epoch: int,
    message: str,
    details: str,
    now: int,
    dispatch: int,
    events: Sequence[TimelineEvent],
    made: Sequence[DecisionRecord],
) -> Outgoing | None:
    """End an action that fits nowhere; if hosts have failed it before, the last of their reasons leads. Raises ``Stale``."""
    action = actions.find(connection, action_id)
    if action is None or action.epoch != epoch or action.state != ActionState.PENDING:
        raise Stale(f"action {action_id} is no longer at epoch {epoch}")
    if action.excluded_hosts and action.message:
        message = f"{action.message.rstrip('.')}. No other host could take it: {message}"
    outgoing = _turn_back(connection, action, message, details, now, dispatch)
    actions.record(connection, action_id, events)
    decisions.record(connection, made)
    return outgoing


# --- nova-conductor, for nova-compute ----------------------------------------------------------------------


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was begun: the action at its new epoch, and its server."""

    action: Action
    server: Server

    @property
    def step(self) -> Step:
        """The step that was begun."""
        return KINDS[self.action.kind].step(self.action.step)

    @property
    def on_host(self) -> str:
        """The host that performs it."""
        return self.action.on_host or self.server.host or ""


def begin(
    connection: Connection,
    *,
    action_id: str,
    step: str,
    epoch: int,
    owner: str,
    claimant: str,
    now: int,
    lease: int,
    events: Sequence[TimelineEvent],
) -> Begun:
    """Take the lease and raise the epoch. Asked again by the same claimant: the same answer. Else ``Stale``."""
    action = actions.find(connection, action_id)
    if action is None or action.finished_at is not None:
        raise Stale(f"action {action_id} is over")
    server = servers.find(connection, action.server_id)
    if server is None or server.action_id != action_id:
        raise Stale(f"server {action.server_id} is no longer held by action {action_id}")
    if action.on_host is not None and action.on_host != owner:
        raise Stale(f"step '{action.step}' of server {server.id} is for {action.on_host}, not for {owner}")
    if action.on_host is not None and membership.forced_down(connection, "nova-compute", owner):
        raise Stale(f"host {owner} is forced down: its steps are for others")
    if not _is_begun_by(action, claimant, epoch):
        leased = {
            "state": ActionState.RUNNING,
            "epoch": epoch + 1,
            "owner": owner,
            "claimant": claimant,
            "lease_until": now + lease,
            "attempts": action.attempts + 1,
            "updated_at": now,
        }
        if actions.change(connection, action_id, leased, epoch=epoch, states=_PENDING, step=step):
            actions.record(connection, action_id, events)
        elif not _is_begun_by(actions.find(connection, action_id), claimant, epoch):
            # Begun by it, it would have lost to its own first try, asked again.
            raise Stale(f"action {action_id} is no longer at epoch {epoch}")
    return Begun(action=msgspec.structs.replace(action, epoch=epoch + 1, step=step), server=server)


def _is_begun_by(action: Action | None, claimant: str, epoch: int) -> bool:
    if action is None or action.state != ActionState.RUNNING:
        return False
    return action.claimant == claimant and action.epoch == epoch + 1


def progress(connection: Connection, action_id: str, epoch: int, task_state: str) -> bool:
    """Show where a step is. False if the epoch is stale."""
    action = actions.find(connection, action_id)
    if action is None or action.epoch != epoch or action.state != ActionState.RUNNING:
        return False
    return servers.update(connection, action.server_id, held_by=action_id, task_state=task_state)


def addressed(connection: Connection, action_id: str, server_id: str, nics: Sequence[Nic]) -> bool:
    """Write down what addresses the server was given."""
    return servers.update(
        connection, server_id, held_by=action_id, addresses=[msgspec.to_builtins(nic) for nic in nics]
    )


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What a report led to: whether it counted, and the step that follows: already begun, if the conductor performs it itself
    (``following``), or to be sent (``outgoing``)."""

    accepted: bool
    reason: str = ""
    following: Action | None = None
    outgoing: Outgoing | None = None


def finish(
    connection: Connection,
    *,
    action_id: str,
    step: str,
    epoch: int,
    power_state: int | None,
    now: int,
    lease: int,
    dispatch: int,
    owner: str,
    events: Sequence[TimelineEvent],
    output: Mapping[str, Any] | None = None,
) -> Finished:
    """A step is done: go on to the next one, or end the action. Repeated reports get the same answer.

    Raises ``Stale`` if somebody was faster in the same moment, perhaps this very report, asked twice: ask again, and the answer
    is the one to what stands there then.

    ``output`` is added to the action's ``work``, for the steps to come and for ``database/outcomes.py``.
    """
    action = actions.find(connection, action_id)
    if action is None or action.epoch != epoch or action.step != step:
        moved_on = action is not None and action.epoch == epoch + 1 and _is_after(action, step)
        return Finished(accepted=moved_on, reason="" if moved_on else f"action {action_id} is past epoch {epoch}")
    kind = KINDS[action.kind]
    if action.state == ActionState.SUCCEEDED or (action.state == ActionState.FAILED and kind.undoes(step)):
        return Finished(accepted=True)
    action = msgspec.structs.replace(action, work={**action.work, **(output or {})})
    if kind.undoes(step):
        _give_up(connection, action, *_failure(action), now)
        finished = Finished(accepted=True)
    elif kind.after(step) is not None:
        finished = _go_on(connection, action, now=now, lease=lease, dispatch=dispatch, owner=owner, power=power_state)
    elif action.state != ActionState.RUNNING:
        finished = Finished(accepted=False, reason=f"action {action_id} is past epoch {epoch}")
    elif _end(connection, action_id, epoch, _RUNNING, ActionState.SUCCEEDED, None, now):
        _succeed(connection, action, power_state, now)
        finished = Finished(accepted=True)
    else:
        raise Stale(f"action {action_id} is past epoch {epoch}")
    if finished.accepted:
        actions.record(connection, action_id, events)
    return finished


def _go_on(
    connection: Connection, action: Action, *, now: int, lease: int, dispatch: int, owner: str, power: int | None
) -> Finished:
    """From a finished step to the one that follows; the conductor that writes this begins its own ones at once."""
    if action.state != ActionState.RUNNING:
        return Finished(accepted=False, reason=f"action {action.id} is past epoch {action.epoch}")
    following, server = _pass(connection, action, now)
    if following is None:
        ended = _end(connection, action.id, action.epoch, _RUNNING, ActionState.SUCCEEDED, None, now)
        if not ended:
            raise Stale(f"action {action.id} is past epoch {action.epoch}")
        _succeed(connection, action, power, now)
        return Finished(accepted=True)
    on_host = host_of_step(following, server.host, action.work)
    columns = queued(following, on_host, action.epoch + 1, now, dispatch) | {"work": action.work}
    ours = following.performer is Performer.CONDUCTOR
    if ours:
        columns |= {"state": ActionState.RUNNING, "owner": owner, "attempts": 1, "lease_until": now + lease}
    if not actions.change(connection, action.id, columns, epoch=action.epoch, states=_RUNNING, step=action.step):
        raise Stale(f"action {action.id} is past epoch {action.epoch}")
    servers.update(connection, server.id, held_by=action.id, task_state=following.task_state, updated_at=now)
    moved = actions.find(connection, action.id)
    assert moved is not None
    if ours:
        return Finished(accepted=True, following=moved)
    return Finished(accepted=True, outgoing=step_message(connection, moved, server))


def _pass(connection: Connection, action: Action, now: int) -> tuple[Step | None, Server]:
    """What the end of the current step means, the step that follows (None: the action is over), and the server as it is then."""
    values = outcomes.passed(connection, action, now)
    if values:
        servers.update(connection, action.server_id, held_by=action.id, **values)
    server = _server_of(connection, action)
    return next_step(KINDS[action.kind], action.step, server.host, action.work), server


def _is_after(action: Action, step: str) -> bool:
    return any(action.step == following.name for following in KINDS[action.kind].behind(step))


def _succeed(connection: Connection, action: Action, power_state: int | None, now: int) -> None:
    kind = KINDS[action.kind]
    values: dict[str, Any] = {"task_state": None, "action_id": None, "updated_at": now, "progress": 0}
    if kind.outcome is not None:
        values["vm_state"] = str(kind.outcome)
        values["fault"] = None
    if power_state is None and kind.power is not None:
        power_state = int(kind.power)
    if power_state is not None:
        values["power_state"] = power_state
    values |= outcomes.succeeded(connection, action, now)
    _tell_hosts(connection, action)
    servers.update(connection, action.server_id, held_by=action.id, **values)


def fail(
    connection: Connection,
    *,
    action_id: str,
    step: str,
    epoch: int,
    message: str,
    details: str,
    elsewhere: bool,
    host_failed: bool = False,
    guest_gone: bool = False,
    now: int,
    dispatch: int,
    events: Sequence[TimelineEvent],
) -> Outgoing | None:
    """A step failed and was undone where it was. ``elsewhere``: give another host a try. ``host_failed``: the host was at
    fault. ``guest_gone``: there was nothing to work on, and nothing that the server could go back to. Raises ``Stale``."""
    action = actions.find(connection, action_id)
    if action is None or action.epoch != epoch or action.step != step or action.finished_at is not None:
        raise Stale(f"action {action_id} is past epoch {epoch}")
    outgoing = None
    kind = KINDS[action.kind]
    if elsewhere:
        outgoing = _reschedule(connection, action, now, dispatch, message)
    elif kind.forward_only or kind.step(step).forward_only:
        _put_off(connection, action, now, dispatch, message)
    else:
        outgoing = _turn_back(connection, action, message, details, now, dispatch)
        if guest_gone and outgoing is None:
            servers.update(
                connection, action.server_id, vm_state=str(VmState.ERROR), power_state=int(PowerState.NOSTATE)
            )
    if host_failed and kind is CREATE and action.on_host is not None:
        host_builds.failed(connection, action.on_host)
    actions.record(connection, action_id, events)
    return outgoing


def _reschedule(connection: Connection, action: Action, now: int, dispatch: int, reason: str) -> Outgoing:
    """Back to the scheduler, without the host that failed. Raises ``Stale``."""
    server = _server_of(connection, action)
    kind = KINDS[action.kind]
    failed = action.work.get("destination") if kind.moves else server.host
    excluded = [*action.excluded_hosts, failed] if failed else action.excluded_hosts
    columns = queued(kind.step(SCHEDULE.name), None, action.epoch + 1, now, dispatch) | {
        "excluded_hosts": excluded,
        "message": reason,
    }
    if not actions.change(connection, action.id, columns, epoch=action.epoch, states=_OPEN):
        raise Stale(f"action {action.id} is past epoch {action.epoch}")
    if kind.moves:
        ledger.let_go(connection, action.id)
    else:
        servers.update(connection, server.id, held_by=action.id, host=None)
        ledger.give_back(connection, server.id)
        server = msgspec.structs.replace(server, host=None, addresses=[])
    task = kind.step(SCHEDULE.name).task_state
    servers.update(connection, server.id, held_by=action.id, task_state=task, updated_at=now)
    moved = msgspec.structs.replace(action, epoch=action.epoch + 1, step=SCHEDULE.name, excluded_hosts=excluded)
    return step_message(connection, moved, server)


def _put_off(connection: Connection, action: Action, now: int, dispatch: int, reason: str) -> None:
    """A delete only goes forward: the sweep asks again, and after the last attempt goes on without the host."""
    waiting = queued(KINDS[action.kind].step(action.step), action.on_host, action.epoch + 1, now, dispatch)
    waiting |= {"attempts": action.attempts, "message": reason}
    if not actions.change(connection, action.id, waiting, epoch=action.epoch, states=_OPEN):
        raise Stale(f"action {action.id} is past epoch {action.epoch}")


def _turn_back(
    connection: Connection, action: Action, message: str, details: str, now: int, dispatch: int
) -> Outgoing | None:
    """The action has failed: on to the step that undoes what was done behind the scheduler, or to its end at once."""
    kind = KINDS[action.kind]
    if kind.undo is None or kind.undoes(action.step) or "destination" not in action.work:
        _give_up(connection, action, message, details, now)
        return None
    server = _server_of(connection, action)
    work = {**action.work, "failure": {"message": message, "details": details}}
    on_host = host_of_step(kind.undo, server.host, work)
    columns = queued(kind.undo, on_host, action.epoch + 1, now, dispatch) | {"work": work, "message": message}
    if not actions.change(connection, action.id, columns, epoch=action.epoch, states=_OPEN):
        raise Stale(f"action {action.id} is past epoch {action.epoch}")
    servers.update(connection, server.id, held_by=action.id, task_state=kind.undo.task_state, updated_at=now)
    moved = msgspec.structs.replace(
        action, epoch=action.epoch + 1, step=kind.undo.name, on_host=on_host, work=work, state=ActionState.PENDING
    )
    return step_message(connection, moved, server)


def _failure(action: Action) -> tuple[str, str]:
    """Why the action had turned back."""
    failure = action.work.get("failure", {})
    return failure.get("message", ""), failure.get("details", "")


def _give_up(connection: Connection, action: Action, message: str, details: str, now: int) -> None:
    if not _end(connection, action.id, action.epoch, _OPEN, ActionState.FAILED, message, now):
        raise Stale(f"action {action.id} is past epoch {action.epoch}")
    vm_state, power_state = str(VmState.ERROR), int(PowerState.NOSTATE)
    if not KINDS[action.kind].error_on_failure:
        vm_state, power_state = action.before.get("vm_state", vm_state), action.before.get("power_state", power_state)
    values = {
        "vm_state": vm_state,
        "power_state": power_state,
        "task_state": None,
        "action_id": None,
        "updated_at": now,
        "fault": _fault(message, details, now),
    }
    values |= outcomes.undone(connection, action, now)
    _tell_hosts(connection, action)
    servers.update(connection, action.server_id, held_by=action.id, **values)


def _tell_hosts(connection: Connection, action: Action) -> None:
    """Only now that it has ended does a comparison show what hosts have left of it."""
    for host in action.work.get(WITHOUT, []):
        membership.compare_soon(connection, host)


def _fault(message: str, details: str, now: int) -> dict[str, Any]:
    return {"code": 500, "message": message, "details": details, "created": now}


def _end(
    connection: Connection,
    action_id: str,
    epoch: int,
    states: tuple[ActionState, ...],
    state: ActionState,
    message: str | None,
    now: int,
) -> bool:
    ended = {"state": state, "lease_until": None, "message": message, "updated_at": now, "finished_at": now}
    return actions.change(connection, action_id, ended, epoch=epoch, states=states)


def _server_of(connection: Connection, action: Action) -> Server:
    server = servers.find(connection, action.server_id)
    if server is None:
        raise NotFound(f"Instance {action.server_id} could not be found.")
    return server


# --- the sweep ---------------------------------------------------------------------------------------------


def take_over(
    connection: Connection,
    action: Action,
    remedy: Remedy,
    *,
    now: int,
    dispatch: int,
    message: str,
    events: Sequence[TimelineEvent] = (),
) -> Outgoing | None:
    """Apply the sweep's remedy to a late action. Raises ``Stale`` if somebody was faster."""
    if remedy is Remedy.FAIL:
        outgoing = _turn_back(connection, action, message, "", now, dispatch)
    elif remedy is Remedy.RESCHEDULE:
        outgoing = _reschedule(connection, action, now, dispatch, message)
    else:
        outgoing = _again(connection, action, remedy, now, dispatch)
    actions.record(connection, action.id, events)
    return outgoing


def _again(connection: Connection, action: Action, remedy: Remedy, now: int, dispatch: int) -> Outgoing | None:
    """The step once more, or the one after it; None if there is none. Raises ``Stale``."""
    kind = KINDS[action.kind]
    step = kind.step(action.step)
    if remedy is Remedy.SKIP:
        if step.performer is Performer.COMPUTE:
            action = msgspec.structs.replace(action, work=without(action.on_host, action.work))
        following, server = (None, None) if kind.undoes(action.step) else _pass(connection, action, now)
        if following is None:
            _end_skipped(connection, action, now)
            return None
        step = following
    else:
        server = _server_of(connection, action)
    assert server is not None
    # A pending step keeps its epoch: the first message may still be waiting in a long queue, and whoever
    # comes first, it or its copy, takes the lease. A running one is fenced off.
    epoch = action.epoch if action.state == ActionState.PENDING and remedy is Remedy.RESEND else action.epoch + 1
    on_host = host_of_step(step, server.host, action.work)
    columns = queued(step, on_host, epoch, now, dispatch)
    if remedy is Remedy.SKIP:
        columns["work"] = action.work
    same = step.name == action.step
    if same:
        columns["attempts"] = action.attempts
    if same and action.state == ActionState.PENDING:
        columns["updated_at"] = action.updated_at  # since when it waits; the waits between copies double
        columns["lease_until"] = now + resend_delay(now - action.updated_at, dispatch)
    # The lease is compared too: a resend keeps the epoch, and several conductors sweep the same list.
    if not actions.change(
        connection,
        action.id,
        columns,
        epoch=action.epoch,
        states=_OPEN,
        step=action.step,
        leased_until=action.lease_until,
    ):
        raise Stale(f"action {action.id} is past epoch {action.epoch}")
    moved = msgspec.structs.replace(action, step=step.name, on_host=on_host, epoch=epoch, state=ActionState.PENDING)
    return step_message(connection, moved, server)


def _end_skipped(connection: Connection, action: Action, now: int) -> None:
    """The last step was not worth waiting for: the action ends without it, as it would have with it. Raises ``Stale``."""
    if KINDS[action.kind].undoes(action.step):
        _give_up(connection, action, *_failure(action), now)
    elif _end(connection, action.id, action.epoch, _OPEN, ActionState.SUCCEEDED, None, now):
        _succeed(connection, action, None, now)
    else:
        raise Stale(f"action {action.id} is past epoch {action.epoch}")
