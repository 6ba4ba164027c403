"""Soft delete and ``restore``: with ``actions.reclaim_instance_interval`` a deleted server is only put away for a while.

It is off, counts no more against its project's quota, and keeps its host, disks and addresses until it is reclaimed.
"""

from kilonova.model.action import Kind, Performer, Remedy, Step
from kilonova.model.kinds.create import CREATE
from kilonova.model.kinds.power import one_step
from kilonova.model.server import PowerState, TaskState, VmState

SOFT_DELETE = Kind(
    name="soft_delete",
    action="delete",
    steps=(
        Step(
            name="put_away",
            performer=Performer.COMPUTE,
            task_state=TaskState.SOFT_DELETING,
            undo="none: asked again, it finds the guest off",
            if_host_lost=Remedy.SKIP,  # reconcile shuts the guest down when the host is back
        ),
    ),
    preempts=True,
    outcome=VmState.SOFT_DELETED,
    power=PowerState.SHUTDOWN,
)

RESTORE = Kind(
    name="restore",
    steps=one_step("power_on", TaskState.RESTORING),
    vm_states=frozenset({VmState.SOFT_DELETED}),
    outcome=VmState.ACTIVE,
    power=PowerState.RUNNING,
)

PUT_AWAY_FROM = frozenset(
    {
        *(VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED),
        *(VmState.RESCUED, VmState.ERROR, VmState.SHELVED),
    }
)
"""States from which there is a guest to come back to. From any other a delete is a delete."""


def can_be_put_away(vm_state: str, running: Kind | None) -> bool:
    """Whether a delete leaves something to restore, given what runs on the server; a half done build or move does not."""
    torn = running is not None and (running.moves or running.error_on_failure or running.name == CREATE.name)
    return vm_state in PUT_AWAY_FROM and not torn
