"""``changePassword`` and ``trigger_crash_dump``: something happens inside the guest, and its state stays what it is."""

from kilonova.model.action import Kind, Performer, Step
from kilonova.model.server import TaskState, VmState

CHANGE_PASSWORD = Kind(
    name="changePassword",
    steps=(
        Step(
            name="set_password",
            performer=Performer.COMPUTE,
            task_state=TaskState.UPDATING_PASSWORD,
            undo="none: asked again, it sets the same password again",
        ),
    ),
    vm_states=frozenset({VmState.ACTIVE}),
)

TRIGGER_CRASH_DUMP = Kind(
    name="trigger_crash_dump",
    steps=(
        Step(
            name="crash_dump",
            performer=Performer.COMPUTE,
            task_state=None,
            undo="none: an interrupt cannot be taken back; asked again, the guest gets a second one",
        ),
    ),
    vm_states=frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.RESCUED, VmState.RESIZED, VmState.ERROR}),
)
