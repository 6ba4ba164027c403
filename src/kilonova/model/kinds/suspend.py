"""``suspend`` and ``resume``: the memory is kept on the host's disk, and the guest goes on from it."""

from kilonova.model.action import Kind
from kilonova.model.kinds.power import one_step
from kilonova.model.server import PowerState, TaskState, VmState

SUSPEND = Kind(
    name="suspend",
    steps=one_step("suspend", TaskState.SUSPENDING),
    vm_states=frozenset({VmState.ACTIVE}),
    outcome=VmState.SUSPENDED,
    power=PowerState.SUSPENDED,
)

RESUME = Kind(
    name="resume",
    steps=one_step("resume", TaskState.RESUMING),
    vm_states=frozenset({VmState.SUSPENDED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
)
