"""Keeps fake guests over a restart of the process, as real ones are kept by their own processes.

One line is appended for each change and nothing is ever waited for on disk (no fsync): the kernel has the line
even if we are killed in the next instant. Only a crash of the whole machine can lose lines, and there real
guests would be gone as well: the agent finds that they are missing or in an older state, and reconciles. So a lost
write is safe, and a change costs microseconds, however many guests there are.
"""

from pathlib import Path

import msgspec

from kilonova.model.guest import GuestSpec, GuestState

SLACK = 1000
"""The file is written anew when it has this many lines more than there are guests."""


class FakeGuest(msgspec.Struct, kw_only=True):
    """A guest that only exists here. ``lives`` counts its boots; ``booted_at`` is the last one, in microseconds; ``said`` is what
    its console has on it beside what every boot says; ``paused``: it was when it was handed over;
    ``rescued``: it was booted into a rescue system last."""

    spec: GuestSpec
    state: GuestState
    released: bool = False
    lives: int = 0
    booted_at: int = 0
    said: str = ""
    paused: bool = False
    rescued: bool = False


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One change: the guest as it is now, or None for one that is gone. A change of state leaves the spec out."""

    id: str
    guest: FakeGuest | None = None
    state: GuestState | None = None
    released: bool = False
    lives: int = 0
    booted_at: int = 0
    said: str = ""
    paused: bool = False
    rescued: bool = False


class Journal:
    """The file. With ``path`` None nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lines = 0
        self._encoder = msgspec.json.Encoder()

    def load(self) -> dict[str, FakeGuest]:
        """Every guest the file knows; the file is written anew."""
        if self._path is None:
            return {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        guests = read(self._path)
        self._rewrite(guests)
        return guests

    def put(self, guest: FakeGuest, guests: dict[str, FakeGuest]) -> None:
        """A guest is new, or has a new spec."""
        self._append(_Line(id=guest.spec.server_id, guest=guest), guests)

    def change(self, guest: FakeGuest, guests: dict[str, FakeGuest]) -> None:
        """A guest's state changed, not its spec."""
        self._append(
            _Line(
                id=guest.spec.server_id,
                state=guest.state,
                released=guest.released,
                lives=guest.lives,
                booted_at=guest.booted_at,
                said=guest.said,
                paused=guest.paused,
                rescued=guest.rescued,
            ),
            guests,
        )

    def remove(self, server_id: str, guests: dict[str, FakeGuest]) -> None:
        """A guest is gone."""
        self._append(_Line(id=server_id), guests)

    def _append(self, line: _Line, guests: dict[str, FakeGuest]) -> None:
        if self._path is None:
            return
        if self._lines > 2 * len(guests) + SLACK:
            self._rewrite(guests)
            return
        # Opened each time: thousands of fake hosts in one process must not hold thousands of files.
        with self._path.open("ab", buffering=0) as file:
            file.write(self._encoder.encode(line) + b"\n")
        self._lines += 1

    def _rewrite(self, guests: dict[str, FakeGuest]) -> None:
        if self._path is None:
            return
        unfinished = self._path.with_name(f"{self._path.name}.new")
        lines = [self._encoder.encode(_Line(id=key, guest=guest)) + b"\n" for key, guest in guests.items()]
        # The guests' data may be secret: only the owner reads it.
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(b"".join(lines))
        unfinished.rename(self._path)
        self._lines = len(lines)


def read(path: Path) -> dict[str, FakeGuest]:
    """The guests in a file, by server; none if it is not there. A last line that was cut short counts as not written."""
    guests: dict[str, FakeGuest] = {}
    decoder = msgspec.json.Decoder(_Line)
    content = path.read_bytes() if path.exists() else b""
    for text in content.split(b"\n"):
        try:
            line = decoder.decode(text)
        except msgspec.MsgspecError:
            continue
        _apply(guests, line)
    return guests


def _apply(guests: dict[str, FakeGuest], line: _Line) -> None:
    if line.guest is not None:
        guests[line.id] = line.guest
    elif line.state is None:
        guests.pop(line.id, None)
    elif (guest := guests.get(line.id)) is not None:
        guest.state = line.state
        guest.released = line.released
        guest.lives = line.lives
        guest.booted_at = line.booted_at
        guest.said = line.said
        guest.paused = line.paused
        guest.rescued = line.rescued
