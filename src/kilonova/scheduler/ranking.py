"""All hosts, judged and ranked for one request; kept up to date as claims are made.

The first judgement is one pass over the columns per rule. After it only the hosts whose usage has changed are judged again, so
that the next server of the same shape costs microseconds, on ten thousand hosts as on ten: a thousand servers of one
request are one problem. Weights are normalised, as Nova's are, over the hosts that passed when the ranking was made.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.clock import Random
from kilonova.scheduler.multipliers import Multiplier
from kilonova.scheduler.rules import CostlyFilter, Filters, Weighers, is_costly, is_fixed
from kilonova.scheduler.view import Bools, Floats, HostView, Ints

_EQUAL = 1e-9
_SHOWN = 5  # of the best hosts, in an explanation


Positions = NDArray[np.int16]
"""For each host the position of a filter, or the number of filters: two bytes, as many rankings are kept."""


def verdicts(view: HostView, request: ScheduleServer, filters: Filters) -> Positions:
    """The first of those filters that drops each host that look neither at usage nor at neighbours."""
    return _judge(view, request, filters, [at for at, rule in enumerate(filters.values()) if is_fixed(rule)])


def _judge(view: HostView, request: ScheduleServer, filters: Filters, which: Sequence[int]) -> Positions:
    """The first of these filters that drops each host, by its position."""
    names = tuple(filters)
    first = np.full(len(view), len(names), dtype=np.int16)
    everywhere = view.everywhere()
    for at in reversed(which):
        passing = filters[names[at]].passes(view, request)
        if passing is not everywhere:
            first[~passing] = at
    return first


class Scale(msgspec.Struct, frozen=True):
    """How one weigher's numbers become its part of the weight: ``(raw - low) * factor``, times what it counts on the host."""

    low: float
    factor: float
    multiplier: Multiplier

    def part(self, column: "Floats | Ints", view: HostView) -> Floats:
        """The part of each host of the view, from the weigher's numbers for them."""
        return np.asarray((column - self.low) * (self.factor * self.multiplier.on(view)), dtype=np.float64)


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One of the best hosts, its weight, and each weigher's part of it."""

    host: str
    weight: float
    parts: dict[str, float]


class Ranking:
    """What every rule says of every host. ``first[row]`` is the position of the first filter that drops it; hosts that pass have
    the number of filters there."""

    def __init__(
        self,
        view: HostView,
        request: ScheduleServer,
        filters: Filters,
        weighers: Weighers,
        fixed: "Positions | None" = None,
    ) -> None:
        """``fixed``: what ``verdicts`` said of the same hosts for a request that differs in nothing but its neighbours."""
        self.view = view
        self.request = request
        self._filters = filters
        self._weighers = weighers
        self._names = tuple(filters)
        costly = [at for at, rule in enumerate(filters.values()) if is_costly(rule)]
        self._cheap = [at for at in range(len(self._names)) if at not in costly]
        self._last = [at for at in costly if cast(CostlyFilter, filters[self._names[at]]).concerns(request)]
        self._moving = [at for at in self._cheap if not is_fixed(filters[self._names[at]])]
        self._fixed = verdicts(view, request, filters) if fixed is None else fixed
        self.first = self._judge_all(view, self._fixed)
        self.counts: Ints = np.bincount(self.first, minlength=len(self._names) + 1)
        alive = np.flatnonzero(self.first == len(self._names))
        indifferent = view.indifferent()
        raw = [weigher.weigh(view, request) for weigher, _ in weighers.values()]
        self._scales = [
            _scale(None if column is indifferent else column[alive], Multiplier(name, multiplier, view))
            for column, (name, (_, multiplier)) in zip(raw, weighers.items(), strict=True)
        ]
        self.weights: Floats = np.full(len(view), -np.inf)
        self.weights[alive] = self._add_up(raw, view)[alive]

    @property
    def fits(self) -> int:
        """How many hosts passed every filter."""
        return int(self.counts[len(self._names)])

    def dropped_by(self) -> dict[str, int]:
        """How many hosts each filter was the first to drop."""
        return {name: int(self.counts[at]) for at, name in enumerate(self._names) if self.counts[at]}

    def dropped(self) -> Iterator[tuple[int, str]]:
        """Each host that does not pass, and the first filter that drops it; filter by filter."""
        for at, name in enumerate(self._names):
            if self.counts[at]:
                for row in np.flatnonzero(self.first == at):
                    yield int(row), name

    # --- keeping up -------------------------------------------------------------------------------------------

    def judge_again(self, rows: Sequence[int]) -> None:
        """The usage of those hosts has changed."""
        changed = np.array(rows, dtype=np.int64)
        few = self.view.only(changed)
        first = self._judge_all(few, self._fixed[changed])
        np.subtract.at(self.counts, self.first[changed], 1)
        np.add.at(self.counts, first, 1)
        self.first[changed] = first
        raw = [weigher.weigh(few, self.request) for weigher, _ in self._weighers.values()]
        total = self._add_up(raw, few)
        self.weights[changed] = np.where(first == len(self._names), total, -np.inf)

    def _judge_all(self, view: HostView, fixed: Positions) -> Positions:
        """The first filter that drops each host, the costly ones having been asked last."""
        first = np.minimum(fixed, _judge(view, self.request, self._filters, self._moving))
        for at in self._last:
            left = np.flatnonzero(first == len(self._names))
            first[left[~self._filters[self._names[at]].passes(view.only(left), self.request)]] = at
        return first

    def _add_up(self, raw: "list[Floats | Ints]", view: HostView) -> Floats:
        total = np.zeros(len(view))
        for column, scale in zip(raw, self._scales, strict=True):
            if scale.factor:
                total += scale.part(column, view)
        return total

    # --- choosing ---------------------------------------------------------------------------------------------

    def choose(self, subset: int, random: Random) -> int | None:
        """One of the ``subset`` best rows and all that equal the best, as two schedulers should not both take the first of
        equals; None if no host passes."""
        if not self.fits:
            return None
        best = self.weights.max()
        equals = np.flatnonzero(self.weights >= best - _EQUAL)
        wanted = min(subset, self.fits)
        among = equals if equals.size >= wanted else np.argpartition(-self.weights, wanted - 1)[:wanted]
        return int(among[random.randrange(among.size)] if among.size > 1 else among[0])

    def best(self) -> list[Ranked]:
        """The hosts with the highest weights, the best first."""
        rows: list[int] = []
        kept: list[float] = []
        for _ in range(min(_SHOWN, self.fits)):
            row = int(self.weights.argmax())
            rows.append(row)
            kept.append(float(self.weights[row]))
            self.weights[row] = -np.inf
        self.weights[rows] = kept
        few = self.view.only(np.array(rows, dtype=np.int64))
        parts = {
            name: scale.part(weigher.weigh(few, self.request), few)
            for (name, (weigher, _)), scale in zip(self._weighers.items(), self._scales, strict=True)
            if scale.factor
        }
        return [
            Ranked(
                host=self.view.names[row],
                weight=round(weight, 4),
                parts={name: round(float(part[at]), 4) for name, part in parts.items()},
            )
            for at, (row, weight) in enumerate(zip(rows, kept, strict=True))
        ]

    # --- what would have helped -------------------------------------------------------------------------------

    def fails(self) -> dict[str, Bools]:
        """Of each filter, which hosts it drops, whatever the others say; filters that drop none are missing.

        Costly ones are asked about the hosts that fewest of the others drop, and taken to drop all the rest.
        """
        cheap = [self._names[at] for at in self._cheap]
        found = {name: ~self._filters[name].passes(self.view, self.request) for name in cheap}
        against = np.sum(list(found.values()), axis=0) if found else np.zeros(len(self.view), dtype=np.int64)
        near = np.flatnonzero(against == against.min()) if len(self.view) else np.zeros(0, dtype=np.int64)
        few = self.view.only(near)
        for name in (self._names[at] for at in self._last):
            found[name] = ~self.view.nowhere()
            found[name][near] = ~self._filters[name].passes(few, self.request)
        return {name: fails for name, fails in found.items() if fails.any()}


def _scale(column: "Floats | Ints | None", multiplier: Multiplier) -> Scale:
    if column is None or not column.size or not multiplier.counts:
        return Scale(0.0, 0.0, multiplier)
    low, high = float(column.min()), float(column.max())
    return Scale(low, 1.0 / (high - low) if high > low else 0.0, multiplier)
