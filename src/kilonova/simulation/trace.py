"""What happened in a world, in order: kept as it came, put into words only when somebody wants to read it."""

import hashlib
from collections.abc import Iterator

import msgspec

from kilonova.messaging.contract import Message

_SHOWN = (
    "step",
    "kind",
    "epoch",
    "accepted",
    "reason",
    "host",
    "taking_over",
    "task_state",
    "message",
    "text",
    "lost",
)


class Trace:
    """Moment, who, what, and about what. ``keep`` False only for the speed of a search without a reader."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, str, str, object]] = []

    def add(self, moment: float, who: str, what: str, about: object = "") -> None:
        """Note one event."""
        self._entries.append((moment, who, what, about))

    def __len__(self) -> int:
        return len(self._entries)

    def lines(self) -> Iterator[str]:
        """The whole story, one event a line."""
        for moment, who, what, about in self._entries:
            yield f"{moment:11.6f}  {who:<12} {what:<15} {_words(about)}".rstrip()

    def digest(self) -> str:
        """A short name of the whole: equal for equal stories."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()[:16]


def _words(about: object) -> str:
    if isinstance(about, tuple):
        return " ".join(_words(part) for part in about)
    if isinstance(about, Message):
        ids = [f"{name[:-3]}={_short(own)}" for name in ("server_id", "action_id") if (own := _id(about, name))]
        rest = [f"{name}={value}" for name in _SHOWN if (value := getattr(about, name, None)) not in (None, "", [])]
        return " ".join([type(about).__name__, *ids, *rest])
    if isinstance(about, msgspec.Struct):
        return repr(about)
    return str(about)


def _id(message: Message, name: str) -> str:
    return str(getattr(message, name, "") or "")


def _short(identifier: str) -> str:
    return identifier[:8]
