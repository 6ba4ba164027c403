"""``createImage`` and ``createBackup``: an image is made of a server's root disk.

The record of the image is made with the request; the host uploads the bytes; the control plane then looks whether they are
there, and deletes the record if not. Also if the host is lost: it may have died right after its last byte.
"""

from kilonova.model.action import Kind, Performer, Remedy, Step
from kilonova.model.server import TaskState, VmState

SNAPSHOT_FROM = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED})


def snapshot_step(name: str, task: TaskState) -> Step:
    """The host copies the disk and uploads it. It never fails: what went wrong is told to the step that follows."""
    return Step(
        name=name,
        performer=Performer.COMPUTE,
        task_state=task,
        undo="the copy on the host is removed; the record of the image is deleted by the step that follows",
        if_host_lost=Remedy.SKIP,
        uploads=True,
    )


def settle_step(task: TaskState) -> Step:
    """The image is there, or its record goes."""
    return Step(
        name="settle_image",
        performer=Performer.CONDUCTOR,
        task_state=task,
        undo="none: asked again, it finds the image as it is",
    )


CREATE_IMAGE = Kind(
    name="createImage",
    steps=(
        snapshot_step("snapshot", TaskState.IMAGE_SNAPSHOT_PENDING),
        settle_step(TaskState.IMAGE_UPLOADING),
    ),
    vm_states=SNAPSHOT_FROM,
)

CREATE_BACKUP = Kind(
    name="createBackup",
    steps=(snapshot_step("snapshot", TaskState.IMAGE_BACKUP), settle_step(TaskState.IMAGE_UPLOADING)),
    vm_states=SNAPSHOT_FROM,
)
