"""A server's states, and the ``status`` that users see computed from them in one place.

Names and combinations are Nova's (vm_states, task_states, power_states of the Compute API guide).
"""

from enum import IntEnum, StrEnum
from typing import Any

import msgspec


class VmState(StrEnum):
    """The stable state a server is in, or was in before what happens now."""

    ACTIVE = "active"
    BUILDING = "building"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    RESCUED = "rescued"
    RESIZED = "resized"
    SOFT_DELETED = "soft-delete"
    DELETED = "deleted"
    ERROR = "error"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"


class TaskState(StrEnum):
    """What is being done to a server now; no task is NULL in the database."""

    SCHEDULING = "scheduling"
    NETWORKING = "networking"
    SPAWNING = "spawning"
    DELETING = "deleting"
    POWERING_ON = "powering-on"
    POWERING_OFF = "powering-off"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    REBUILDING = "rebuilding"
    REBUILD_SPAWNING = "rebuild_spawning"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    RESCUING = "rescuing"
    UNRESCUING = "unrescuing"
    UPDATING_PASSWORD = "updating_password"
    SOFT_DELETING = "soft-deleting"
    RESTORING = "restoring"
    IMAGE_SNAPSHOT_PENDING = "image_snapshot_pending"
    IMAGE_SNAPSHOT = "image_snapshot"
    IMAGE_PENDING_UPLOAD = "image_pending_upload"
    IMAGE_UPLOADING = "image_uploading"
    IMAGE_BACKUP = "image_backup"
    SHELVING = "shelving"
    SHELVING_IMAGE_PENDING_UPLOAD = "shelving_image_pending_upload"
    SHELVING_IMAGE_UPLOADING = "shelving_image_uploading"
    RESIZE_PREP = "resize_prep"
    RESIZE_MIGRATING = "resize_migrating"
    RESIZE_FINISH = "resize_finish"
    RESIZE_REVERTING = "resize_reverting"
    RESIZE_CONFIRMING = "resize_confirming"
    MIGRATING = "migrating"
    SHELVING_OFFLOADING = "shelving_offloading"
    UNSHELVING = "unshelving"


class PowerState(IntEnum):
    """What the hypervisor says of the guest."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


_STATUS: dict[str, str] = {
    VmState.ACTIVE: "ACTIVE",
    VmState.BUILDING: "BUILD",
    VmState.PAUSED: "PAUSED",
    VmState.SUSPENDED: "SUSPENDED",
    VmState.STOPPED: "SHUTOFF",
    VmState.RESCUED: "RESCUE",
    VmState.RESIZED: "VERIFY_RESIZE",
    VmState.SOFT_DELETED: "SOFT_DELETED",
    VmState.DELETED: "DELETED",
    VmState.ERROR: "ERROR",
    VmState.SHELVED: "SHELVED",
    VmState.SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
}

_RESIZING = (TaskState.RESIZE_PREP, TaskState.RESIZE_MIGRATING, TaskState.RESIZE_FINISH)
_REBUILDING = (TaskState.REBUILDING, TaskState.REBUILD_SPAWNING)
_TASK_STATUS: dict[tuple[str, str], str] = {
    **{(vm, task): "RESIZE" for vm in (VmState.ACTIVE, VmState.STOPPED) for task in _RESIZING},
    **{(vm, task): "REBUILD" for vm in (VmState.ACTIVE, VmState.STOPPED, VmState.ERROR) for task in _REBUILDING},
    (VmState.ACTIVE, TaskState.UPDATING_PASSWORD): "PASSWORD",
    (VmState.ACTIVE, TaskState.MIGRATING): "MIGRATING",
    (VmState.PAUSED, TaskState.MIGRATING): "MIGRATING",
    (VmState.RESIZED, TaskState.RESIZE_REVERTING): "REVERT_RESIZE",
    (VmState.ACTIVE, TaskState.REBOOTING): "REBOOT",
    (VmState.ACTIVE, TaskState.REBOOTING_HARD): "HARD_REBOOT",
    (VmState.STOPPED, TaskState.REBOOTING_HARD): "HARD_REBOOT",
    (VmState.PAUSED, TaskState.REBOOTING_HARD): "HARD_REBOOT",
    (VmState.SUSPENDED, TaskState.REBOOTING_HARD): "HARD_REBOOT",
    (VmState.ERROR, TaskState.REBOOTING_HARD): "HARD_REBOOT",
}


def status(vm_state: str, task_state: str | None) -> str:
    """The ``status`` of the API. An unknown state is ``UNKNOWN``, as in Nova."""
    if task_state is not None:
        special = _TASK_STATUS.get((vm_state, task_state))
        if special is not None:
            return special
    return _STATUS.get(vm_state, "UNKNOWN")


def vm_states_of(wanted: str) -> list[str]:
    """The vm_states behind a ``status`` filter, upper or lower case; empty if there is no such status.

    ``REBOOT`` and ``HARD_REBOOT`` are tasks of other states and are found by ``tasks_of``.
    """
    return [str(state) for state, name in _STATUS.items() if name == wanted.upper()]


def tasks_of(wanted: str) -> list[tuple[str, str]]:
    """The (vm_state, task_state) pairs that show as ``wanted``."""
    return [(str(vm), str(task)) for (vm, task), name in _TASK_STATUS.items() if name == wanted.upper()]


class Server(msgspec.Struct, frozen=True):
    """One row of ``servers``, its fields in the order in which they are read. Moments in microseconds since the epoch;
    ``addresses`` are ``model.guest.Nic`` as plain data.

    ``locked_by`` is ``owner`` or ``admin``; ``soft_deleted_at`` is set while a soft-deleted server waits for its end.
    ``charged`` is what the project's quota is charged with if not what the flavor says; ``resized_from`` what a server that
    awaits the confirmation of its move goes back to (``database/moves.py``).
    """

    seq: int
    id: str
    project_id: str
    user_id: str
    name: str
    hostname: str
    description: str | None
    vm_state: str
    task_state: str | None
    power_state: int
    host: str | None
    availability_zone: str | None
    requested_zone: str | None
    flavor_id: str
    flavor: dict[str, Any]
    image_id: str | None
    image: dict[str, Any] | None
    key_name: str | None
    public_key: str | None
    user_data: str | None
    config_drive: bool
    metadata: dict[str, str]
    tags: list[str]
    networks: list[dict[str, Any]]
    addresses: list[dict[str, Any]]
    security_groups: list[str]
    scheduler_hints: dict[str, Any]
    reservation_id: str
    launch_index: int
    root_device_name: str | None
    access_ip_v4: str | None
    access_ip_v6: str | None
    disk_config: str
    locked: bool
    locked_reason: str | None
    progress: int
    fault: dict[str, Any] | None
    action_id: str | None
    created_at: int
    updated_at: int | None
    launched_at: int | None
    terminated_at: int | None
    deleted_at: int | None
    personality: list[dict[str, str]] | None = None
    locked_by: str | None = None
    soft_deleted_at: int | None = None
    shelved_image_id: str | None = None
    charged: dict[str, int] | None = None
    resized_from: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """As users see it."""
        return status(self.vm_state, self.task_state)
