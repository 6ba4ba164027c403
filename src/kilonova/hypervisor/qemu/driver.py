"""The QEMU driver: what may be done to a guest, and in which order things are written down and done.

The order is what makes it safe to kill this process at any moment:

- A guest's directory and record exist before anything else of it does, and go last.
- ``released`` is on disk before the processors are let go; ``wanted`` before the process is ended.
- Which processes run is asked of the kernel, never remembered.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from weakref import WeakValueDictionary

from kilonova.hypervisor.driver import ImageUploader, Progress, Stage
from kilonova.hypervisor.qemu import bridge, cards, console, diagnostics, machine
from kilonova.hypervisor.qemu.accelerator import find_accelerator
from kilonova.hypervisor.qemu.command import disk_full
from kilonova.hypervisor.qemu.configdrive import make_config_drive
from kilonova.hypervisor.qemu.disks import make_disks
from kilonova.hypervisor.qemu.images import ImageFetcher, ImageStore, require_space
from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.launch import check
from kilonova.hypervisor.qemu.makeover import make_over
from kilonova.hypervisor.qemu.process import find
from kilonova.hypervisor.qemu.record import FILE, GuestRecord, Wanted, load
from kilonova.hypervisor.qemu.rescue import equip_rescue, leave_rescue
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.hypervisor.qemu.snapshot import copy_root, pieces
from kilonova.hypervisor.qemu.suspension import drop_memory, keep_memory, take_memory_back
from kilonova.model.clock import Clock
from kilonova.model.diagnostics import GuestDiagnostics
from kilonova.model.errors import Conflict, GuestGone, HostFault, Misconfigured, Stale, Unsupported
from kilonova.model.guest import (
    Capabilities,
    Guest,
    GuestCommand,
    GuestSpec,
    GuestState,
    HostResources,
    ImageTicket,
    ImageUpload,
    Nic,
)

logger = logging.getLogger(__name__)

FEATURES = [
    *("config-drive", "console-output", "graphical-console", "serial-console", "soft-shutdown"),
    *("pause", "suspend", "nmi", "rescue", "resize_in_place"),
]
TRIM_SECONDS = 60.0
ATTACH_AT_ONCE = 64


class QemuDriver:
    """Guests as QEMU processes below ``state_dir``. One driver at a time may own such a directory."""

    def __init__(
        self,
        state_dir: Path,
        clock: Clock,
        fetcher: ImageFetcher,
        settings: QemuSettings,
        uploader: ImageUploader | None = None,
    ) -> None:
        self._uploader = uploader
        self._state_dir = state_dir.absolute()
        self._directory = self._state_dir / "instances"
        self._clock = clock
        self._settings = settings
        self._images = ImageStore(self._state_dir / "images", fetcher, settings)
        self._instances: dict[str, Instance] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._events: asyncio.Queue[tuple[str, GuestState] | None] = asyncio.Queue()
        self._accelerator = "tcg"
        self._trimming: asyncio.Task[None] | None = None
        self._claimed: int | None = None

    async def start(self) -> Capabilities:
        await asyncio.to_thread(machine.require, self._settings)
        text, version = await asyncio.to_thread(machine.qemu_version, self._settings)
        # The kernel's own name for it, links resolved: that is how a process's directory is compared.
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = self._directory.resolve()
        answer = await find_accelerator(self._state_dir, text, self._settings)
        self._claim()
        await asyncio.to_thread(self._images.clean)
        self._accelerator = answer.accelerator
        if answer.warning:
            logger.warning("%s", answer.warning)
        await self._find_guests()
        self._trimming = asyncio.create_task(self._trim_consoles(), name="console files")
        return Capabilities(
            hypervisor_type="QEMU",
            version=version,
            accelerator=answer.accelerator,
            architecture=machine.architecture(),
            cpu_model=machine.cpu_model(),
            features=[*FEATURES, *(["snapshot"] if self._uploader is not None else [])],
            warning=answer.warning,
        )

    async def stop(self) -> None:
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait([self._trimming])
        await asyncio.gather(*(instance.let_go() for instance in self._instances.values()))
        self._instances.clear()
        self._events.put_nowait(None)
        if self._claimed is not None:
            os.close(self._claimed)
            self._claimed = None

    async def resources(self) -> HostResources:
        return await asyncio.to_thread(machine.resources, self._state_dir)

    async def list_guests(self) -> list[Guest]:
        return [instance.describe() for instance in self._instances.values()]

    async def show_guest(self, server_id: str) -> Guest | None:
        instance = self._instances.get(server_id)
        return instance.describe() if instance else None

    async def prepare(self, spec: GuestSpec, progress: Progress) -> None:
        check(spec)
        async with self._verb(spec.server_id):
            present = self._instances.get(spec.server_id)
            if spec.in_place:
                if (instance := await make_over(present, spec, self._settings)) is not None:
                    for nic in spec.nics:
                        await bridge.plug(nic)
                    await instance.launch(self._accelerator)
                return
            if present is not None:
                if self._done_before(present, spec):
                    return
                await self._discard(present)
            await self._build(spec, progress)

    async def release(self, server_id: str) -> None:
        async with self._verb(server_id):
            instance = self._known(server_id)
            if not instance.record.complete:
                raise Conflict(f"server {server_id} was not prepared to the end on this host; prepare it again")
            if instance.record.spec.stays_off and not instance.record.released:
                await instance.note(released=True, wanted=Wanted.OFF)
                await instance.shut_down(0)
            elif instance.state is GuestState.PREPARED:
                await instance.note(released=True)
                await instance.go()
            elif not instance.record.released:
                # Its process was lost before it ever ran (the host restarted): the same guest, a new process.
                await self._run(instance)

    async def move(self, server_id: str, ticket: str) -> None:
        raise Unsupported(f"server {server_id} cannot be sent to another host while it runs")

    async def destroy(self, server_id: str) -> None:
        async with self._verb(server_id):
            instance = self._instances.get(server_id)
            if instance is not None:
                await self._discard(instance)

    async def power_on(self, server_id: str, *, rescue: GuestSpec | None = None) -> None:
        async with self._verb(server_id):
            instance = self._released(server_id)
            if (instance.record.rescue is None) is not (rescue is None):
                await self._exchange(instance, rescue)
            elif instance.record.suspended:
                await instance.shut_down(0)  # of a call that was interrupted; its processors stood
                await self._run(instance)
            elif not instance.running:
                await self._run(instance)
            elif instance.state is not GuestState.RUNNING:
                await instance.go()

    async def power_off(self, server_id: str, grace: float) -> None:
        async with self._verb(server_id):
            instance = self._released(server_id)
            await instance.note(wanted=Wanted.OFF)
            await instance.shut_down(grace)
            await drop_memory(instance, self._settings)

    async def reboot(self, server_id: str, *, hard: bool, grace: float) -> None:
        async with self._verb(server_id):
            instance = self._released(server_id)
            await instance.shut_down(0 if hard else grace)
            await drop_memory(instance, self._settings)
            await leave_rescue(instance)
            await self._run(instance)

    async def change_nics(self, server_id: str, nics: list[Nic]) -> None:
        async with self._verb(server_id):
            instance = self._released(server_id)
            await cards.change(instance, nics, self._clock, self._settings)
            spec = instance.record.spec
            if spec.config_drive and not instance.running:  # a guest that runs has the old one open
                await make_config_drive(instance.directory, spec, self._settings)

    async def set_paused(self, server_id: str, paused: bool) -> None:
        async with self._verb(server_id):
            instance = self._up(server_id)
            await (instance.stand_still() if paused else instance.go())

    async def suspend(self, server_id: str) -> None:
        async with self._verb(server_id):
            instance = self._released(server_id)
            if instance.state is not GuestState.SUSPENDED:
                await keep_memory(self._up(server_id), self._clock, self._settings)

    async def snapshot(self, server_id: str, upload: ImageUpload, stage: Stage) -> None:
        if self._uploader is None:
            raise Unsupported("this host was given no way to upload images")
        async with self._verb(server_id):
            instance = self._released(server_id)
            await stage("copy")
            copy = await copy_root(instance, self._clock, self._settings)
            try:
                await stage("upload")
                await self._uploader.upload(upload, copy.stat().st_size, pieces(copy))
            finally:
                copy.unlink(missing_ok=True)

    async def command(self, server_id: str, command: GuestCommand) -> None:
        if command.verb != "nmi":
            raise Unsupported(f"guests of this hypervisor have no agent that could do {command.verb!r}")
        async with self._verb(server_id):
            await self._up(server_id).command("inject-nmi", timeout=self._settings.monitor_timeout)

    async def console_output(self, server_id: str, lines: int | None) -> str:
        path = self._known(server_id).console
        return await asyncio.to_thread(console.tail, path, self._settings.console_kb << 10, lines)

    async def diagnose(self, server_id: str) -> GuestDiagnostics:
        async with self._verb(server_id):
            return await diagnostics.diagnose(self._known(server_id), self._accelerator)

    async def cache_image(self, image: ImageTicket) -> None:
        try:
            await self._images.base(image)
        except OSError as error:
            raise HostFault(f"image {image.image_id} could not be kept on the host", details=str(error)) from error

    async def events(self) -> AsyncIterator[tuple[str, GuestState]]:
        """One reader; ends when the driver is stopped."""
        while (event := await self._events.get()) is not None:
            yield event

    @contextlib.asynccontextmanager
    async def _verb(self, server_id: str) -> AsyncIterator[None]:
        """One verb at a time for each guest, and what the operating system refuses becomes a ``HostFault``.

        A lock lives as long as somebody holds or awaits it.
        """
        lock = self._locks.setdefault(server_id, asyncio.Lock())
        async with lock:
            try:
                yield
            except OSError as error:
                raise _refused(server_id, error) from error

    def _known(self, server_id: str) -> Instance:
        instance = self._instances.get(server_id)
        if instance is None:
            raise GuestGone(f"server {server_id} is not on this host")
        return instance

    def _released(self, server_id: str) -> Instance:
        """A guest that may run. One that was only prepared must not be started by the back door."""
        instance = self._known(server_id)
        if not instance.record.released:
            raise Conflict(f"server {server_id} is prepared and not confirmed yet; release it first")
        return instance

    def _up(self, server_id: str) -> Instance:
        """A guest whose process is there and which may run."""
        instance = self._released(server_id)
        if not instance.running:
            raise Conflict(f"the guest of server {server_id} is {instance.state}; start it first")
        return instance

    def _done_before(self, present: Instance, spec: GuestSpec) -> bool:
        """Whether ``present`` is what ``spec`` asks for; False if it may be thrown away for it."""
        record = present.record
        if record.spec.epoch > spec.epoch:
            raise Stale(f"server {spec.server_id} was prepared under epoch {record.spec.epoch}, after {spec.epoch}")
        same = record.spec.epoch == spec.epoch
        if record.released and not same:
            raise Conflict(
                f"server {spec.server_id} runs on this host already, since epoch {record.spec.epoch}; "
                "destroy it there before it is built again"
            )
        return same and (record.released or (record.complete and present.running))

    async def _build(self, spec: GuestSpec, progress: Progress) -> None:
        directory = self._directory / spec.server_id
        instance = self._instance(directory, GuestRecord(spec=spec))
        try:
            await asyncio.to_thread(require_space, self._directory, 0, self._settings)
            directory.mkdir(mode=0o700, exist_ok=True)
            await instance.note()
            await self._equip(instance, progress)
            await instance.note(complete=True)
        except Exception:
            await self._discard(instance)
            raise
        except BaseException:
            self._instances[spec.server_id] = instance  # cancelled: the next verb finds it and clears it away
            raise
        self._instances[spec.server_id] = instance

    async def _equip(self, instance: Instance, progress: Progress) -> None:
        spec = instance.record.spec
        progress("image")
        base = await self._images.base(spec.image) if spec.image else None
        progress("disk")
        await make_disks(instance.directory, spec, base, self._settings)
        if spec.config_drive:
            await make_config_drive(instance.directory, spec, self._settings)
        progress("network")
        for nic in spec.nics:
            await bridge.plug(nic)
        progress("process")
        await instance.launch(self._accelerator)

    async def _exchange(self, instance: Instance, rescue: GuestSpec | None) -> None:
        """Boot a rescue system instead of the guest's own disk, or the other way round."""
        await instance.shut_down(0)
        await drop_memory(instance, self._settings)
        if rescue is None:
            await leave_rescue(instance)
        else:
            check(rescue)
            base = await self._images.base(rescue.image) if rescue.image else None
            await equip_rescue(instance, rescue, base, self._settings)
        await self._run(instance)

    async def _run(self, instance: Instance) -> None:
        """A new process for a guest that has its disks, running at once."""
        for nic in instance.record.spec.nics:
            await bridge.plug(nic)  # the host may have restarted since
        await instance.launch(self._accelerator)
        if instance.record.suspended:
            await take_memory_back(instance, self._clock, self._settings)
        await instance.note(released=True)
        await instance.go()

    async def _discard(self, instance: Instance) -> None:
        """Leave nothing of a guest: process, taps, directory, in this order, so that a crash in between is found."""
        await instance.kill()
        await bridge.unplug(instance.record.spec.nics)
        await asyncio.to_thread(_remove_tree, instance.directory)
        self._instances.pop(instance.server_id, None)

    async def _find_guests(self) -> None:
        pids = await asyncio.to_thread(find, self._directory)
        bound = asyncio.Semaphore(ATTACH_AT_ONCE)

        async def attach(directory: Path) -> None:
            async with bound:
                await self._find_guest(directory, pids.get(directory.name))

        found = [directory for directory in self._directory.iterdir() if directory.is_dir()]
        await asyncio.gather(*(attach(directory) for directory in found))

    async def _find_guest(self, directory: Path, pid: int | None) -> None:
        record = load(directory)
        if record is None:
            if pid is None and not (directory / FILE).exists():
                shutil.rmtree(directory, ignore_errors=True)  # we died between making it and writing into it
            else:
                logger.error("%s cannot be read; repair or remove the directory %s", FILE, directory)
            return
        instance = self._instance(directory, record)
        self._instances[record.spec.server_id] = instance
        if pid is not None:
            await instance.attach(pid)

    def _claim(self) -> None:
        """Two agents on one directory would take each other's guests for their own: the second must not start."""
        descriptor = os.open(self._state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Misconfigured(
                f"another agent works in {self._state_dir}: stop it, or give this one a state directory of its own"
            ) from error
        self._claimed = descriptor

    def _instance(self, directory: Path, record: GuestRecord) -> Instance:
        return Instance(directory, record, self._clock, self._settings, self._on_end)

    def _on_end(self, instance: Instance) -> None:
        self._events.put_nowait((instance.server_id, instance.state))

    async def _trim_consoles(self) -> None:
        while True:
            await self._clock.sleep(TRIM_SECONDS)
            for instance in list(self._instances.values()):
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(console.trim, instance.console, self._settings.console_kb << 10)


def _refused(server_id: str, error: OSError) -> HostFault:
    if error.errno == errno.ENOSPC:
        return disk_full(Path(error.filename or "."), str(error))
    message = f"the host refused something server {server_id} needs; look at its state directory"
    return HostFault(message, details=str(error))


def _remove_tree(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)
