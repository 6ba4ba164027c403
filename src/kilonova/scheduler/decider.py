"""Decides: a fleet and requests in, decisions with their reasons out. Pure, but for the fleet's own memory of what it gave.

Requests of one *shape* (all that rules may look at) share a ranking, which is kept from one to the next as long as nothing but
usage changes. Requests that name a group or other servers have a ranking of their own, kept for one batch.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.clock import Random
from kilonova.model.flavor import Flavor
from kilonova.model.placement import NEIGHBOUR_HINTS, GroupPolicy, Neighbours
from kilonova.scheduler.decision import Decision, Dropped
from kilonova.scheduler.fleet import Fleet
from kilonova.scheduler.nearest import Nearest, nearest
from kilonova.scheduler.ranking import Positions, Ranking, verdicts
from kilonova.scheduler.rules import Filters, Weighers, is_personal

_SHAPES = 64  # rankings kept; each holds ten bytes per host
_NAMED = 20  # dropped hosts named in an explanation; the rest is counted
_TOO_MANY = 0.1  # of the hosts changed: then one pass over all is cheaper, and the weights are scaled anew
_encode = msgspec.json.Encoder(order="sorted").encode


def shape_of(request: ScheduleServer, *, personal: bool = True) -> ScheduleServer:
    """The request without what tells one server from its twins, and its owner only if that is ``personal``: the only form in
    which rules see it."""
    guest = msgspec.structs.replace(
        request.guest,
        server_id="",
        name="",
        hostname="",
        nics=[],
        user_data=None,
        files=[],
        key_name=None,
        public_key=None,
        launch_index=0,
        metadata={},
        epoch=0,
        **({} if personal else {"project_id": "", "user_id": ""}),
    )
    return msgspec.structs.replace(request, action_id="", epoch=0, guest=guest, input={}, work={})


class _Kept:
    """A ranking, how far it has kept up with the fleet, and the explanation of what it drops."""

    def __init__(self, ranking: Ranking, generation: int, seen: int) -> None:
        self.ranking = ranking
        self.generation = generation
        self.seen = seen
        self.stale = 0
        self.dropped: tuple[dict[str, int], list[Dropped]] | None = None
        self.nearest: tuple[Sequence[Flavor], list[Nearest]] | None = None  # and the flavors that were tried


class Batch:
    """What decisions of one batch share: the groups, as its own decisions change them."""

    def __init__(self) -> None:
        self.kept: dict[tuple[bytes, int], _Kept] = {}


class Decider:
    """Filters, ranks and chooses. ``forced`` are the filters for a host that an administrator insists on."""

    def __init__(
        self, fleet: Fleet, filters: Filters, forced: Filters, weighers: Weighers, *, subset: int, random: Random
    ) -> None:
        self.fleet = fleet
        self._filters = filters
        self._forced = forced
        self._weighers = weighers
        self._subset = subset
        self._random = random
        self._personal = (-1, True)
        self._verdicts: OrderedDict[bytes, tuple[int, Positions]] = OrderedDict()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def decide(
        self, request: ScheduleServer, batch: Batch, neighbours: Neighbours | None = None, *, reasons: bool = True
    ) -> Decision:
        """Choose a host and note its claim in the fleet; give it back if the claim is not made.

        Without ``reasons`` only a decision that finds no host has them: they are half of the work.
        """
        key, kept = self._ranked(request, batch, neighbours)
        decision = self._choose(kept, self._filters_of(request), reasons=reasons)
        if decision.row is not None and decision.host is not None:
            self.fleet.take(decision.row, request.need)
            if neighbours is not None:
                self._join(neighbours, decision.host, batch, key)
        return decision

    def explain(
        self,
        decision: Decision,
        request: ScheduleServer,
        batch: Batch,
        neighbours: Neighbours | None,
        flavors: Sequence[Flavor],
    ) -> Decision:
        """A decision that found no host, with the nearest fit; ``flavors`` are those the server's project can choose from."""
        _, kept = self._ranked(request, batch, neighbours)
        if kept.nearest is None or kept.nearest[0] != flavors:
            kept.nearest = (flavors, nearest(kept.ranking, self._filters_of(request), flavors))
        return msgspec.structs.replace(decision, nearest=kept.nearest[1])

    # --- rankings that are kept --------------------------------------------------------------------------------

    def _filters_of(self, request: ScheduleServer) -> Filters:
        return self._forced if request.forced else self._filters

    def _is_personal(self) -> bool:
        """Whether any rule minds whose server it is, as the hosts and aggregates are now."""
        if self._personal[0] != self.fleet.generation:
            rules = (
                *self._filters.values(),
                *self._forced.values(),
                *(weigher for weigher, _ in self._weighers.values()),
            )
            view = self.fleet.view
            self._personal = (self.fleet.generation, any(is_personal(rule, view) for rule in rules))
        return self._personal[1]

    def _ranked(self, request: ScheduleServer, batch: Batch, neighbours: Neighbours | None) -> tuple[bytes, _Kept]:
        shape = shape_of(request, personal=self._is_personal())
        key = _encode(shape)
        kept = self._find(key, batch, neighbours)
        if kept is None:
            view = self.fleet.view if neighbours is None else self.fleet.view.beside(neighbours)
            ranking = Ranking(view, shape, self._filters_of(request), self._weighers, self._fixed(shape))
            kept = _Kept(ranking, self.fleet.generation, len(self.fleet.changes))
            self._keep(key, kept, batch, neighbours)
        return key, kept

    def _fixed(self, shape: ScheduleServer) -> Positions:
        """What filters say whatever is used of the hosts, and whoever is there: one pass for all groups that ask for the same."""
        hints = {key: value for key, value in shape.hints.items() if key not in NEIGHBOUR_HINTS}
        key = _encode(msgspec.structs.replace(shape, hints=hints))
        known = self._verdicts.get(key)
        if known is None or known[0] != self.fleet.generation:
            found = verdicts(self.fleet.view, shape, self._filters_of(shape))
            known = self._verdicts[key] = (self.fleet.generation, found)
            while len(self._verdicts) > _SHAPES:
                self._verdicts.popitem(last=False)
        return known[1]

    def _find(self, key: bytes, batch: Batch, neighbours: Neighbours | None) -> _Kept | None:
        kept = self._kept.get(key) if neighbours is None else batch.kept.get((key, id(neighbours)))
        if kept is None or kept.generation != self.fleet.generation:
            return None
        changed = self.fleet.changes[kept.seen :]
        if not changed:
            return kept
        rows = list(dict.fromkeys(changed))
        kept.stale += len(rows)
        if not kept.ranking.fits or kept.stale > max(_TOO_MANY * len(self.fleet), 64):
            return None
        kept.ranking.judge_again(rows)
        kept.seen = len(self.fleet.changes)
        return kept

    def _keep(self, key: bytes, kept: _Kept, batch: Batch, neighbours: Neighbours | None) -> None:
        if neighbours is not None:
            batch.kept[key, id(neighbours)] = kept
            return
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > _SHAPES:
            self._kept.popitem(last=False)

    def _join(self, neighbours: Neighbours, host: str, batch: Batch, key: bytes) -> None:
        """One more of the group is on ``host``, whose row is judged again before the next decision anyhow."""
        if neighbours.group is None:
            return
        if neighbours.under(GroupPolicy.AFFINITY) and not neighbours.members:
            batch.kept.pop((key, id(neighbours)), None)  # the first member speaks against every other host
        neighbours.members[host] = neighbours.members.get(host, 0) + 1

    # --- one decision --------------------------------------------------------------------------------------------

    def _choose(self, kept: _Kept, filters: Filters, *, reasons: bool) -> Decision:
        ranking = kept.ranking
        counts = ranking.dropped_by()
        row = ranking.choose(self._subset, self._random)
        told = reasons or row is None
        return Decision(
            row=row,
            host=None if row is None else ranking.view.names[row],
            zone=None if row is None else ranking.view.zone(row),
            considered=len(ranking.view),
            counts=counts,
            ranking=ranking.best() if told else [],
            dropped=self._dropped(kept, filters, counts, fresh=row is None) if told else [],
        )

    def _dropped(self, kept: _Kept, filters: Filters, counts: dict[str, int], *, fresh: bool) -> list[Dropped]:
        """Named anew only when the counts have changed: a success needs no newer numbers than that."""
        if kept.dropped is not None and kept.dropped[0] == counts and not fresh:
            return kept.dropped[1]
        ranking = kept.ranking
        named: list[Dropped] = []
        for row, rule in ranking.dropped():
            if len(named) == _NAMED:
                break
            need, have = filters[rule].explain(ranking.view, row, ranking.request)
            named.append(Dropped(host=ranking.view.names[row], rule=rule, need=need, have=have))
        kept.dropped = (counts, named)
        return named
