"""QEMU processes: started so that they outlive us, found again by who they are, waited for without polling."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Process:
    """One process, ours or inherited from an agent that is gone.

    Held by a pidfd: the number may be given to another process after it ended, the pidfd never.
    """

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(descriptor, self._on_end)

    @classmethod
    def attach(cls, pid: int) -> "Process | None":
        """The process with that number, or None if it is gone."""
        try:
            return cls(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return None

    @property
    def running(self) -> bool:
        return not self._ended.done()

    async def wait(self) -> None:
        """Return when it has ended. Any number may wait."""
        await asyncio.shield(self._ended)

    async def kill(self) -> None:
        """End it at once and return when it is gone."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            await self.wait()

    def forget(self) -> None:
        """Stop watching; the process goes on."""
        if self.running:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._ended.cancel()

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        # Our own child stays a zombie until it is asked for; an inherited one is somebody else's.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        self._ended.set_result(None)


def spawn(argv: Sequence[str], directory: Path, log: Path) -> int:
    """Start ``argv`` in ``directory`` and in a session of its own; its number. What it says goes to ``log``."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # From here on it is watched by its pidfd: Popen must neither reap it nor complain that nobody waited.
    child.returncode = 0
    return child.pid


def find(instances: Path) -> dict[str, int]:
    """Which guests run: the name of the directory below ``instances`` -> process number. Blocks for milliseconds.

    A guest's process is recognised by its working directory and its ``-uuid``, which the kernel vouches
    for; so none is overlooked because an agent died before it could write a number down, and none is
    mistaken because the number was given to another.
    """
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            directory = Path(os.readlink(f"/proc/{entry.name}/cwd"))  # noqa: PTH115 -- many, and often refused
            if directory.parent != instances:
                continue
            arguments = Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-uuid" in arguments and directory.name.encode() in arguments:
            found[directory.name] = int(entry.name)
    return found
