"""``pause`` and ``unpause``: the processors stand still, the memory stays where it is."""

from kilonova.model.action import Kind
from kilonova.model.kinds.power import one_step
from kilonova.model.server import PowerState, TaskState, VmState

PAUSE = Kind(
    name="pause",
    steps=one_step("pause", TaskState.PAUSING),
    vm_states=frozenset({VmState.ACTIVE}),
    outcome=VmState.PAUSED,
    power=PowerState.PAUSED,
)

UNPAUSE = Kind(
    name="unpause",
    steps=one_step("unpause", TaskState.UNPAUSING),
    vm_states=frozenset({VmState.PAUSED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
)
