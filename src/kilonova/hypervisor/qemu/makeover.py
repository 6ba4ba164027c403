"""A guest that is off gets another size and keeps its disk, which grows if it has to. It never shrinks."""

import msgspec

from kilonova.hypervisor.qemu.command import CommandFailed, run_limited
from kilonova.hypervisor.qemu.disks import root_size
from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.launch import ROOT_DISK
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import Conflict, HostFault, Stale
from kilonova.model.guest import GuestSpec


async def make_over(instance: Instance | None, spec: GuestSpec, settings: QemuSettings) -> Instance | None:
    """The guest with the new spec, to be launched; None if an earlier call has done so. Raises ``HostFault``."""
    if instance is None or not instance.record.complete:
        raise HostFault(f"server {spec.server_id} has no guest here that could be resized", retry=False)
    record = instance.record
    if record.spec.epoch > spec.epoch:
        raise Stale(f"server {spec.server_id} was prepared under epoch {record.spec.epoch}, after {spec.epoch}")
    if record.spec.epoch == spec.epoch and (record.released or instance.running):
        return None
    if record.released and instance.running:
        raise Conflict(f"the guest of server {spec.server_id} is {instance.state}; shut it down first")
    await instance.shut_down(0)  # what an earlier try has prepared
    whole = msgspec.structs.replace(spec, image=record.spec.image)
    await _grow(instance, root_size(whole), settings)
    await instance.note(spec=whole, released=False)
    return instance


async def _grow(instance: Instance, size: int, settings: QemuSettings) -> None:
    """The root disk has at least ``size`` bytes."""
    tool, directory = settings.image_tool, instance.directory
    try:
        said = await run_limited(
            [tool, "info", "--output=json", "-f", "qcow2", ROOT_DISK], cwd=directory, timeout=settings.tool_timeout
        )
        if msgspec.json.decode(said)["virtual-size"] < size:
            argv = [tool, "resize", "-q", "-f", "qcow2", ROOT_DISK, str(size)]
            await run_limited(argv, cwd=directory, timeout=settings.tool_timeout)
    except CommandFailed as error:
        message = f"the disk of server {instance.server_id} could not be made larger; look at the host's disks"
        raise HostFault(message, details=str(error), retry=False) from error
