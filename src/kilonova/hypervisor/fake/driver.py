"""A hypervisor without a machine: the same protocol, the same rules, guests that are only remembered.

Shipped, not only for tests: ``--hypervisor fake`` on a machine without rights, thousands of hosts in a
test bed, the simulator. It is held to the same contract suite as the real one.
"""

import asyncio
import random  # noqa: TID251 -- the type only, the source is handed in
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from kilonova.hypervisor.driver import ImageUploader, Progress, Stage
from kilonova.hypervisor.fake.diagnostics import imitate
from kilonova.hypervisor.fake.disk import empty_qcow2
from kilonova.hypervisor.fake.journal import FakeGuest, Journal
from kilonova.hypervisor.fake.settings import FakeSettings, Fault
from kilonova.model.clock import Clock
from kilonova.model.diagnostics import GuestDiagnostics
from kilonova.model.errors import Conflict, GuestGone, HostFault, Stale, Unsupported
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
from kilonova.model.topology.given import GivenTopology

FEATURES = [
    *("config-drive", "console-output", "soft-shutdown", "resize", "migrate", "live_migrate", "resize_in_place"),
    *("pause", "suspend", "set_password", "nmi", "rescue"),
    *("graphical-console", "serial-console", "spice-console", "mks-console"),
]

_SAID = {"nmi": "non-maskable interrupt", "set_password": "the administrator's password was changed"}
_MAY_BE_MADE_OVER = (GuestState.PREPARED, GuestState.OFF, GuestState.CRASHED)
_SLICE = 0.1  # seconds after which a long verb looks whether it may end


class FakeDriver:
    """One fake host. ``state_file`` keeps its guests over a restart; without it they go with the object."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        settings: FakeSettings,
        state_file: Path | None = None,
        uploader: ImageUploader | None = None,
    ) -> None:
        self._uploader = uploader
        self._clock = clock
        self._rng = rng
        self._settings = settings
        self._topology = settings.topology()
        self._journal = Journal(state_file)
        self._faults = list(settings.faults)
        self._guests: dict[str, FakeGuest] = {}
        self.cached_images: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._events: asyncio.Queue[tuple[str, GuestState] | None] = asyncio.Queue()

    async def start(self) -> Capabilities:
        await self._work("start", None)
        self._guests = self._journal.load()
        return Capabilities(
            hypervisor_type="fake",
            version=1_000,
            accelerator="fake",
            cpu_model="fake",
            features=[*FEATURES, *(["snapshot"] if self._uploader is not None else [])],
            warning="guests are imitated: nothing runs",
        )

    async def stop(self) -> None:
        self._guests = {}
        self._events.put_nowait(None)

    async def resources(self) -> HostResources:
        settings = self._settings
        used = sum(guest.spec.disk_gb + guest.spec.ephemeral_gb for guest in self._guests.values())
        return HostResources(
            vcpus=settings.vcpus,
            memory_mb=settings.memory_mb,
            disk_gb=settings.disk_gb,
            free_disk_gb=max(0, settings.disk_gb - used),
            topology=self._topology,
        )

    async def list_guests(self) -> list[Guest]:
        return [_describe(guest) for guest in self._guests.values()]

    async def show_guest(self, server_id: str) -> Guest | None:
        guest = self._guests.get(server_id)
        return _describe(guest) if guest else None

    async def prepare(self, spec: GuestSpec, progress: Progress) -> None:
        async with self._lock(spec.server_id):
            if self._done_before(spec):
                return
            for stage in ("image", "disk", "network", "process"):
                progress(stage)
            await self._work("prepare", spec.server_id)
            guest = FakeGuest(spec=spec, state=GuestState.PREPARED)
            if spec.in_place:
                former = self._known(spec.server_id)
                guest.lives, guest.said = former.lives, former.said
            self._guests[spec.server_id] = guest
            self._journal.put(guest, self._guests)

    async def release(self, server_id: str) -> None:
        async with self._lock(server_id):
            guest = self._known(server_id)
            await self._work("release", server_id)
            if guest.state is GuestState.PREPARED:
                guest.released = True
                if guest.spec.stays_off:
                    self._become(guest, GuestState.OFF)
                elif guest.spec.incoming:
                    guest.lives = 1
                    self._hand_back(guest, paused=guest.spec.stays_paused)
                else:
                    self._boot(guest)
            elif guest.state is GuestState.MOVED:
                self._hand_back(guest, paused=guest.paused)

    async def move(self, server_id: str, ticket: str) -> None:
        guest = self._released(server_id)
        if guest.state is GuestState.MOVED:
            return
        paused = guest.state is GuestState.PAUSED
        await self._work("move", server_id, until=lambda: guest.state is not GuestState.RUNNING and not paused)
        async with self._lock(server_id):
            if self._guests.get(server_id) is not guest or guest.state not in (GuestState.RUNNING, GuestState.PAUSED):
                raise HostFault(f"the guest of server {server_id} ended while it was sent", retry=False)
            guest.paused = paused
            self._become(guest, GuestState.MOVED)

    async def destroy(self, server_id: str) -> None:
        async with self._lock(server_id):
            await self._work("destroy", server_id)
            if self._guests.pop(server_id, None) is not None:
                self._journal.remove(server_id, self._guests)

    async def power_on(self, server_id: str, *, rescue: GuestSpec | None = None) -> None:
        async with self._lock(server_id):
            guest = self._released(server_id)
            await self._work("power_on", server_id)
            if guest.rescued is not (rescue is not None):
                guest.rescued = rescue is not None
                self._boot(guest)
            elif guest.state in (GuestState.PAUSED, GuestState.SUSPENDED):
                self._go_on(guest)
            elif guest.state is not GuestState.RUNNING:
                self._boot(guest)

    async def power_off(self, server_id: str, grace: float) -> None:
        async with self._lock(server_id):
            guest = self._released(server_id)
            await self._work("power_off", server_id, longest=grace if guest.state is GuestState.RUNNING else 0)
            self._become(guest, GuestState.OFF)

    async def reboot(self, server_id: str, *, hard: bool, grace: float) -> None:
        async with self._lock(server_id):
            guest = self._released(server_id)
            await self._work("reboot", server_id, longest=0 if hard else grace)
            guest.rescued = False
            self._boot(guest)

    async def change_nics(self, server_id: str, nics: list[Nic]) -> None:
        async with self._lock(server_id):
            guest = self._released(server_id)
            await self._work("change_nics", server_id)
            guest.spec = msgspec.structs.replace(guest.spec, nics=list(nics))
            self._journal.put(guest, self._guests)

    def nics(self, server_id: str) -> list[Nic]:
        """The cards that the guest has now."""
        return self._known(server_id).spec.nics

    def topology(self, server_id: str) -> GivenTopology | None:
        """What the guest was given of this host's topology."""
        return self._known(server_id).spec.topology

    async def set_paused(self, server_id: str, paused: bool) -> None:
        async with self._lock(server_id):
            guest = self._up(server_id)
            await self._work("set_paused", server_id)
            if paused:
                self._become(guest, GuestState.PAUSED)
            elif guest.state is GuestState.PAUSED:
                self._go_on(guest)

    async def suspend(self, server_id: str) -> None:
        async with self._lock(server_id):
            if self._released(server_id).state is GuestState.SUSPENDED:
                return
            guest = self._up(server_id)
            await self._work("suspend", server_id)
            self._become(guest, GuestState.SUSPENDED)

    async def snapshot(self, server_id: str, upload: ImageUpload, stage: Stage) -> None:
        if self._uploader is None:
            raise Unsupported("this fake host was given no way to upload images")
        async with self._lock(server_id):
            guest = self._released(server_id)
            await stage("copy")
            await self._work("snapshot", server_id)
            content = empty_qcow2(max(guest.spec.disk_gb, 1) << 30)
            await stage("upload")
            await self._uploader.upload(upload, len(content), _pieces(content))

    async def command(self, server_id: str, command: GuestCommand) -> None:
        said = _SAID.get(command.verb)
        if said is None:
            raise Unsupported(f"fake guests do not know {command.verb!r}")
        async with self._lock(server_id):
            guest = self._up(server_id)
            await self._work("command", server_id)
            guest.said += f"fake guest {server_id}: {said}\n"
            self._become(guest, guest.state)

    async def console_output(self, server_id: str, lines: int | None) -> str:
        guest = self._known(server_id)
        if not guest.released:
            return ""
        text = "".join(_boot_messages(guest, life) for life in range(guest.lives)) + guest.said
        if lines is None:
            return text
        return "\n".join(text.split("\n")[-lines:]) if lines > 0 else ""

    async def diagnose(self, server_id: str) -> GuestDiagnostics:
        guest = self._known(server_id)
        return imitate(guest, self._clock.now())

    async def cache_image(self, image: ImageTicket) -> None:
        await self._work("cache_image", None)
        self.cached_images.add(image.image_id)

    async def events(self) -> AsyncIterator[tuple[str, GuestState]]:
        """One reader; ends when the driver is stopped."""
        while (event := await self._events.get()) is not None:
            yield event

    def inject(self, fault: Fault) -> None:
        """Have coming calls fail. Faults are used up in the order they were given."""
        self._faults.append(fault)

    def end_guest(self, server_id: str, state: GuestState) -> None:
        """A guest shuts itself down (``OFF``) or dies (``CRASHED``), and the event is told."""
        guest = self._known(server_id)
        self._become(guest, state)
        self._events.put_nowait((server_id, state))

    def _lock(self, server_id: str) -> asyncio.Lock:
        """One verb at a time for each guest; a lock lives as long as somebody holds or awaits it."""
        return self._locks.setdefault(server_id, asyncio.Lock())

    async def _work(
        self,
        verb: str,
        server_id: str | None,
        longest: float | None = None,
        until: Callable[[], bool] | None = None,
    ) -> None:
        """Take the verb's time, at most ``longest`` seconds and no longer than ``until``, and fail if a fault says so."""
        fault = self._due(verb, server_id)
        seconds = self._settings.delays.get(verb, 0.0)
        if seconds:
            seconds *= 1 + self._settings.jitter * (2 * self._rng.random() - 1)
        if longest is not None:
            seconds = min(seconds, longest)
        if fault is not None:
            if fault.hang:
                await asyncio.get_running_loop().create_future()
            if fault.after:
                await self._clock.sleep(fault.after)
            raise HostFault(f"{verb} of {server_id or 'the host'}: {fault.message}", retry=fault.retry)
        while until is not None and seconds > _SLICE and not until():
            await self._clock.sleep(_SLICE)
            seconds -= _SLICE
        if seconds > 0 and not (until is not None and until()):
            await self._clock.sleep(seconds)

    def _due(self, verb: str, server_id: str | None) -> Fault | None:
        for index, fault in enumerate(self._faults):
            if fault.verb == verb and fault.server_id in (None, server_id):
                if fault.times == 1:
                    del self._faults[index]
                elif fault.times > 1:
                    self._faults[index] = msgspec.structs.replace(fault, times=fault.times - 1)
                return fault
        return None

    def _done_before(self, spec: GuestSpec) -> bool:
        """Whether the guest is here already; False if it is not, or may be thrown away. The QEMU driver's rules."""
        present = self._guests.get(spec.server_id)
        if present is None and spec.in_place:
            raise HostFault(f"server {spec.server_id} has no guest here that could be resized", retry=False)
        if present is None:
            return False
        epoch = present.spec.epoch
        if spec.in_place and epoch < spec.epoch and present.state in _MAY_BE_MADE_OVER:
            return False
        if epoch > spec.epoch:
            raise Stale(f"server {spec.server_id} was prepared under epoch {epoch}, after {spec.epoch}")
        if present.released and epoch != spec.epoch:
            raise Conflict(
                f"server {spec.server_id} runs on this host already, since epoch {epoch}; "
                "destroy it there before it is built again"
            )
        return epoch == spec.epoch

    def _known(self, server_id: str) -> FakeGuest:
        guest = self._guests.get(server_id)
        if guest is None:
            raise GuestGone(f"server {server_id} is not on this host")
        return guest

    def _released(self, server_id: str) -> FakeGuest:
        guest = self._known(server_id)
        if not guest.released:
            raise Conflict(f"server {server_id} is prepared and not confirmed yet; release it first")
        return guest

    def _up(self, server_id: str) -> FakeGuest:
        guest = self._released(server_id)
        if guest.state not in (GuestState.RUNNING, GuestState.PAUSED):
            raise Conflict(f"the guest of server {server_id} is {guest.state}; start it first")
        return guest

    def _go_on(self, guest: FakeGuest) -> None:
        """It executes again where it was stopped."""
        self._become(guest, GuestState.RUNNING)

    def _boot(self, guest: FakeGuest) -> None:
        guest.lives += 1
        guest.booted_at = self._clock.now()
        self._become(guest, GuestState.RUNNING)

    def _hand_back(self, guest: FakeGuest, *, paused: bool) -> None:
        """It goes on where it was stopped, here or on the host that it came from."""
        if paused:
            self._become(guest, GuestState.PAUSED)
        else:
            self._go_on(guest)

    def _become(self, guest: FakeGuest, state: GuestState) -> None:
        guest.state = state
        self._journal.change(guest, self._guests)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _describe(guest: FakeGuest) -> Guest:
    spec = guest.spec
    return Guest(
        rescued=guest.rescued,
        server_id=spec.server_id,
        name=spec.name,
        state=guest.state,
        epoch=spec.epoch,
        incoming="fake" if spec.incoming else "",
        ports=[nic.port_id for nic in spec.nics],
    )


def _boot_messages(guest: FakeGuest, life: int) -> str:
    """What a guest says at each boot: the same last lines as the test guest."""
    spec = guest.spec
    address = spec.nics[0].address if spec.nics else "none"
    ready = f"kilonova-guest ready: hostname={spec.hostname} address={address} uptime=0.00"
    return f"fake guest {spec.server_id}, boot {life + 1}\n{ready}\n\n{spec.hostname} login: \n"
