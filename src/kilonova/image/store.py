"""Image files on a disk: streamed in, digested on the way, made durable before anyone may see them.

A file is ``<image id>.<upload id>``, with ``.part`` behind it while it is being written; the database says which
upload counts. So an interrupted upload leaves at most a file that no row names; the service's ``recover`` removes it.
All blocking work is done by a few threads of its own. Fails with ``TooLarge`` when the disk is full.
"""

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from kilonova.image.inspect import HEADER_BYTES, TAIL_BYTES
from kilonova.model.errors import NotFound, TooLarge

P = ParamSpec("P")
T = TypeVar("T")
BLOCK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Received(msgspec.Struct, frozen=True):
    """What came: length in bytes, hex digests, and the ends of the file that :mod:`inspect` looks at."""

    size: int
    checksum: str
    sha512: str
    header: bytes
    tail: bytes


class _Writer:
    """One file being written; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()
        self._size = 0
        self._header = b""
        self._tail = b""

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._md5.update(data)
        self._sha512.update(data)
        self._size += len(data)
        if len(self._header) < HEADER_BYTES:
            self._header += data[: HEADER_BYTES - len(self._header)]
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def finish(self) -> Received:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Received(self._size, self._md5.hexdigest(), self._sha512.hexdigest(), self._header, self._tail)

    def close(self) -> None:
        self._file.close()


class ImageStore:
    """The directory. ``threads`` bounds the blocking work going on at once."""

    def __init__(self, directory: Path, *, threads: int = 2) -> None:
        self._directory = directory
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="images")
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)

    def path(self, image_id: str, upload_id: str) -> Path:
        """Where the bytes of an upload are, or will be."""
        return self._directory / f"{image_id}.{upload_id}"

    def _part(self, image_id: str, upload_id: str) -> Path:
        return self._directory / f"{image_id}.{upload_id}.part"

    async def receive(
        self, image_id: str, upload_id: str, chunks: AsyncIterator[bytes], going_on: Callable[[], Awaitable[None]]
    ) -> Received:
        """Write the stream to the part file. ``going_on`` is awaited after every block; it may raise to stop."""
        try:
            writer = await self._run(_Writer, self._part(image_id, upload_id))
        except OSError as error:
            raise _storage_error(error) from error
        try:
            held: list[bytes] = []
            length = 0
            async for chunk in chunks:
                held.append(chunk)
                length += len(chunk)
                if length >= BLOCK:
                    await self._run(writer.write, b"".join(held))
                    held, length = [], 0
                    await going_on()
            await self._run(writer.write, b"".join(held))
            return await self._run(writer.finish)
        except OSError as error:
            raise _storage_error(error) from error
        finally:
            await asyncio.shield(self._run(writer.close))

    async def publish(self, image_id: str, upload_id: str) -> None:
        """Give the finished part file its name, durably."""
        await self._run(_rename, self._part(image_id, upload_id), self.path(image_id, upload_id))

    async def adopt(self, source: Path, image_id: str, upload_id: str) -> Received:
        """Take a file of this machine in, by hard link where that works, else by copy."""
        return await self._run(_adopt, source, self.path(image_id, upload_id))

    async def remove(self, image_id: str, upload_id: str) -> None:
        """Remove an upload's file in whatever state; nothing happens if there is none."""
        paths = [self.path(image_id, upload_id), self._part(image_id, upload_id)]
        await self._run(_remove, paths)

    async def read(self, image_id: str, upload_id: str) -> AsyncIterator[bytes]:
        """The bytes in blocks; opened before this returns, so a later delete does not cut it off."""
        try:
            descriptor = await self._run(os.open, self.path(image_id, upload_id), os.O_RDONLY)
        except FileNotFoundError:
            raise NotFound("The image's data is not here.") from None
        return self._blocks(descriptor)

    async def _blocks(self, descriptor: int) -> AsyncIterator[bytes]:
        try:
            at = 0
            while block := await self._run(os.pread, descriptor, BLOCK, at):
                at += len(block)
                yield block
        finally:
            os.close(descriptor)

    async def free_bytes(self) -> int:
        """Room left on the disk."""
        usage = await self._run(shutil.disk_usage, self._directory)
        return usage.free

    async def uploads(self) -> list[tuple[str, str]]:
        """(image id, upload id) of every file here."""
        return await self._run(_uploads, self._directory)

    def close(self) -> None:
        """Let the threads go."""
        self._workers.shutdown(wait=True)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, lambda: work(*args, **kwargs))


def _storage_error(error: OSError) -> Exception:
    if error.errno in _FULL:
        return TooLarge("There is not enough disk space on the image storage media.")
    return error


def _rename(part: Path, final: Path) -> None:
    part.replace(final)
    _sync_directory(final.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _adopt(source: Path, final: Path) -> Received:
    final.unlink(missing_ok=True)
    try:
        os.link(source, final)
    except OSError:
        shutil.copyfile(source, final)
    md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
    size, header, tail = 0, b"", b""
    with final.open("rb") as file:
        while block := file.read(BLOCK):
            md5.update(block)
            sha512.update(block)
            size += len(block)
            header = header or block[:HEADER_BYTES]
            tail = (tail + block[-TAIL_BYTES:])[-TAIL_BYTES:]
        os.fsync(file.fileno())
    _sync_directory(final.parent)
    return Received(size, md5.hexdigest(), sha512.hexdigest(), header, tail)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _uploads(directory: Path) -> list[tuple[str, str]]:
    found = set()
    for path in directory.iterdir():
        image_id, dot, upload_id = path.name.removesuffix(".part").partition(".")
        if dot:
            found.add((image_id, upload_id))
    return sorted(found)
