"""``live-migration``: a guest goes to another host while it runs. Decision 0005."""

from kilonova.model.action import Kind, Performer, Place, Remedy, Step
from kilonova.model.kinds.create import SCHEDULE
from kilonova.model.server import TaskState, VmState

LIVE_MIGRATION = Kind(
    name="live-migration",
    steps=(
        Step(
            name=SCHEDULE.name,
            performer=Performer.SCHEDULER,
            task_state=TaskState.MIGRATING,
            undo="the claim is given back in the transaction that excludes the host, or ends the action",
        ),
        Step(
            name="receive",
            performer=Performer.COMPUTE,
            task_state=TaskState.MIGRATING,
            undo="the guest that waits for its memory is destroyed",
            place=Place.DESTINATION,
            if_host_lost=Remedy.RESCHEDULE,
        ),
        Step(
            name="transfer",
            performer=Performer.COMPUTE,
            task_state=TaskState.MIGRATING,
            undo="the guest goes on here (keep)",
            place=Place.SOURCE,
        ),
        Step(
            name="settle",
            performer=Performer.COMPUTE,
            task_state=TaskState.MIGRATING,
            undo="none: the server is on the destination",
            place=Place.DESTINATION,
            if_host_lost=Remedy.SKIP,
            rebinds=True,
            forward_only=True,
        ),
        Step(
            name="destroy_copy",
            performer=Performer.COMPUTE,
            task_state=TaskState.MIGRATING,
            undo="none: what is left, reconcile destroys",
            place=Place.SOURCE,
            if_host_lost=Remedy.SKIP,
            forward_only=True,
        ),
    ),
    vm_states=frozenset({VmState.ACTIVE, VmState.PAUSED}),
    moves=True,
    undo=Step(
        name="keep",
        performer=Performer.COMPUTE,
        task_state=TaskState.MIGRATING,
        undo="none: it is the way back",
        place=Place.SOURCE,
        if_host_lost=Remedy.SKIP,
        forward_only=True,
    ),
)
