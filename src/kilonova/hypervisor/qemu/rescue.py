"""The rescue system of a guest: a disk and a config drive of its own, in a directory below the guest's."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import msgspec

from kilonova.hypervisor.qemu.configdrive import make_config_drive
from kilonova.hypervisor.qemu.disks import make_disks
from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.launch import RESCUE
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.guest import GuestSpec


async def equip_rescue(instance: Instance, spec: GuestSpec, base: Path | None, settings: QemuSettings) -> None:
    """Make what it boots from, anew; from the next launch on it is booted."""
    directory = instance.directory / RESCUE
    await asyncio.to_thread(_remove, directory)
    directory.mkdir(mode=0o700)
    await make_disks(directory, msgspec.structs.replace(spec, ephemeral_gb=0, swap_mb=0), base, settings)
    if spec.config_drive:
        await make_config_drive(directory, spec, settings)
    await instance.note(rescue=spec)


async def leave_rescue(instance: Instance) -> None:
    """From the next launch on the guest boots its own disk. Its process must have ended."""
    if instance.record.rescue is not None:
        await instance.note(rescue=None)
        await asyncio.to_thread(_remove, instance.directory / RESCUE)


def _remove(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)
