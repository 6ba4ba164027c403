"""``resize`` and ``migrate`` (cold), and how they are confirmed or reverted. Decision 0005."""

from kilonova.model.action import Kind, Performer, Place, Remedy, Step
from kilonova.model.kinds.create import SCHEDULE
from kilonova.model.server import TaskState, VmState

_STEPS = (
    Step(
        name=SCHEDULE.name,
        performer=Performer.SCHEDULER,
        task_state=TaskState.RESIZE_PREP,
        undo="the claim is given back in the transaction that excludes the host, or ends the action",
    ),
    Step(
        name="depart",
        performer=Performer.COMPUTE,
        task_state=TaskState.RESIZE_MIGRATING,
        undo="the guest goes on as before (stay)",
        place=Place.SOURCE,
    ),
    Step(
        name="arrive",
        performer=Performer.COMPUTE,
        task_state=TaskState.RESIZE_FINISH,
        undo="the guest, which never ran here, is destroyed; the one on the source goes on as before (stay)",
        place=Place.DESTINATION,
        if_host_lost=Remedy.RESCHEDULE,
        rebinds=True,
    ),
)

STAY = Step(
    name="stay",
    performer=Performer.COMPUTE,
    task_state=TaskState.RESIZE_MIGRATING,
    undo="none: it is the way back",
    place=Place.SOURCE,
    if_host_lost=Remedy.SKIP,
    rebinds=True,
    forward_only=True,
)

_STARTS_FROM = frozenset({VmState.ACTIVE, VmState.STOPPED})

RESIZE = Kind(name="resize", steps=_STEPS, vm_states=_STARTS_FROM, outcome=VmState.RESIZED, moves=True, undo=STAY)

MIGRATE = Kind(name="migrate", steps=_STEPS, vm_states=_STARTS_FROM, outcome=VmState.RESIZED, moves=True, undo=STAY)

CONFIRM = Kind(
    name="confirmResize",
    steps=(
        Step(
            name="destroy_copy",
            performer=Performer.COMPUTE,
            task_state=TaskState.RESIZE_CONFIRMING,
            undo="none: a confirm only goes forward",
            place=Place.SOURCE,
            if_host_lost=Remedy.SKIP,
        ),
    ),
    vm_states=frozenset({VmState.RESIZED}),
    forward_only=True,
)

REVERT = Kind(
    name="revertResize",
    steps=(
        Step(
            name="retreat",
            performer=Performer.COMPUTE,
            task_state=TaskState.RESIZE_REVERTING,
            undo="none: the server stays RESIZED, its guest off, and may be reverted again",
            place=Place.DESTINATION,
        ),
        Step(
            name="return",
            performer=Performer.COMPUTE,
            task_state=TaskState.RESIZE_REVERTING,
            undo="none: the server is on the source again",
            place=Place.SOURCE,
            if_host_lost=Remedy.SKIP,
            rebinds=True,
            forward_only=True,
        ),
        Step(
            name="destroy_copy",
            performer=Performer.COMPUTE,
            task_state=TaskState.RESIZE_REVERTING,
            undo="none: what is left, reconcile destroys",
            place=Place.DESTINATION,
            if_host_lost=Remedy.SKIP,
            forward_only=True,
        ),
    ),
    vm_states=frozenset({VmState.RESIZED}),
)
