"""Machines whose guests outlive the agents, and which remember every first instruction.

``Machine`` is what stays: guests, and the record of who ran where. ``SimulatedDriver`` is the shipped fake driver of one
agent's life on it, with delays and failures before and after each effect.
"""

import asyncio
from collections.abc import Callable

from kilonova.hypervisor.driver import ImageUploader, Progress, Stage
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.journal import FakeGuest, Journal
from kilonova.hypervisor.fake.settings import FakeSettings
from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestSpec, GuestState, ImageUpload
from kilonova.simulation.loop import SimulatedClock, SimulatedLoop
from kilonova.simulation.trace import Trace
from kilonova.simulation.weather import Weather

Ran = Callable[[str, str, bool], None]
"""Told host and server when a guest boots, and whether these are the very first instructions of this guest."""


class Machine(Journal):
    """One compute host below its agent. ``sick`` names the verbs that fail now, they take up to ``pace`` and
    ``slow`` seconds, and none ends while it is not ``free``."""

    def __init__(self, host: str, settings: FakeSettings, pace: float) -> None:
        super().__init__(None)
        self.pace = pace
        self.host = host
        self.settings = settings
        self.guests: dict[str, FakeGuest] = {}
        self.sick: set[str] = set()
        self.slow: float = 0.0
        self.free: asyncio.Event = asyncio.Event()  # not set: no verb ends
        self.free.set()
        self.powered = True

    def load(self) -> dict[str, FakeGuest]:
        return self.guests

    def lose_power(self) -> None:
        """What runs, runs no more; what is on the disks stays there."""
        self.powered = False
        for guest in self.guests.values():
            if guest.state in (GuestState.RUNNING, GuestState.PAUSED):
                guest.state = GuestState.CRASHED

    def running(self) -> list[str]:
        """The servers whose guests execute instructions now."""
        return [key for key, guest in self.guests.items() if guest.state is GuestState.RUNNING]


class SimulatedDriver(FakeDriver):
    """The driver of one agent. A verb of a killed agent goes no further."""

    def __init__(
        self,
        machine: Machine,
        loop: SimulatedLoop,
        clock: SimulatedClock,
        weather: Weather,
        trace: Trace,
        ran: Ran,
        uploader: ImageUploader,
    ) -> None:
        super().__init__(clock, weather.source, machine.settings, uploader=uploader)
        self._journal = machine
        self._machine = machine
        self._loop = loop
        self._weather = weather
        self._trace = trace
        self._ran = ran

    async def stop(self) -> None:
        self._events.put_nowait(None)

    async def _work(
        self,
        verb: str,
        server_id: str | None,
        longest: float | None = None,
        until: Callable[[], bool] | None = None,
    ) -> None:
        """The time before the effect."""
        weather = self._weather
        seconds = (self._machine.pace + self._machine.slow) * weather.source.random()
        if weather.strikes("hypervisor.slow"):
            seconds += weather.source.expovariate(0.2)
        await self._clock.sleep(seconds)
        await self._machine.free.wait()
        if verb != "start" and (verb in self._machine.sick or weather.strikes("hypervisor.fault")):
            self._note(f"{verb} fails", server_id)
            elsewhere = weather.source.random() < 0.8
            raise HostFault(f"{verb} of {server_id} failed on {self._machine.host}", retry=elsewhere)
        self._note(verb, server_id)

    async def _after(self, verb: str, server_id: str) -> None:
        """The time after it, in which the answer may turn out bad although the deed is done."""
        await self._clock.sleep(self._weather.latency())
        if self._weather.strikes("hypervisor.fault"):
            self._note(f"{verb} done, fails", server_id)
            raise HostFault(f"{verb} of {server_id} on {self._machine.host} did not say that it was done", retry=True)

    async def prepare(self, spec: GuestSpec, progress: Progress) -> None:
        await super().prepare(spec, progress)
        await self._after("prepare", spec.server_id)

    async def release(self, server_id: str) -> None:
        await super().release(server_id)
        await self._after("release", server_id)

    async def move(self, server_id: str, ticket: str) -> None:
        await super().move(server_id, ticket)
        await self._after("move", server_id)

    async def snapshot(self, server_id: str, upload: ImageUpload, stage: Stage) -> None:
        await super().snapshot(server_id, upload, stage)
        await self._after("snapshot", server_id)

    async def destroy(self, server_id: str) -> None:
        await super().destroy(server_id)
        await self._after("destroy", server_id)

    def _go_on(self, guest: FakeGuest) -> None:
        self._note("goes on", guest.spec.server_id)
        self._ran(self._machine.host, guest.spec.server_id, False)
        super()._go_on(guest)

    def _boot(self, guest: FakeGuest) -> None:
        self._note("first instruction" if guest.lives == 0 else "boots", guest.spec.server_id)
        self._ran(self._machine.host, guest.spec.server_id, guest.lives == 0)
        super()._boot(guest)

    def _note(self, what: str, server_id: str | None) -> None:
        self._trace.add(self._loop.time(), self._machine.host, "machine", (what, (server_id or "")[:8]))
