"""What would be decided, without claiming anything: the same decider, on a fleet that belongs to the question alone.

Pure, and one decision at a time, so that whoever asks can give way in between.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.flavor import Flavor
from kilonova.model.placement import Neighbours
from kilonova.scheduler.decider import Batch, Decider
from kilonova.scheduler.decision import Decision, asked_for


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A server that needs a host, and what it has to mind there. ``leaves``: the host it is on, and counts on, until then."""

    request: ScheduleServer
    neighbours: Neighbours | None
    name: str = ""
    leaves: str | None = None


def place(decider: Decider, wanted: Wanted, count: int, flavors: Sequence[Flavor]) -> Iterator[Decision]:
    """Place up to ``count`` servers that are alike; a decision for each, the last one without a host if they did not all fit."""
    together = Batch()
    for _ in range(count):
        decision = decider.decide(wanted.request, together, wanted.neighbours, reasons=False)
        if decision.row is None:
            yield decider.explain(decision, wanted.request, together, wanted.neighbours, flavors)
            return
        yield decision


def empty(
    decider: Decider, leaving: Sequence[Wanted], flavors: Sequence[Flavor]
) -> Iterator[tuple[Wanted, Decision]]:
    """A place for each of the servers that leave their hosts, the largest first, as they are the hardest to place."""
    for wanted in sorted(leaving, key=lambda one: (-one.request.need.memory_mb, -one.request.need.vcpus)):
        together = Batch()  # each sees its group without itself, so none shares a ranking with another
        decision = decider.decide(wanted.request, together, wanted.neighbours, reasons=False)
        if decision.host is None:
            yield wanted, decider.explain(decision, wanted.request, together, wanted.neighbours, flavors)
            continue
        for other in leaving:
            if other is not wanted and _in_one_group(other.neighbours, wanted.neighbours):
                assert other.neighbours is not None
                _move(other.neighbours.members, wanted.leaves, decision.host)
        yield wanted, decision


def _in_one_group(one: Neighbours | None, other: Neighbours | None) -> bool:
    if one is None or other is None or one.group is None or other.group is None:
        return False
    return one.group.id == other.group.id


def _move(members: dict[str, int], source: str | None, destination: str) -> None:
    if source is not None and members.get(source, 0):
        members[source] -= 1
        if not members[source]:
            del members[source]
    members[destination] = members.get(destination, 0) + 1


# --- answers ---------------------------------------------------------------------------------------------------


class Tally:
    """How many of a number of servers fit, and where."""

    def __init__(self, wanted: Wanted, count: int) -> None:
        self._wanted = wanted
        self._count = count
        self._on: Counter[tuple[str, str]] = Counter()
        self._stopped_by: Decision | None = None

    def add(self, decision: Decision) -> None:
        """One more server was decided on."""
        if decision.host is None:
            self._stopped_by = decision
        else:
            self._on[decision.host, decision.zone or ""] += 1

    def answer(self) -> dict[str, Any]:
        """As the API tells it: the fullest hosts first."""
        places = sorted(self._on.items(), key=lambda item: (-item[1], item[0]))
        return {
            "asked": asked_for(self._wanted.request),
            "count": self._count,
            "fits": self._on.total(),
            "placements": [{"host": host, "zone": zone, "servers": servers} for (host, zone), servers in places],
            "stopped_by": None if self._stopped_by is None else self._stopped_by.details(),
        }


def departure(wanted: Wanted, decision: Decision) -> dict[str, Any]:
    """What would become of one server of a host that is drained."""
    told: dict[str, Any] = {
        "id": wanted.request.guest.server_id,
        "name": wanted.name,
        "fits": decision.host is not None,
        "asked": asked_for(wanted.request),
    }
    if decision.host is not None:
        return {**told, "host": decision.host, "zone": decision.zone}
    return {**told, "stopped_by": decision.details()}
