"""``create``: a host is chosen, and the guest is built there."""

from kilonova.model.action import Kind, Performer, Remedy, Step
from kilonova.model.server import PowerState, TaskState, VmState

SCHEDULE = Step(
    name="schedule",
    performer=Performer.SCHEDULER,
    task_state=TaskState.SCHEDULING,
    undo="the claim is given back in the transaction that excludes the host",
)

BUILD = Step(
    name="build",
    performer=Performer.COMPUTE,
    task_state=TaskState.SPAWNING,
    undo="the guest, which never ran, is destroyed with its disks and taps; ports are released",
    if_host_lost=Remedy.RESCHEDULE,
    provides=True,
)

CREATE = Kind(
    name="create",
    steps=(SCHEDULE, BUILD),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
    error_on_failure=True,
    needs_host=False,
)
