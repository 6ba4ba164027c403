"""A decision and its reasons: what each rule dropped, how the best were ranked, what would have let it in."""

from typing import Any

import msgspec

from kilonova.scheduler.nearest import Nearest
from kilonova.scheduler.ranking import Ranked


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A host, the first rule that dropped it, what that rule needed and what was there."""

    host: str
    rule: str
    need: str
    have: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided and why. ``row`` is the chosen host's row in the view, None if none fits.

    ``counts`` says how many of the ``considered`` hosts each rule was the first to drop, ``ranking`` holds the best of the
    others. ``dropped`` names hosts: all if they are few, else examples. ``nearest``: only when none fits.
    """

    row: int | None
    host: str | None
    zone: str | None
    considered: int
    counts: dict[str, int]
    ranking: list[Ranked]
    dropped: list[Dropped]
    nearest: list[Nearest] = []

    def details(self) -> dict[str, Any]:
        """As it is written into the timeline."""
        details = {
            "chosen": self.host,
            "considered": self.considered,
            "dropped_by": self.counts,
            "ranking": msgspec.to_builtins(self.ranking),
            "dropped": msgspec.to_builtins(self.dropped),
        }
        return {**details, "nearest": msgspec.to_builtins(self.nearest)} if self.nearest else details


def explain_failure(decision: Decision) -> tuple[str, str]:
    """The fault of a server that fits nowhere: a safe sentence for the user, the numbers for the administrator."""
    if decision.considered == 0:
        return "No valid host was found. There is no compute host yet.", "no nova-compute has reported a host"
    reasons = ", ".join(f"{rule} dropped {count}" for rule, count in decision.counts.items())
    message = f"No valid host was found. Of {decision.considered} hosts none can take it: {reasons}."
    lines = [f"{d.host}: {d.rule} needed {d.need}, there was {d.have}" for d in decision.dropped]
    return message, "\n".join([*lines, *(f"nearest: {near.text}" for near in decision.nearest)])
