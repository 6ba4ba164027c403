"""``shelve``: the server is shut down, and an image is made of it that it can be made of again."""

from kilonova.model.action import Kind
from kilonova.model.kinds.snapshot import SNAPSHOT_FROM, settle_step, snapshot_step
from kilonova.model.server import PowerState, TaskState, VmState

SHELVE = Kind(
    name="shelve",
    steps=(
        snapshot_step("shelve", TaskState.SHELVING),
        settle_step(TaskState.SHELVING_IMAGE_UPLOADING),
    ),
    vm_states=SNAPSHOT_FROM,
    outcome=VmState.SHELVED,
    power=PowerState.SHUTDOWN,
)
