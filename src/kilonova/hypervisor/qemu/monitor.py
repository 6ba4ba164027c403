"""The conversation with one QEMU: QMP over its unix socket, every command with a deadline."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.qmp_client import ExecuteError

from kilonova.hypervisor.qemu.launch import MONITOR
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault

RETRY_SECONDS = 0.01
"""Between two attempts to reach a monitor that is just being made; QEMU needs 30 to 70 ms."""

# The library tells of every end of a connection, also of those that are asked for.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


OnEvent = Callable[[str], None]


class MonitorClosed(Exception):
    """There is no QEMU at the other end (any more)."""


class Monitor:
    """A monitor's connection, made by ``connect`` or ``await_start``."""

    def __init__(self, directory: Path, timeout: float) -> None:
        self._directory = directory
        self._timeout = timeout
        self._client = QMPClient(directory.name)
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, directory: Path, timeout: float) -> "Monitor":
        """Connect once. Raises ``MonitorClosed`` if nobody listens, ``HostFault`` if nobody answers in time."""
        monitor = cls(directory, timeout)
        try:
            async with asyncio.timeout(timeout):
                await monitor._client.connect(_connected_socket(directory))
        except TimeoutError as error:
            await monitor.close()
            raise monitor._silent("the greeting") from error
        except (OSError, QMPError) as error:
            await monitor.close()
            raise MonitorClosed(str(error)) from error
        return monitor

    @classmethod
    async def await_start(
        cls, directory: Path, clock: Clock, timeout: float, running: Callable[[], bool]
    ) -> "Monitor":
        """Connect to a QEMU that was started just now: retried while ``running()`` and within ``timeout``."""
        deadline = clock.monotonic() + timeout
        while True:
            try:
                return await cls.connect(directory, max(0.1, deadline - clock.monotonic()))
            except MonitorClosed:
                if not running() or clock.monotonic() > deadline:
                    raise
            await clock.sleep(RETRY_SECONDS)

    @property
    def open(self) -> bool:
        return self._client.runstate.name == "RUNNING"

    async def execute(
        self, command: str, arguments: dict[str, object] | None = None, timeout: float | None = None
    ) -> Any:
        """The answer to one command. ``MonitorClosed`` if QEMU ends, ``HostFault`` if it refuses or is silent.

        ``timeout``: seconds, for a command that may have to wait for QEMU's main loop.
        """
        try:
            async with asyncio.timeout(timeout or self._timeout):
                return await self._client.execute(command, arguments)
        except TimeoutError as error:
            raise self._silent(command) from error
        except ExecuteError as error:
            raise HostFault(
                f"QEMU refused {command} for server {self._directory.name}", details=str(error)
            ) from error
        except (QMPError, EOFError, OSError) as error:
            raise MonitorClosed(str(error)) from error

    def listen(self, on_event: OnEvent) -> None:
        """Call ``on_event`` with the name of each event that QEMU tells from now on."""

        async def read() -> None:
            async for event in self._client.events:
                on_event(str(event["event"]))

        self._listening = asyncio.create_task(read(), name=f"events of {self._directory.name}")

    async def close(self) -> None:
        """Let go of the socket, whatever state it is in."""
        if self._listening is not None:
            self._listening.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1):
                await self._client.disconnect()

    def _silent(self, what: str) -> HostFault:
        return HostFault(
            f"the QEMU of server {self._directory.name} does not answer its monitor ({what}, {self._timeout:g} s); "
            "if it stays so, reboot the server hard",
        )


def _connected_socket(directory: Path) -> socket.socket:
    """A socket connected to the monitor in ``directory``, however long that path is.

    A unix socket's path may have 107 bytes; through an open directory in ``/proc/self/fd`` it has 30.
    """
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(f"/proc/self/fd/{handle}/{MONITOR}")
        except BaseException:
            connection.close()
            raise
    finally:
        os.close(handle)
    return connection
