"""Durable actions: what a kind of action and a step are. The kinds there are stand in ``model/kinds``, one file each.

An action is one row (``database/actions.py``), written in the transaction that asks for it. Its *step* is performed
by one sub-service, which takes a lease and raises the *epoch*; every later write names the epoch and is refused
when a successor raised it further. What happens to one that is late is decided in ``model/remedies.py``.

The life of a step::

    pending  --begin (epoch+1, lease)-->  running  --finish-->  next step pending, or the action succeeded
       ^                                     |
       |                                     +--fail--> another host, or the action failed
       +--- lease ran out (epoch+1) ---------+
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from kilonova.model.server import PowerState, TaskState, VmState


class ActionState(StrEnum):
    """Where an action stands. The last three are ends."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNDONE = "undone"


class Performer(StrEnum):
    """The sub-service that performs a step."""

    SCHEDULER = "nova-scheduler"
    COMPUTE = "nova-compute"
    CONDUCTOR = "nova-conductor"


class Place(StrEnum):
    """Which host performs a step of nova-compute's."""

    HOST = "host"  # the one the server is on
    SOURCE = "source"  # where a move begins: ``work["source"]``
    DESTINATION = "destination"  # where it goes to: ``work["destination"]``
    COPY = "copy"  # where a delete finds that something else is held: ``work["copy"]``


class Remedy(StrEnum):
    """What the sweep does with an action whose lease ran out."""

    RESEND = "resend"  # the message is lost, or its taker died: send the step again
    RESCHEDULE = "reschedule"  # the host died while building: another host
    SKIP = "skip"  # the host is gone and the step is not worth waiting for: the next one
    FAIL = "fail"  # enough is enough


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: who performs it, what the server's task_state says meanwhile, what undoes it.

    ``undo`` is in words because it is carried out where the step was: by the performer itself when it fails or
    finds its epoch stale, by the conductor's ledger for what it holds in the database, by reconcile for a host that
    died. ``if_host_lost``: what the sweep does when the host is gone for good. ``provides``: with the leave to begin come the
    server's addresses, bound to the step's host, and the right to fetch its image; ``rebinds``: the addresses only.
    ``fetches``: the right to fetch an image, ``input["image_id"]`` or else the server's;
    ``uploads``: to upload ``input["image"]``.
    ``forward_only``: there is no way back any more, so it is tried again instead of failing.
    """

    name: str
    performer: Performer
    task_state: TaskState | None
    undo: str
    place: Place = Place.HOST
    if_host_lost: Remedy = Remedy.FAIL
    provides: bool = False
    rebinds: bool = False
    fetches: bool = False
    uploads: bool = False
    forward_only: bool = False

    @property
    def needs_ports(self) -> bool:
        """Whether the server's addresses come with the leave to begin."""
        return self.provides or self.rebinds


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of action. ``name`` is Nova's instance action.

    ``vm_states`` are those it may start from (empty: any). ``preempts``: it ends whatever runs on the server and
    takes its place. ``outcome`` is the vm_state after success, None: as before (or what ``database/outcomes.py`` says).
    ``error_on_failure``: a failure puts the server in ERROR; otherwise it goes back to the state it had before.
    ``forward_only``: it never fails and is never undone, only tried again. ``needs_host``: there is nothing to do for a
    server that is on no host. ``moves``: the host that the scheduler chooses is the move's destination, and the server stays
    where it is until an outcome says otherwise. ``undo`` is performed after a failure behind the scheduler, before the end.
    ``action`` is the name of Nova's instance action where the kind's is another.
    """

    name: str
    steps: tuple[Step, ...]
    vm_states: frozenset[VmState] = frozenset()
    preempts: bool = False
    outcome: VmState | None = None
    power: PowerState | None = None
    error_on_failure: bool = False
    forward_only: bool = False
    needs_host: bool = True
    moves: bool = False
    undo: Step | None = None
    action: str = ""

    def step(self, name: str) -> Step:
        """The step of that name."""
        if self.undo is not None and self.undo.name == name:
            return self.undo
        return next(step for step in self.steps if step.name == name)

    def undoes(self, name: str) -> bool:
        """Whether the step of that name is the way back."""
        return self.undo is not None and self.undo.name == name

    def after(self, name: str) -> Step | None:
        """The step that follows, None after the last and on the way back."""
        return next(iter(self.behind(name)), None)

    def behind(self, name: str) -> tuple[Step, ...]:
        """All steps that follow, in order."""
        if self.undoes(name):
            return ()
        names = [step.name for step in self.steps]
        return self.steps[names.index(name) + 1 :]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``actions`` as the engine reads it. Moments in microseconds.

    ``on_host`` is the host that performs the current step, None if it is the control plane's. ``work`` is what the
    steps so far have found out and those to come need; ``before`` the server's states before the action.
    """

    id: str
    server_id: str
    kind: str
    request_id: str
    step: str
    state: str
    epoch: int
    attempts: int
    lease_until: int | None
    on_host: str | None = None
    owner: str | None = None
    claimant: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    traceparent: str | None = None
    input: dict[str, Any] = {}
    work: dict[str, Any] = {}
    excluded_hosts: list[str] = []
    before: dict[str, Any] = {}
    message: str | None = None
    started_at: int = 0
    updated_at: int = 0
    finished_at: int | None = None


def next_step(kind: Kind, name: str, server_host: str | None, work: Mapping[str, Any]) -> Step | None:
    """The step to go on with: a step of a host is left out if there is no such host and it is not worth waiting for."""
    for step in kind.behind(name):
        nowhere = step.performer is Performer.COMPUTE and host_of_step(step, server_host, work) is None
        if not nowhere or step.if_host_lost is not Remedy.SKIP:
            return step
    return None


def host_of_step(step: Step, server_host: str | None, work: Mapping[str, Any]) -> str | None:
    """The host that performs a step; None for steps of the control plane, and for a server that is on no host."""
    if step.performer is not Performer.COMPUTE:
        return None
    return server_host if step.place is Place.HOST else work.get(step.place.value)


WITHOUT = "without"
"""In an action's ``work``: the hosts that were given up on. They are told once it has ended, to see what they have left of it."""


def without(host: str | None, work: Mapping[str, Any]) -> dict[str, Any]:
    """The action's work once it goes on without a host."""
    return dict(work) if host is None else {**work, WITHOUT: [*work.get(WITHOUT, []), host]}
