"""``rebuild``: the same server, host and addresses, made anew from an image."""

from kilonova.model.action import Kind, Performer, Step
from kilonova.model.server import TaskState, VmState

REBUILD = Kind(
    name="rebuild",
    steps=(
        Step(
            name="rebuild",
            performer=Performer.COMPUTE,
            task_state=TaskState.REBUILDING,
            undo="the new guest, which never ran, is destroyed; the old one is gone for good",
            fetches=True,
        ),
    ),
    vm_states=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    error_on_failure=True,
)
