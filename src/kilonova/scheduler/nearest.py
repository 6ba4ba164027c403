"""The nearest fit: the smallest change of the request, or of one host, that would have let a server in.

A host is near when only one rule speaks against it. For each rule with such hosts: how many there are, and the one of them that
lacks the least.
"""

import msgspec
import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.ranking import Ranking
from kilonova.scheduler.rules import Filters
from kilonova.scheduler.view import Bools, Floats, HostView, Ints

_SHOWN = 5


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """Were it not for ``rules``, ``hosts`` hosts would take it; ``host`` is the nearest, with what it needs and has."""

    rules: list[str]
    hosts: int
    host: str
    need: list[str]
    have: list[str]

    @property
    def text(self) -> str:
        """In words, for the administrator."""
        wants = "; ".join(
            f"{rule} needs {need}, there is {have}"
            for rule, need, have in zip(self.rules, self.need, self.have, strict=True)
        )
        others = f" (and {self.hosts - 1} more)" if self.hosts > 1 else ""
        return f"{self.host}{others}: {wants}"


def nearest(ranking: Ranking, filters: Filters) -> list[Nearest]:
    """What would have helped, the smallest change first: one rule, hosts that are up before those that are not."""
    fails = ranking.fails()
    if not fails or not len(ranking.view):
        return []
    against = np.sum(list(fails.values()), axis=0)
    fewest = int(against.min())
    near = against == fewest
    if fewest > 1:
        row = _least_short(ranking.view, ranking.request, near)
        return [_of(ranking, filters, [name for name, failed in fails.items() if failed[row]], near, row)]
    found = []
    for name, failed in fails.items():
        if (only := near & failed).any():
            found.append(_of(ranking, filters, [name], only, _least_short(ranking.view, ranking.request, only)))
    return sorted(found, key=lambda one: one.rules == ["ComputeFilter"])[:_SHOWN]


def _of(ranking: Ranking, filters: Filters, rules: list[str], near: Bools, row: int) -> Nearest:
    explained = [filters[name].explain(ranking.view, row, ranking.request) for name in rules]
    return Nearest(
        rules=rules,
        hosts=int(near.sum()),
        host=ranking.view.names[row],
        need=[need for need, _ in explained],
        have=[have for _, have in explained],
    )


def _least_short(view: HostView, request: ScheduleServer, among: Bools) -> int:
    """The host that lacks the smallest share of what is asked for; the first of equals."""
    need = request.need
    short: Floats = np.zeros(len(view))
    for wanted, free in (
        (need.vcpus, view.vcpus_free),
        (need.memory_mb, view.memory_free),
        (need.disk_gb, view.disk_free),
    ):
        if wanted:
            short += np.maximum(wanted - free, 0) / wanted
    rows: Ints = np.flatnonzero(among)
    return int(rows[short[rows].argmin()])
