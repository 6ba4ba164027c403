"""The base images of a host: fetched once, verified, inspected, then shared read-only by all guests.

``images/<sha512>.<format>`` is named by what is in it, so two images with the same bytes are one file and
nothing that is there can be the wrong thing. A fetch that did not end leaves a ``.partial``, removed at the
next start.
"""

import asyncio
import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from kilonova.hypervisor.qemu.command import CommandFailed, disk_full, run_limited
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import HostFault, Invalid, KilonovaError, NotFound
from kilonova.model.guest import ImageTicket

FORMATS = ("qcow2", "raw")


class ImageFetcher(Protocol):
    """Brings an image's bytes to this host. Given by whoever knows the image service."""

    async def fetch(self, ticket: ImageTicket, destination: Path) -> None:
        """Write the image to ``destination`` (made anew). Raises ``NotFound``, ``Unavailable`` or ``OSError``.

        Need not verify anything; must not write more than ``ticket.size`` bytes by much.
        """
        ...


class ImageStore:
    """The base images below one directory; it is the only writer there."""

    def __init__(self, directory: Path, fetcher: ImageFetcher, settings: QemuSettings) -> None:
        self._directory = directory
        self._fetcher = fetcher
        self._settings = settings
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def clean(self) -> None:
        """Make the directory, and remove what an agent that died was fetching."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self._directory.glob("*.partial"):
            leftover.unlink()

    async def base(self, ticket: ImageTicket) -> Path:
        """The file of a ticket's image, fetched if it is not here yet. Many may ask at once; one fetches."""
        if ticket.disk_format not in FORMATS or not _is_digest(ticket.sha512):
            raise _broken(ticket, f"it must be {' or '.join(FORMATS)} and have a SHA-512, not {ticket.disk_format}")
        path = self._directory / f"{ticket.sha512}.{ticket.disk_format}"
        lock = self._fetching.setdefault(path.name, asyncio.Lock())
        async with lock:
            if not (path.exists() and path.stat().st_size == ticket.size):
                await self._fetch(ticket, path)
        return path

    async def _fetch(self, ticket: ImageTicket, path: Path) -> None:
        await asyncio.to_thread(require_space, self._directory, ticket.size, self._settings)
        unfinished = path.with_name(f"{path.name}.partial")
        try:
            await self._download(ticket, unfinished)
            digest = await asyncio.to_thread(_digest, unfinished)
            if digest != ticket.sha512:
                raise _broken(ticket, "its checksum is not the one recorded at upload", f"sha512 {digest}")
            await self._inspect(ticket, unfinished)
            unfinished.chmod(0o444)
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)

    async def _download(self, ticket: ImageTicket, unfinished: Path) -> None:
        try:
            await self._fetcher.fetch(ticket, unfinished)
            size = unfinished.stat().st_size
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise disk_full(unfinished, str(error)) from error
            raise HostFault(f"image {ticket.image_id} could not be fetched; try again", details=str(error)) from error
        except HostFault:
            raise
        except (NotFound, Invalid) as error:
            raise _broken(ticket, error.message, error.details) from error
        except KilonovaError as error:
            message = f"image {ticket.image_id} could not be fetched: {error.message}"
            raise HostFault(message, details=error.details) from error
        if size != ticket.size:
            raise _broken(ticket, f"{size} bytes arrived and not {ticket.size}")

    async def _inspect(self, ticket: ImageTicket, path: Path) -> None:
        """Refuse what is not what it says, or would make QEMU open other files of the host."""
        argv = [self._settings.image_tool, "info", "--output=json", "-f", ticket.disk_format, path.name]
        try:
            output = await run_limited(argv, cwd=path.parent, timeout=self._settings.tool_timeout)
        except CommandFailed as error:
            raise _broken(ticket, f"it cannot be read as {ticket.disk_format}", error.stderr) from error
        reason = objection(msgspec.json.decode(output), ticket)
        if reason:
            raise _broken(ticket, reason)


def objection(info: dict[str, Any], ticket: ImageTicket) -> str:
    """Why an image with this ``qemu-img info`` must not be used, or an empty string."""
    specific = info.get("format-specific", {}).get("data", {})
    if info.get("backing-filename") or info.get("full-backing-filename"):
        return "it has a backing file"
    if specific.get("data-file"):
        return "it keeps its data in another file"
    if info.get("encrypted"):
        return "it is encrypted"
    if info.get("dirty-flag") or specific.get("corrupt"):
        return "it is marked as damaged"
    if ticket.disk_format == "qcow2" and info.get("virtual-size") != ticket.virtual_size:
        return f"its disk has {info.get('virtual-size')} bytes and not {ticket.virtual_size}"
    return ""


def require_space(directory: Path, needed: int, settings: QemuSettings) -> None:
    """Raise ``HostFault`` unless ``needed`` bytes fit below ``directory`` and the reserve stays free."""
    free = shutil.disk_usage(directory).free
    if free - needed < settings.min_free_disk_mb << 20:
        raise disk_full(
            directory, f"{free >> 20} MiB free, {needed >> 20} needed, {settings.min_free_disk_mb} must stay free"
        )


def _is_digest(text: str) -> bool:
    return len(text) == 128 and all(letter in "0123456789abcdef" for letter in text)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def _broken(ticket: ImageTicket, reason: str, details: str = "") -> HostFault:
    message = f"image {ticket.image_id} cannot be used: {reason}; upload it again or choose another"
    return HostFault(message, details=details, retry=False)
