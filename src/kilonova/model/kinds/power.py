"""``start``, ``stop``, ``reboot``: one step on the server's host each."""

from kilonova.model.action import Kind, Performer, Step
from kilonova.model.server import PowerState, TaskState, VmState


def one_step(name: str, task: TaskState) -> tuple[Step, ...]:
    """A step of the server's host that finds the guest as it is when it is asked again."""
    undo = "none: asked again, it finds the guest as it is"
    return (Step(name=name, performer=Performer.COMPUTE, task_state=task, undo=undo),)


START = Kind(
    name="start",
    steps=one_step("power_on", TaskState.POWERING_ON),
    vm_states=frozenset({VmState.STOPPED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
)

STOP = Kind(
    name="stop",
    steps=one_step("power_off", TaskState.POWERING_OFF),
    vm_states=frozenset({VmState.ACTIVE, VmState.ERROR}),
    outcome=VmState.STOPPED,
    power=PowerState.SHUTDOWN,
)

REBOOT = Kind(
    name="reboot",
    steps=one_step("reboot", TaskState.REBOOTING),
    vm_states=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
    error_on_failure=True,
)
