"""The nearest fit: the smallest changes of the request, or of one host, that would have let a server in.

A change of the request is tried by asking all rules again about the request with that change, so it is right for rules that
nobody here knows. A host is near when only one rule speaks against it. Looked for only when no host fits, and pure.
"""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.flavor import Flavor
from kilonova.scheduler.changes import (
    NOTHING,
    Change,
    all_at_once,
    demanding_less,
    demands,
    flavored,
    other_flavors,
    sized,
    wishes,
)
from kilonova.scheduler.ranking import Ranking
from kilonova.scheduler.rules import Filters, is_costly
from kilonova.scheduler.view import Bools, Floats, HostView, Ints

_SHOWN = 8
_HOSTS_SHOWN = 3
_ZONES_SHOWN = 3
_FLAVORS_TRIED = 24  # that have room somewhere, by every rule
_MEMORY_STEP = 256  # MiB: what a size that is told to users is rounded down to, as it is a host's free memory
_OUT_OF_SERVICE = ["ComputeFilter"]


class Nearest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """With one ``change`` (of the flavor, size, zone, …, or a host's) ``hosts`` hosts would take the server.

    ``name`` is the flavor's, the zone's, the hint's. ``text`` is for the server's owner and names no host; empty if it is nothing
    to him. ``host`` is the nearest host; of a host's change ``rules``, ``need`` and ``have`` say what it lacks.
    """

    change: str
    hosts: int
    name: str = ""
    text: str = ""
    host: str = ""
    rules: list[str] = []
    need: list[str] = []
    have: list[str] = []

    @property
    def details(self) -> str:
        """In words, for the administrator."""
        others = f" and {self.hosts - 1} more" if self.hosts > 1 else ""
        if self.change != "host":
            return f"{self.text} ({self.host}{others})"
        wants = "; ".join(
            f"{rule} needs {need}, there is {have}"
            for rule, need, have in zip(self.rules, self.need, self.have, strict=True)
        )
        return f"{self.host}{others}: {wants}"

    @property
    def out_of_service(self) -> bool:
        """Whether the host would take it if it were up and enabled."""
        return self.rules == _OUT_OF_SERVICE


def nearest(ranking: Ranking, filters: Filters, flavors: Sequence[Flavor] = ()) -> list[Nearest]:
    """What would have helped, the smallest change first; ``flavors`` are those that the server could have."""
    if not len(ranking.view):
        return []
    attempt = _Attempt(ranking.view, ranking.request, filters)
    of_request = [*attempt.without_wishes(), *attempt.with_other_sizes(flavors), *attempt.with_fewer_demands()]
    if not of_request:
        of_request = [*attempt.without_any_wish(), *attempt.with_two_changes(flavors)]
    return [*of_request[: _SHOWN - _HOSTS_SHOWN], *_hosts(ranking, filters)]


class _Attempt:
    """Tries changes of one request."""

    def __init__(self, view: HostView, request: ScheduleServer, filters: Filters) -> None:
        self._view = view
        self._request = request
        self._filters = filters

    def _passing(self, request: ScheduleServer, view: HostView) -> Bools:
        alive = view.everywhere().copy()
        for rule in sorted(self._filters.values(), key=is_costly):
            if is_costly(rule):
                if rule.concerns(request):
                    left = np.flatnonzero(alive)
                    alive[left] = rule.passes(view.only(left), request)
            else:
                alive &= rule.passes(view, request)
            if not alive.any():
                break
        return alive

    def _fits(self, change: Change) -> Bools:
        return self._passing(change.request, self._view.beside(change.neighbours))

    # --- wishes: zone, host, hints ----------------------------------------------------------------------------

    def without_wishes(self) -> Iterator[Nearest]:
        """In another zone, on another host, without one hint."""
        for change in wishes(self._request, self._view.neighbours):
            alive = self._fits(change)
            if not alive.any():
                continue
            if change.kind == "zone":
                yield from self._zones(alive)
            else:
                yield self._of(change, alive)

    def without_any_wish(self) -> Iterator[Nearest]:
        """When it takes more than one of them."""
        change = all_at_once(self._request, self._view.neighbours)
        if change is not None and (alive := self._fits(change)).any():
            yield self._of(change, alive)

    def with_two_changes(self, flavors: Sequence[Flavor]) -> Iterator[Nearest]:
        """Without one wish, and with another flavor."""
        for change in wishes(self._request, self._view.neighbours):
            without = _Attempt(self._view.beside(change.neighbours), change.request, self._filters)
            if (found := without._flavor(flavors)) is not None:
                text = f"It would fit {change.said} with the flavor {found.name}."
                yield msgspec.structs.replace(found, change=f"{change.kind} and flavor", text=text)

    def _zones(self, alive: Bools) -> Iterator[Nearest]:
        rows: Ints = np.flatnonzero(alive)
        zones, firsts, counts = np.unique(self._view.columns.zone[rows], return_index=True, return_counts=True)
        for at in np.argsort(-counts, kind="stable")[:_ZONES_SHOWN]:
            zone = str(self._view.records.zones[int(zones[at])])
            yield Nearest(
                change="zone",
                name=zone,
                hosts=int(counts[at]),
                text=f"It would fit in zone {zone}.",
                host=self._view.names[int(rows[firsts[at]])],
            )

    def _of(self, change: Change, alive: Bools) -> Nearest:
        return Nearest(
            change=change.kind,
            name=change.name,
            hosts=int(alive.sum()),
            text=f"It would fit {change.said}.",
            host=self._view.names[int(alive.argmax())],
        )

    # --- the flavor -------------------------------------------------------------------------------------------

    def with_other_sizes(self, flavors: Sequence[Flavor]) -> Iterator[Nearest]:
        """Another flavor, and how large it may be at most."""
        if (flavor := self._flavor(flavors)) is not None:
            yield flavor
        roomy = self._passing(sized(self._request, NOTHING), self._view)
        if roomy.any():
            yield from self._size(roomy)

    def _flavor(self, flavors: Sequence[Flavor]) -> Nearest | None:
        vcpus, memory, disk = self._view.vcpus_free, self._view.memory_free, self._view.disk_free
        tried = 0
        for flavor, need in other_flavors(self._request, flavors):
            room = (vcpus >= need.vcpus) & (memory >= need.memory_mb) & (disk >= need.disk_gb)
            if not room.any():
                continue
            tried += 1
            alive = self._passing(flavored(self._request, flavor), self._view)
            if alive.any():
                text = f"The flavor {flavor.name} would fit."
                host = self._view.names[int(alive.argmax())]
                return Nearest(change="flavor", name=flavor.name, hosts=int(alive.sum()), text=text, host=host)
            if tried == _FLAVORS_TRIED:
                break
        return None

    def _size(self, roomy: Bools) -> Iterator[Nearest]:
        """The one host of those that only lack room which lacks the smallest share of it."""
        row = least_short(self._view, self._request, roomy)
        need, view = self._request.need, self._view
        most = msgspec.structs.replace(
            need,
            vcpus=min(need.vcpus, int(view.vcpus_free[row])),
            memory_mb=_rounded(need.memory_mb, int(view.memory_free[row])),
            disk_gb=min(need.disk_gb, int(view.disk_free[row])),
        )
        parts = [
            f"{amount} {unit}"
            for amount, wanted, unit in (
                (most.vcpus, need.vcpus, "core" if most.vcpus == 1 else "cores"),
                (most.memory_mb, need.memory_mb, "MiB memory"),
                (most.disk_gb, need.disk_gb, "GiB disk"),
            )
            if amount < wanted
        ]
        if not parts or most.vcpus < 1 or most.memory_mb < max(self._request.least_memory_mb, 1):
            return
        if need.disk_gb and most.disk_gb < max(self._request.least_disk_gb, 1):
            return
        alive = self._passing(sized(self._request, most), view)
        if alive.any():
            text = f"A flavor with at most {', '.join(parts)} would fit."
            yield Nearest(change="size", hosts=int(alive.sum()), text=text, host=view.names[row])

    # --- what image and flavor demand -------------------------------------------------------------------------

    def with_fewer_demands(self) -> Iterator[Nearest]:
        """Without the property of the image, or the extra spec of the flavor, that no host has; or without several."""
        for kind, keys in demands(self._request):
            change, alive = self._less(kind, keys)
            if alive.any():
                yield self._of(*self._least(kind, keys, change, alive))

    def _least(self, kind: str, keys: list[str], change: Change, alive: Bools) -> tuple[Change, Bools]:
        """Those that matter, looked for by halves, as there can be hundreds."""
        while len(keys) > 1:
            middle = len(keys) // 2
            for half in (keys[:middle], keys[middle:]):
                smaller, left = self._less(kind, half)
                if left.any():
                    keys, change, alive = half, smaller, left
                    break
            else:
                break
        return change, alive

    def _less(self, kind: str, keys: list[str]) -> tuple[Change, Bools]:
        change = demanding_less(self._request, self._view.neighbours, kind, keys)
        return change, self._fits(change)


# --- hosts -----------------------------------------------------------------------------------------------------


def _hosts(ranking: Ranking, filters: Filters) -> list[Nearest]:
    """Hosts with fewest rules against them: for each rule how many there are, and the one of them that lacks the least."""
    fails = ranking.fails()
    if not fails:
        return []
    against = np.sum(list(fails.values()), axis=0)
    fewest = int(against.min())
    near = against == fewest
    if fewest > 1:
        row = least_short(ranking.view, ranking.request, near)
        return [_host(ranking, filters, [name for name, failed in fails.items() if failed[row]], 1, row)]
    found = []
    for name, failed in fails.items():
        if (only := near & failed).any():
            row = least_short(ranking.view, ranking.request, only)
            found.append(_host(ranking, filters, [name], int(only.sum()), row))
    return sorted(found, key=lambda one: one.out_of_service)[:_HOSTS_SHOWN]


def _host(ranking: Ranking, filters: Filters, rules: list[str], hosts: int, row: int) -> Nearest:
    explained = [filters[name].explain(ranking.view, row, ranking.request) for name in rules]
    away = "A host that could take it is" if hosts == 1 else f"{hosts} hosts that could take it are"
    return Nearest(
        change="host",
        hosts=hosts,
        text=f"{away} out of service now." if rules == _OUT_OF_SERVICE else "",
        host=ranking.view.names[row],
        rules=rules,
        need=[need for need, _ in explained],
        have=[have for _, have in explained],
    )


def least_short(view: HostView, request: ScheduleServer, among: Bools) -> int:
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


def _rounded(wanted: int, free: int) -> int:
    return wanted if free >= wanted else free - free % _MEMORY_STEP
