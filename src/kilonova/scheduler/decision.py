"""Chooses a host. Pure: a view and a request in, a decision with its reasons out."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.clock import Random
from kilonova.scheduler.hosts import Bools, Floats, HostView
from kilonova.scheduler.rules import Filter, Weigher

_SHOWN = 20  # hosts named in an explanation; the rest is counted


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A host, the first rule that dropped it, what that rule needed and what was there."""

    host: str
    rule: str
    need: str
    have: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided and why. ``row`` is the chosen host's row in the view, None if none fits.

    ``ranking`` holds the best hosts with their weights; ``counts`` how many hosts each rule dropped.
    """

    row: int | None
    host: str | None
    considered: int
    counts: dict[str, int]
    ranking: list[tuple[str, float]]
    dropped: list[Dropped]

    def details(self) -> dict[str, Any]:
        """As it is written into the timeline."""
        return {
            "chosen": self.host,
            "considered": self.considered,
            "dropped_by": self.counts,
            "ranking": [{"host": host, "weight": round(weight, 4)} for host, weight in self.ranking],
            "dropped": [msgspec.to_builtins(dropped) for dropped in self.dropped],
        }


def decide(
    view: HostView,
    request: ScheduleServer,
    filters: Mapping[str, Filter],
    weighers: Mapping[str, tuple[Weigher, float]],
    *,
    subset: int,
    random: Random,
) -> Decision:
    """Filter, rank, and choose among the ``subset`` best."""
    alive = np.ones(len(view), dtype=np.bool_)
    counts: dict[str, int] = {}
    dropped: list[Dropped] = []
    for name, rule in filters.items():
        passing = rule.passes(view, request) & alive
        _note(view, request, name, rule, alive & ~passing, counts, dropped)
        alive = passing
    rows = np.flatnonzero(alive)
    if rows.size == 0:
        return Decision(row=None, host=None, considered=len(view), counts=counts, ranking=[], dropped=dropped)
    weights = _weights(view, request, weighers, alive)[rows]
    order = np.argsort(-weights, kind="stable")
    row = int(rows[order[_pick(weights[order], subset, random)]])
    return Decision(
        row=row,
        host=view.names[row],
        considered=len(view),
        counts=counts,
        ranking=[(view.names[int(rows[at])], float(weights[at])) for at in order[:5]],
        dropped=dropped,
    )


def _pick(ranked: Floats, subset: int, random: Random) -> int:
    """Among the ``subset`` best and all that equal the best: two schedulers should not both take the first of equals."""
    equals = int(np.count_nonzero(ranked >= ranked[0] - 1e-9))
    among = min(max(subset, equals), ranked.size)
    return random.randrange(among) if among > 1 else 0


def _note(
    view: HostView,
    request: ScheduleServer,
    name: str,
    rule: Filter,
    gone: Bools,
    counts: dict[str, int],
    dropped: list[Dropped],
) -> None:
    rows = np.flatnonzero(gone)
    if rows.size == 0:
        return
    counts[name] = int(rows.size)
    for row in rows[: _SHOWN - len(dropped)]:
        need, have = rule.explain(view, int(row), request)
        dropped.append(Dropped(host=view.names[int(row)], rule=name, need=need, have=have))


def _weights(
    view: HostView, request: ScheduleServer, weighers: Mapping[str, tuple[Weigher, float]], alive: Bools
) -> Floats:
    """Each weigher normalised to 0…1 over the hosts that are left, times its multiplier, as Nova adds them up."""
    total = np.zeros(len(view), dtype=np.float64)
    for weigher, multiplier in weighers.values():
        raw = weigher.weigh(view, request)
        low, high = raw[alive].min(), raw[alive].max()
        if high > low:
            total += multiplier * (raw - low) / (high - low)
    return total


def explain_failure(decision: Decision, request: ScheduleServer) -> tuple[str, str]:
    """The fault of a server that fits nowhere: a safe sentence for the user, the numbers for the administrator."""
    if decision.considered == 0:
        return "No valid host was found. There is no compute host yet.", "no nova-compute has reported a host"
    reasons = ", ".join(f"{rule} dropped {count}" for rule, count in decision.counts.items())
    message = f"No valid host was found. Of {decision.considered} hosts none can take it: {reasons}."
    lines = [f"{d.host}: {d.rule} needed {d.need}, there was {d.have}" for d in decision.dropped]
    nearest = _nearest(decision)
    return message, "\n".join([*lines, nearest] if nearest else lines)


def _nearest(decision: Decision) -> str:
    """The host that came furthest, and what it lacked."""
    fits = [dropped for dropped in decision.dropped if dropped.rule == "CapacityFilter"]
    if not fits:
        return ""
    best = fits[-1] if len(fits) == 1 else min(fits, key=lambda dropped: dropped.need.count(","))
    return f"nearest: {best.host} lacks only {best.need} (there was {best.have})"
