"""``rescue`` and ``unrescue``: the guest boots another disk, with its own one beside it."""

from kilonova.model.action import Kind, Performer, Step
from kilonova.model.kinds.power import one_step
from kilonova.model.server import PowerState, TaskState, VmState

RESCUE = Kind(
    name="rescue",
    steps=(
        Step(
            name="rescue",
            performer=Performer.COMPUTE,
            task_state=TaskState.RESCUING,
            undo="none: asked again, it finds the guest as it is; a hard reboot leaves the rescue system",
            fetches=True,
        ),
    ),
    vm_states=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    outcome=VmState.RESCUED,
    power=PowerState.RUNNING,
    error_on_failure=True,
)

UNRESCUE = Kind(
    name="unrescue",
    steps=one_step("unrescue", TaskState.UNRESCUING),
    vm_states=frozenset({VmState.RESCUED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
    error_on_failure=True,
)
