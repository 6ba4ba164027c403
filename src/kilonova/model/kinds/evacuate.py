"""``evacuate``: a server whose host is down is made anew from its image on another one. Decision 0005."""

from kilonova.model.action import Kind, Performer, Place, Remedy, Step
from kilonova.model.kinds.create import SCHEDULE
from kilonova.model.server import TaskState, VmState

EVACUATE = Kind(
    name="evacuate",
    steps=(
        Step(
            name=SCHEDULE.name,
            performer=Performer.SCHEDULER,
            task_state=TaskState.REBUILDING,
            undo="the claim is given back in the transaction that excludes the host, or ends the action",
        ),
        Step(
            name="resurrect",
            performer=Performer.COMPUTE,
            task_state=TaskState.REBUILD_SPAWNING,
            undo="the guest, which never ran here, is destroyed; what is left on the old host stays there",
            place=Place.DESTINATION,
            if_host_lost=Remedy.RESCHEDULE,
            provides=True,
        ),
    ),
    vm_states=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    error_on_failure=True,
    moves=True,
)
