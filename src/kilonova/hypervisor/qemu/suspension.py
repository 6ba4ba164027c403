"""A guest's memory kept in its own root disk, as an internal snapshot of that one qcow2 file.

The order makes it safe to be killed at any moment: while the record says ``suspended``, the processors have not run since the
memory was kept; it says so before the process ends, and no longer before they run again.
"""

from kilonova.hypervisor.qemu.command import CommandFailed, run_limited
from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.jobs import run_job
from kilonova.hypervisor.qemu.launch import ROOT_DISK
from kilonova.hypervisor.qemu.record import Wanted
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault

TAG = "suspended"
_WHERE: dict[str, object] = {"tag": TAG, "vmstate": "root", "devices": ["root"]}


async def keep_memory(instance: Instance, clock: Clock, settings: QemuSettings) -> None:
    """Stop the processors, keep the memory, end the process."""
    if not instance.record.suspended:
        await instance.stand_still()
        await _forget(instance, clock, settings)  # what a call that was interrupted has kept
        await run_job(instance, clock, "snapshot-save", _WHERE, settings.tool_timeout)
        await instance.note(suspended=True, wanted=Wanted.OFF)
    await instance.shut_down(0)


async def take_memory_back(instance: Instance, clock: Clock, settings: QemuSettings) -> None:
    """In a new process whose processors stand: as it was when it was suspended. After this it may run."""
    await run_job(instance, clock, "snapshot-load", _WHERE, settings.tool_timeout)
    await instance.note(suspended=False, wanted=Wanted.UP)
    await _forget(instance, clock, settings)


async def drop_memory(instance: Instance, settings: QemuSettings) -> None:
    """Forget what was kept, without a process: the guest will boot again."""
    if not instance.record.suspended:
        return
    argv = [settings.image_tool, "snapshot", "-d", TAG, ROOT_DISK]
    try:
        await run_limited(argv, cwd=instance.directory, timeout=settings.tool_timeout)
    except CommandFailed as error:
        message = f"the memory kept of server {instance.server_id} could not be removed; look at the host's disks"
        raise HostFault(message, details=str(error)) from error
    await instance.note(suspended=False)


async def _forget(instance: Instance, clock: Clock, settings: QemuSettings) -> None:
    await run_job(instance, clock, "snapshot-delete", {"tag": TAG, "devices": ["root"]}, settings.tool_timeout)
