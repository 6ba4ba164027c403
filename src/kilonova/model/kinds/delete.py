"""``delete``: ends whatever runs, and ends with nothing left."""

from kilonova.model.action import Kind, Performer, Place, Remedy, Step
from kilonova.model.server import PowerState, TaskState, VmState

DELETE = Kind(
    name="delete",
    steps=(
        Step(
            name="destroy",
            performer=Performer.COMPUTE,
            task_state=TaskState.DELETING,
            undo="none: a delete only goes forward",
            if_host_lost=Remedy.SKIP,
        ),
        Step(
            name="destroy_copy",  # a move's other side, if the ledger knows of one
            performer=Performer.COMPUTE,
            task_state=TaskState.DELETING,
            undo="none: a delete only goes forward",
            place=Place.COPY,
            if_host_lost=Remedy.SKIP,
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
    forward_only=True,
    needs_host=False,
)
