"""Makes the disks of one guest in its directory."""

import os
from pathlib import Path

from kilonova.hypervisor.qemu.command import CommandFailed, run_limited
from kilonova.hypervisor.qemu.images import require_space
from kilonova.hypervisor.qemu.launch import EPHEMERAL_DISK, ROOT_DISK, SWAP_DISK
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestSpec

GIB = 1 << 30
MIB = 1 << 20


async def make_disks(directory: Path, spec: GuestSpec, base: Path | None, settings: QemuSettings) -> None:
    """Root, ephemeral and swap disk; ``base`` is the image under the root disk (None: an empty disk).

    They take space only as they are written to, so only the reserve is asked for here; the allocation
    is the scheduler's business. Raises ``HostFault``.
    """
    require_space(directory, 0, settings)
    size = root_size(spec)
    argv = [settings.image_tool, "create", "-q", "-f", "qcow2"]
    if base is not None and spec.image is not None:
        # A relative backing file, so that the state directory can be moved as a whole.
        argv += ["-b", os.path.relpath(base, directory), "-F", spec.image.disk_format]
    await _make(spec, directory, [*argv, ROOT_DISK, str(size)], settings)
    if spec.ephemeral_gb:
        _sparse(directory / EPHEMERAL_DISK, spec.ephemeral_gb * GIB)
        await _make(spec, directory, ["mke2fs", "-q", "-t", "ext4", "-L", "ephemeral0", EPHEMERAL_DISK], settings)
    if spec.swap_mb:
        _sparse(directory / SWAP_DISK, spec.swap_mb * MIB)
        await _make(spec, directory, ["mkswap", "--quiet", SWAP_DISK], settings)


def root_size(spec: GuestSpec) -> int:
    """Bytes of the root disk: the flavor's, or the image's own if the flavor has none. ``HostFault`` if too small."""
    wanted = spec.disk_gb * GIB
    image = spec.image.virtual_size if spec.image else 0
    if wanted and wanted < image:
        raise HostFault(
            f"server {spec.server_id} has a disk of {spec.disk_gb} GiB, smaller than its image's "
            f"({-(-image // GIB)} GiB); choose a larger flavor",
            retry=False,
        )
    if not (wanted or image):
        raise HostFault(f"server {spec.server_id} has neither an image nor a disk size; give it one", retry=False)
    return wanted or image


def _sparse(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.truncate(descriptor, size)
    finally:
        os.close(descriptor)


async def _make(spec: GuestSpec, directory: Path, argv: list[str], settings: QemuSettings) -> None:
    try:
        await run_limited(argv, cwd=directory, timeout=settings.tool_timeout)
    except CommandFailed as error:
        message = f"a disk of server {spec.server_id} could not be made; look at the host's disks"
        raise HostFault(message, details=str(error)) from error
