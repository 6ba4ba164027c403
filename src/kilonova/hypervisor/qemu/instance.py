"""One guest of this host: its directory, its record and, while it is up, its process and monitor.

Knows how to start, stop and describe one guest; which of that is allowed when is the driver's business.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from kilonova.hypervisor.qemu.binding import bind
from kilonova.hypervisor.qemu.launch import CONSOLE, LOG, PID, command_line
from kilonova.hypervisor.qemu.monitor import Monitor, MonitorClosed
from kilonova.hypervisor.qemu.process import Process, spawn
from kilonova.hypervisor.qemu.record import GuestRecord, Wanted, save
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault
from kilonova.model.guest import Guest, GuestState

logger = logging.getLogger(__name__)

QUIT_SECONDS = 5.0
"""How long an ordered end may take: QEMU writes its caches to the disk image before it goes."""

# QEMU's word for what its processors do -> ours. Anything else is a guest that executes.
STATES = {
    "prelaunch": GuestState.PREPARED,
    "paused": GuestState.PAUSED,
    "io-error": GuestState.PAUSED,
    "internal-error": GuestState.CRASHED,
    "guest-panicked": GuestState.CRASHED,
}


class Instance:
    """A guest. ``on_end`` is called when its process ended and nobody had asked for that."""

    def __init__(
        self,
        directory: Path,
        record: GuestRecord,
        clock: Clock,
        settings: QemuSettings,
        on_end: Callable[["Instance"], None],
    ) -> None:
        self.directory = directory
        self.record = record
        self._clock = clock
        self._settings = settings
        self._on_end = on_end
        self._process: Process | None = None
        self._monitor: Monitor | None = None
        self._status = ""
        self._expected = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def server_id(self) -> str:
        return self.record.spec.server_id

    @property
    def console(self) -> Path:
        return self.directory / CONSOLE

    @property
    def running(self) -> bool:
        """Whether its process is there, whatever its processors do."""
        return self._process is not None and self._process.running

    @property
    def state(self) -> GuestState:
        if not self.record.complete:
            return GuestState.CRASHED  # a preparation that was interrupted
        if self.running:
            if not self._status:  # its monitor was silent when we attached: only the record can tell
                return GuestState.RUNNING if self.record.released else GuestState.PREPARED
            return STATES.get(self._status, GuestState.RUNNING)
        if not self.record.released:
            return GuestState.CRASHED  # prepared, and its process is gone
        if self.record.suspended:
            return GuestState.SUSPENDED
        # QEMU removes its pid file when it ends in order: because the guest powered off, or because it was told to.
        crashed = self.record.wanted is Wanted.UP and (self.directory / PID).exists()
        return GuestState.CRASHED if crashed else GuestState.OFF

    def describe(self) -> Guest:
        spec = self.record.spec
        return Guest(
            server_id=spec.server_id,
            name=spec.name,
            state=self.state,
            epoch=spec.epoch,
            rescued=self.record.rescue is not None,
            ports=[nic.port_id for nic in spec.nics],
        )

    @property
    def pid(self) -> int | None:
        """The number of its process; None if it is not there."""
        return self._process.pid if self._process is not None and self._process.running else None

    async def ask(self, question: str) -> Any:
        """The monitor's answer to a question without arguments; None if the process ended. ``HostFault`` if it is silent."""
        return await self._execute(question)

    async def note(self, **changes: object) -> None:
        """Change the record, in memory and on disk."""
        self.record = msgspec.structs.replace(self.record, **changes)
        await asyncio.to_thread(save, self.directory, self.record)

    async def launch(self, accelerator: str) -> None:
        """Start its process, processors stopped. After a failure (``HostFault``) no process is left."""
        argv = command_line(self.record.spec, accelerator, self._settings, rescued=self.record.rescue is not None)
        (self.directory / PID).unlink(missing_ok=True)
        await self.note(argv=argv, wanted=Wanted.UP)
        # Not in a thread, though it takes milliseconds: a call cancelled here would leave a process nobody holds.
        process = Process.attach(self._spawn(argv))
        if process is None:
            raise self._stillborn()
        try:
            self._monitor = await Monitor.await_start(
                self.directory, self._clock, self._settings.start_timeout, lambda: process.running
            )
            await self._adopt(process)
            await self._bind()
            if not process.running:
                raise MonitorClosed("it ended again")
        except MonitorClosed as error:
            await process.kill()
            raise self._stillborn() from error
        except BaseException:
            await asyncio.shield(process.kill())
            raise

    async def _bind(self) -> None:
        """To the processors it was given, before it runs; ``HostFault`` if that cannot be."""
        spec, shared = self.record.spec, self._settings.shared_cpus
        if spec.topology is None and shared is None:
            return
        cpus = await self._execute("query-cpus-fast")
        if self.pid is not None and cpus is not None:
            await asyncio.to_thread(bind, self.pid, cpus, spec, shared)

    def _spawn(self, argv: list[str]) -> int:
        try:
            return spawn(argv, self.directory, self.directory / LOG)
        except OSError as error:
            if error.filename != argv[0]:
                raise
            message = f"{argv[0]} cannot be started on the host ({error.strerror}); install it there, or repair it"
            raise HostFault(message, details=str(error)) from error

    async def attach(self, pid: int) -> None:
        """Take over a process that runs already. A monitor that is silent is asked again by the next verb."""
        process = Process.attach(pid)
        if process is None:
            return
        try:
            self._monitor = await Monitor.connect(self.directory, self._settings.monitor_timeout)
            await self._adopt(process)
        except (MonitorClosed, HostFault) as error:
            logger.warning("the monitor of server %s does not answer: %s", self.server_id, error)
            self._watch(process)

    async def go(self) -> None:
        """Let the processors run; nothing happens if they do."""
        await self._execute("cont")
        await self._ask_status()

    async def stand_still(self) -> None:
        """Stop the processors; nothing happens if they stand."""
        await self._execute("stop")
        await self._ask_status()

    async def command(self, command: str, arguments: dict[str, object] | None = None, *, timeout: float) -> Any:
        """The answer to a monitor command that must be carried out. ``HostFault`` if the process has ended."""
        answer = await self._execute(command, arguments, timeout)
        if answer is None:
            raise HostFault(f"the QEMU of server {self.server_id} ended before {command} was done")
        return answer

    async def shut_down(self, grace: float) -> None:
        """End the process: ask the guest for at most ``grace`` seconds, then take its power."""
        if not self.running:
            return
        self._expected = True
        try:
            if grace > 0 and self.state is GuestState.RUNNING:
                await self._ask_to_power_off(grace)
            await self._cut()
        finally:
            # Cancelled while it still runs: what it does from now on is its own doing again.
            self._expected = not self.running

    async def kill(self) -> None:
        """End the process at once; what it had not written yet is lost."""
        self._expected = True
        if self._process is not None:
            await self._process.kill()
        await self._watched()

    async def let_go(self) -> None:
        """Stop watching; the guest goes on."""
        if self._watching is not None:
            self._watching.cancel()
        if self._process is not None:
            self._process.forget()
        await self._close_monitor()

    async def _cut(self) -> None:
        """End the process without asking the guest, in order if QEMU still listens."""
        process = self._process
        if process is not None and process.running:
            try:
                async with asyncio.timeout(QUIT_SECONDS):
                    await self._execute("quit")
                    await process.wait()
            except (TimeoutError, HostFault):
                logger.warning("server %s: QEMU does not quit, it is killed", self.server_id)
            await process.kill()
        await self._watched()

    async def _ask_to_power_off(self, grace: float) -> None:
        assert self._process is not None
        try:
            async with asyncio.timeout(grace):
                await self._execute("system_powerdown")
                await self._process.wait()
        except TimeoutError:
            logger.info("server %s did not shut down within %g s", self.server_id, grace)
        except HostFault as error:
            logger.warning("server %s could not be asked to shut down: %s", self.server_id, error)

    async def _adopt(self, process: Process) -> None:
        assert self._monitor is not None
        self._monitor.listen(self._on_event)
        await self._ask_status()
        self._watch(process)

    def _watch(self, process: Process) -> None:
        self._process = process
        self._expected = False
        self._watching = asyncio.create_task(self._await_end(process), name=f"process of {self.server_id}")

    async def _await_end(self, process: Process) -> None:
        await process.wait()
        self._status = ""
        await self._close_monitor()
        if not self._expected:
            self._on_end(self)

    async def _watched(self) -> None:
        """Return when the end of the process has been dealt with."""
        if self._watching is not None:
            await asyncio.wait([self._watching])

    def _on_event(self, event: str) -> None:
        if event == "RESUME":
            self._status = "running"
        elif event in ("STOP", "GUEST_PANICKED"):
            self._status = "paused" if event == "STOP" else "guest-panicked"

    async def _ask_status(self) -> None:
        answer = await self._execute("query-status")
        if answer is not None:
            self._status = answer["status"]

    async def _execute(
        self, command: str, arguments: dict[str, object] | None = None, timeout: float | None = None
    ) -> Any:
        """One monitor command; None if the process ended meanwhile. ``HostFault`` if it is silent."""
        try:
            if self._monitor is None or not self._monitor.open:
                await self._close_monitor()
                self._monitor = await Monitor.connect(self.directory, self._settings.monitor_timeout)
                self._monitor.listen(self._on_event)
            return await self._monitor.execute(command, arguments, timeout)
        except MonitorClosed:
            return None

    async def _close_monitor(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            await monitor.close()

    def _stillborn(self) -> HostFault:
        try:
            said = (self.directory / LOG).read_text(errors="replace").strip()[-2000:]
        except OSError:
            said = ""
        return HostFault(
            f"QEMU ended while it started server {self.server_id}; the details say why, another host may be able to",
            details=said or "QEMU said nothing",
        )
