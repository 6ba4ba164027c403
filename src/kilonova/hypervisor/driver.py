"""The protocol every hypervisor driver fulfils: few verbs, data for the rest.

Rules that the contract suite (``tests/contract/test_driver.py``) checks on every implementation:

- **Every verb is idempotent**: asked twice, it finds its own work and goes on.
- **prepare never runs the guest.** After it the guest is ``PREPARED``: disks there, devices plugged, the
  processors stopped. ``release`` lets it execute its first instruction. Between the two lies the database's word.
- **destroy ends with nothing left** (process, disks, taps), and succeeds when there was nothing.
- A failure is a ``HostFault`` whose message names the object and what to do; ``retry`` tells whether another
  host may succeed (no disk space: yes; a broken image: no).
- Verbs may take seconds, and may be cancelled: what they leave is found by the next call for that server.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from kilonova.model.diagnostics import GuestDiagnostics
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

Progress = Callable[[str], None]
"""Told the name of each stage as it begins (``image``, ``disk``, ``network``, ``process``)."""

Stage = Callable[[str], Awaitable[None]]
"""The same for a snapshot (``copy``, ``upload``); may raise ``Stale`` to stop it."""


class ImageUploader(Protocol):
    """Sends an image's bytes away. Given by whoever knows the image service."""

    async def upload(self, upload: ImageUpload, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Send ``size`` bytes. Raises ``NotFound`` if the image is gone, ``HostFault``, ``Unavailable``."""
        ...


class Driver(Protocol):
    """One machine's hypervisor."""

    async def start(self) -> Capabilities:
        """Probe the machine, attach to guests that run already. Raises ``Misconfigured`` if it cannot serve."""
        ...

    async def stop(self) -> None:
        """Let go of everything; the guests keep running."""
        ...

    async def resources(self) -> HostResources:
        """What the machine has."""
        ...

    async def list_guests(self) -> list[Guest]:
        """Every guest of ours on this machine, running or not."""
        ...

    async def show_guest(self, server_id: str) -> Guest | None:
        """One of them, or None."""
        ...

    async def prepare(self, spec: GuestSpec, progress: Progress) -> None:
        """Make the guest ready, processors stopped. If ``spec.epoch`` is below the stored one: ``Stale``.

        ``in_place`` it is made of the one that is off here (``HostFault`` if there is none): its disk stays, and grows if
        it has to. A failure leaves that one as it is or as the spec says, so that another such call can make it anything.
        """
        ...

    async def release(self, server_id: str) -> None:
        """Let a prepared guest run; nothing happens if it runs already. ``NotFound`` if there is none.

        One whose spec says ``stays_off`` is off from then on instead, and has not run.
        """
        ...

    async def move(self, server_id: str, ticket: str) -> None:
        """Hand a running or paused guest over to one that waits (``Guest.incoming``) on another host.

        After it the guest is ``MOVED``: it stands here, and ``release`` lets it go on if the other one will not. Cancelled or
        failed (``HostFault``), it has gone on all the time. A guest that is paused meanwhile is handed over soon.
        """
        ...

    async def destroy(self, server_id: str) -> None:
        """End the guest and remove all it had here."""
        ...

    async def power_on(self, server_id: str, *, rescue: GuestSpec | None = None) -> None:
        """Start a guest that is off, from its own disk; a paused or suspended one goes on where it was.

        With ``rescue`` it boots that spec's image and config drive instead, its own disk being the second. Any later boot is
        from its own disk again.
        """
        ...

    async def power_off(self, server_id: str, grace: float) -> None:
        """Ask the guest to shut down, and cut the power after ``grace`` seconds (0: at once)."""
        ...

    async def reboot(self, server_id: str, *, hard: bool, grace: float) -> None:
        """Soft: ask it, fall back to hard after ``grace`` seconds. Hard: a new process from the spec."""
        ...

    async def change_nics(self, server_id: str, nics: list[Nic]) -> None:
        """Give the guest these network cards and no others; those it has stay as they are.

        A guest that runs is asked to let go of a card, and may refuse (``HostFault``); then it still has it.
        """
        ...

    async def set_paused(self, server_id: str, paused: bool) -> None:
        """Stop the processors of a running guest, or let those of a paused one go on. ``Conflict`` for one that is off."""
        ...

    async def suspend(self, server_id: str) -> None:
        """Keep a running or paused guest's memory on disk and free the rest; ``power_on`` goes on where it was.

        A ``power_off`` or ``reboot`` of a suspended guest throws its memory away.
        """
        ...

    async def snapshot(self, server_id: str, upload: ImageUpload, stage: Stage) -> None:
        """Upload a copy of the guest's root disk, standing alone, as of one moment. Nothing of the copy stays here.

        A running guest goes on meanwhile; its disk is as it would be if its power were cut at that moment. Raises
        ``Unsupported`` if this driver cannot.
        """
        ...

    async def command(self, server_id: str, command: GuestCommand) -> None:
        """Do something inside a guest that is up. ``Unsupported`` if this driver cannot, ``Conflict`` if it is off."""
        ...

    async def console_output(self, server_id: str, lines: int | None) -> str:
        """The last ``lines`` of the serial console (None: all that is kept), what follows the last line feed being one
        of them. ``NotFound`` if there is none."""
        ...

    async def diagnose(self, server_id: str) -> GuestDiagnostics:
        """What is measured of a guest now. ``NotFound`` if there is none."""
        ...

    async def cache_image(self, image: ImageTicket) -> None:
        """Have an image here before a guest needs it; nothing happens if it is here."""
        ...

    def events(self) -> AsyncIterator[tuple[str, GuestState]]:
        """Changes nobody asked for: a guest that shut itself down or crashed."""
        ...
