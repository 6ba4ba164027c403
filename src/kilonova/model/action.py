"""Durable actions: the kinds there are, the steps of each, and the pure rules of what happens next.

An action is one row (``database/actions.py``), written in the transaction that asks for it. Its *step* is performed
by one sub-service, which takes a lease and raises the *epoch*; every later write names the epoch and is refused
when a successor raised it further. Here is only the deciding: no I/O.

The life of a step::

    pending  --begin (epoch+1, lease)-->  running  --finish-->  next step pending, or the action succeeded
       ^                                     |
       |                                     +--fail--> another host, or the action failed
       +--- lease ran out (epoch+1) ---------+
"""

from enum import StrEnum

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


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: who performs it, what the server's task_state says meanwhile, what undoes it.

    ``undo`` is in words because it is carried out where the step was: by the performer itself when it fails or
    finds its epoch stale, by the conductor's ledger for what it holds in the database, by reconcile for a host that
    died.
    """

    name: str
    performer: Performer
    task_state: TaskState | None
    undo: str


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of action. ``name`` is Nova's instance action.

    ``vm_states`` are those it may start from (empty: any). ``preempts``: it ends whatever runs on the server and
    takes its place. ``outcome`` is the vm_state after success, None: as before. ``error_on_failure``: a failure
    puts the server in ERROR; otherwise it goes back to the state it had before.
    """

    name: str
    steps: tuple[Step, ...]
    vm_states: frozenset[VmState] = frozenset()
    preempts: bool = False
    outcome: VmState | None = None
    power: PowerState | None = None
    error_on_failure: bool = False

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def after(self, name: str) -> Step | None:
        """The step that follows, None after the last."""
        names = [step.name for step in self.steps]
        at = names.index(name) + 1
        return self.steps[at] if at < len(names) else None


CREATE = Kind(
    name="create",
    steps=(
        Step(
            name="schedule",
            performer=Performer.SCHEDULER,
            task_state=TaskState.SCHEDULING,
            undo="the claim is given back in the transaction that excludes the host",
        ),
        Step(
            name="build",
            performer=Performer.COMPUTE,
            task_state=TaskState.SPAWNING,
            undo="the guest, which never ran, is destroyed with its disks and taps; ports are released",
        ),
    ),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
    error_on_failure=True,
)

DELETE = Kind(
    name="delete",
    steps=(
        Step(
            name="destroy",
            performer=Performer.COMPUTE,
            task_state=TaskState.DELETING,
            undo="none: a delete only goes forward",
        ),
        Step(
            name="release",
            performer=Performer.CONDUCTOR,
            task_state=TaskState.DELETING,
            undo="none: a delete only goes forward",
        ),
    ),
    preempts=True,
    outcome=VmState.DELETED,
    power=PowerState.NOSTATE,
    error_on_failure=True,
)


def _power_step(name: str, task: TaskState) -> tuple[Step, ...]:
    return (
        Step(
            name=name,
            performer=Performer.COMPUTE,
            task_state=task,
            undo="none: asked again, it finds the guest as it is",
        ),
    )


START = Kind(
    name="start",
    steps=_power_step("power_on", TaskState.POWERING_ON),
    vm_states=frozenset({VmState.STOPPED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
)

STOP = Kind(
    name="stop",
    steps=_power_step("power_off", TaskState.POWERING_OFF),
    vm_states=frozenset({VmState.ACTIVE, VmState.ERROR}),
    outcome=VmState.STOPPED,
    power=PowerState.SHUTDOWN,
)

REBOOT = Kind(
    name="reboot",
    steps=_power_step("reboot", TaskState.REBOOTING),
    vm_states=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
    error_on_failure=True,
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CREATE, DELETE, START, STOP, REBOOT)}


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``actions`` as the engine reads it. Moments in microseconds."""

    id: str
    server_id: str
    kind: str
    request_id: str
    step: str
    state: str
    epoch: int
    attempts: int
    lease_until: int | None
    owner: str | None = None
    claimant: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    traceparent: str | None = None
    input: dict[str, object] = {}
    excluded_hosts: list[str] = []
    before: dict[str, object] = {}
    message: str | None = None
    started_at: int = 0
    updated_at: int = 0
    finished_at: int | None = None


class Remedy(StrEnum):
    """What the sweep does with an action whose lease ran out."""

    RESEND = "resend"  # the message is lost, or its taker died: send the step again
    RESCHEDULE = "reschedule"  # the host died while building: another host
    SKIP = "skip"  # the host is gone and the step is not worth waiting for: the next one
    FAIL = "fail"  # enough is enough


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds the rules work with: counts, and microseconds."""

    attempts: int
    max_hosts: int
    queue_deadline: int


def remedy(action: Action, *, host_up: bool, now: int, limits: Limits) -> Remedy:
    """The rule of the sweep, for an action whose lease has run out.

    ``host_up`` is about the server's host, and true for steps that need none. A delete never fails for want of a
    host; a create moves on; anything else cannot be done while the host is away, and says so.
    """
    step = KINDS[action.kind].step(action.step)
    waited_out = action.state == ActionState.PENDING and now - action.updated_at > limits.queue_deadline
    exhausted = action.attempts >= limits.attempts or waited_out
    if step.performer is Performer.COMPUTE and (not host_up or exhausted):
        if action.kind == DELETE.name:
            return Remedy.SKIP
        if action.kind == CREATE.name and len(action.excluded_hosts) + 1 < limits.max_hosts:
            return Remedy.RESCHEDULE
        return Remedy.FAIL
    if exhausted and action.kind != DELETE.name:
        return Remedy.FAIL
    return Remedy.RESEND


def may_retry_elsewhere(action: Action, limits: Limits) -> bool:
    """Whether a create that failed on one host gets another."""
    return action.kind == CREATE.name and len(action.excluded_hosts) + 1 < limits.max_hosts


def resend_delay(waited: int, dispatch: int, *, longest: int = 60_000_000) -> int:
    """Microseconds until a step that nobody began is sent again: as long as it has waited already, within bounds."""
    return max(dispatch, min(waited, longest))
