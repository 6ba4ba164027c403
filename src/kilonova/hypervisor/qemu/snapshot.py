"""A copy of a guest's root disk that stands alone: made beside it, sent away, removed.

A running QEMU copies by itself and keeps what is overwritten meanwhile, so the copy is of one moment; a disk whose QEMU is
not there is copied by ``qemu-img``.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from kilonova.hypervisor.qemu.command import CommandFailed, run_limited
from kilonova.hypervisor.qemu.images import require_space
from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.jobs import run_job
from kilonova.hypervisor.qemu.launch import ROOT_DISK
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault

COPY = "snapshot.qcow2"
_NODE = "snapshot"
_PIECE = 1 << 20


async def copy_root(instance: Instance, clock: Clock, settings: QemuSettings) -> Path:
    """The copy, in the guest's directory. Raises ``HostFault``."""
    disk, copy = instance.directory / ROOT_DISK, instance.directory / COPY
    await asyncio.to_thread(copy.unlink, missing_ok=True)
    await asyncio.to_thread(require_space, instance.directory, disk.stat().st_size, settings)
    try:
        if instance.running:
            size = await _virtual_size(instance, settings)
            await _tool(instance, ["create", "-q", "-f", "qcow2", COPY, str(size)], settings)
            await _copy_live(instance, clock, settings)
        else:
            await _tool(instance, ["convert", "-f", "qcow2", "-O", "qcow2", ROOT_DISK, COPY], settings)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return copy


async def _copy_live(instance: Instance, clock: Clock, settings: QemuSettings) -> None:
    await _detach(instance, settings)  # what a call that was interrupted has left
    node: dict[str, object] = {
        "node-name": _NODE,
        "driver": "qcow2",
        "file": {"driver": "file", "filename": COPY},
    }
    await instance.command("blockdev-add", node, timeout=settings.monitor_timeout)
    try:
        arguments: dict[str, object] = {"device": "root", "target": _NODE, "sync": "full", "auto-dismiss": False}
        await run_job(instance, clock, "blockdev-backup", arguments, settings.tool_timeout)
    finally:
        await _detach(instance, settings)


async def _detach(instance: Instance, settings: QemuSettings) -> None:
    nodes = await instance.command("query-named-block-nodes", {"flat": True}, timeout=settings.monitor_timeout)
    if any(node["node-name"] == _NODE for node in nodes):
        await instance.command("blockdev-del", {"node-name": _NODE}, timeout=settings.monitor_timeout)


async def _virtual_size(instance: Instance, settings: QemuSettings) -> int:
    output = await _tool(instance, ["info", "-U", "--output=json", "-f", "qcow2", ROOT_DISK], settings)
    return int(msgspec.json.decode(output)["virtual-size"])


async def _tool(instance: Instance, arguments: list[str], settings: QemuSettings) -> bytes:
    try:
        return await run_limited(
            [settings.image_tool, *arguments], cwd=instance.directory, timeout=settings.tool_timeout
        )
    except CommandFailed as error:
        message = f"the disk of server {instance.server_id} could not be copied; look at the host's disks"
        raise HostFault(message, details=str(error)) from error


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file, read by worker threads."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
