"""Runs small external programs (``qemu-img``, ``genisoimage``) with limits on time, memory and processor.

A disk image is a stranger's input to a C program: one that wants more than these limits is taken for broken.
"""

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from kilonova.model.errors import HostFault, Misconfigured

MEMORY_LIMIT = 2 << 30
"""Bytes of address space; qemu-img needs about a tenth of it."""

PROCESSOR_LIMIT = 240
"""Seconds of processor time."""


class CommandFailed(Exception):
    """The program ended with something other than 0; ``stderr`` is the last of what it said."""

    def __init__(self, program: str, status: int, stderr: str) -> None:
        super().__init__(f"{program} ended with {status}: {stderr}")
        self.program = program
        self.status = status
        self.stderr = stderr


async def run_limited(argv: Sequence[str], *, cwd: Path, timeout: float) -> bytes:
    """The standard output of ``argv``.

    Raises ``CommandFailed``, ``HostFault`` (disk full, or no answer in ``timeout`` seconds) or
    ``Misconfigured`` (no such program). A call that is cancelled leaves no process behind.
    """
    limits = ["prlimit", f"--as={MEMORY_LIMIT}", f"--cpu={PROCESSOR_LIMIT}", "--core=0", "--"]
    try:
        process = await asyncio.create_subprocess_exec(
            *limits,
            *argv,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Misconfigured(f"{argv[0]} cannot be started: install util-linux (prlimit) and {argv[0]}") from error
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise HostFault(f"{argv[0]} did not end within {timeout:g} s; look at the host's disks") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    if process.returncode != 0:
        text = errors.decode(errors="replace").strip()[-2000:]
        if os.strerror(errno.ENOSPC) in text:
            raise disk_full(cwd, text)
        raise CommandFailed(argv[0], process.returncode or 0, text)
    return output


def disk_full(where: Path, details: str) -> HostFault:
    """The fault for a file system without room; another host may have some."""
    return HostFault(
        "the host has no disk space left for the server; delete servers or images there, or give it a larger disk",
        details=f"{where}: {details}",
    )
