"""A decision and its reasons: what each rule dropped, how the best were ranked, what would have let it in."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import users_hints
from kilonova.scheduler.nearest import Nearest
from kilonova.scheduler.ranking import Ranked

_SAID = 3  # changes that a fault names; the decision itself holds more
_LONGEST = 1000  # characters of what a user is told; names of flavors and zones have up to 255


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A host, the first rule that dropped it, what that rule needed and what was there."""

    host: str
    rule: str
    need: str
    have: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided and why. ``row`` is the chosen host's row in the view, None if none fits.

    ``counts`` says how many of the ``considered`` hosts each rule was the first to drop, ``ranking`` holds the best of the
    others. ``dropped`` names hosts: all if they are few, else examples. ``nearest``: only when none fits, and only once it was
    asked for.
    """

    row: int | None
    host: str | None
    zone: str | None
    considered: int
    counts: dict[str, int]
    ranking: list[Ranked]
    dropped: list[Dropped]
    nearest: list[Nearest] = []

    def summary(self) -> dict[str, Any]:
        """As the action's timeline keeps it, for ever."""
        return {"chosen": self.host, "considered": self.considered, "dropped_by": self.counts}

    def details(self) -> dict[str, Any]:
        """As the table of decisions keeps it, for some time."""
        details = {
            "considered": self.considered,
            "dropped_by": self.counts,
            "ranking": msgspec.to_builtins(self.ranking),
            "dropped": msgspec.to_builtins(self.dropped),
        }
        return {**details, "nearest": msgspec.to_builtins(self.nearest)} if self.nearest else details


def asked_for(request: ScheduleServer) -> dict[str, Any]:
    """What a decision was about, in the request's own terms; what it did not ask for is missing."""
    every = {
        "flavor": request.flavor,
        "vcpus": request.need.vcpus,
        "memory_mb": request.need.memory_mb,
        "disk_gb": request.need.disk_gb,
        "resources": request.need.custom,
        "availability_zone": request.availability_zone,
        "hints": users_hints(request.hints),
        "image_properties": request.guest.properties,
        "extra_specs": request.guest.extra_specs,
        "requested_host": request.requested_host,
        "excluded_hosts": request.excluded_hosts,
        "forced": request.forced,
    }
    return {key: value for key, value in every.items() if value not in (None, "", {}, [], False)}


def explain_failure(decision: Decision) -> tuple[str, str]:
    """The fault of a server that fits nowhere: a safe sentence for the user, the numbers for the administrator."""
    if decision.considered == 0:
        return "No valid host was found. There is no compute host yet.", "no nova-compute has reported a host"
    reasons = ", ".join(f"{rule} dropped {count}" for rule, count in decision.counts.items())
    message = f"No valid host was found. Of {decision.considered} hosts none can take it: {reasons}."
    lines = [f"{d.host}: {d.rule} needed {d.need}, there was {d.have}" for d in decision.dropped]
    lines += [f"nearest: {near.details}" for near in decision.nearest]
    return " ".join([message, *_said(decision.nearest)]), "\n".join(lines)


def _said(found: Sequence[Nearest]) -> list[str]:
    said: list[str] = []
    for text in [near.text for near in found if near.text][:_SAID]:
        if sum(map(len, said)) + len(text) <= _LONGEST:
            said.append(text)
    return said
