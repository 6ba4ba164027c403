"""``shelveOffload`` and ``unshelve``: a shelved server leaves its host, and comes back from its image on any other one."""

from kilonova.model.action import Kind, Performer, Remedy, Step
from kilonova.model.kinds.create import SCHEDULE
from kilonova.model.kinds.power import one_step
from kilonova.model.server import PowerState, TaskState, VmState

FORGET_IMAGE = Step(
    name="forget_image",
    performer=Performer.CONDUCTOR,
    task_state=TaskState.UNSHELVING,
    undo="none: the server is there, and the image does no harm",
    forward_only=True,
)

SHELVE_OFFLOAD = Kind(
    name="shelveOffload",
    steps=(
        Step(
            name="destroy",
            performer=Performer.COMPUTE,
            task_state=TaskState.SHELVING_OFFLOADING,
            undo="none: what is left, reconcile destroys",
            if_host_lost=Remedy.SKIP,
        ),
    ),
    vm_states=frozenset({VmState.SHELVED}),
    outcome=VmState.SHELVED_OFFLOADED,
    power=PowerState.NOSTATE,
    forward_only=True,
    error_on_failure=True,  # once begun there is nothing to go back to
)

UNSHELVE = Kind(
    name="unshelve",
    steps=(
        Step(
            name=SCHEDULE.name,
            performer=Performer.SCHEDULER,
            task_state=TaskState.UNSHELVING,
            undo="the claim is given back in the transaction that excludes the host, or ends the action",
        ),
        Step(
            name="build",
            performer=Performer.COMPUTE,
            task_state=TaskState.SPAWNING,
            undo="the guest, which never ran, is destroyed with its disks; the server stays offloaded",
            if_host_lost=Remedy.RESCHEDULE,
            provides=True,
        ),
        FORGET_IMAGE,
    ),
    vm_states=frozenset({VmState.SHELVED_OFFLOADED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
    needs_host=False,
)

UNSHELVE_IN_PLACE = Kind(
    name="unshelve_in_place",
    action="unshelve",
    steps=(*one_step("power_on", TaskState.UNSHELVING), FORGET_IMAGE),
    vm_states=frozenset({VmState.SHELVED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
)
