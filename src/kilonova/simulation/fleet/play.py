"""Plays a workload on a fleet: the shipped scheduler's decisions, claims in memory, virtual time.

The same seed makes the same decisions; only how long they took differs from run to run.
"""

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np
from sqlalchemy.engine import Connection, make_url

from kilonova.config import SchedulerConfig
from kilonova.database.host_columns import read
from kilonova.database.inline import InlineDatabase
from kilonova.database.metadata import metadata
from kilonova.database.transactions import DatabaseSettings
from kilonova.messaging.contract import Need, ScheduleServer
from kilonova.model.clock import Random
from kilonova.model.placement import Neighbours, ServerGroup
from kilonova.scheduler.catalog import make_filters, make_weighers
from kilonova.scheduler.decider import Batch, Decider
from kilonova.scheduler.decision import Decision
from kilonova.scheduler.fleet import Fleet
from kilonova.simulation.fleet.hosts import NOW, fill
from kilonova.simulation.fleet.workload import Wish

_TOGETHER = 0.02  # seconds: what comes within them is one batch, as at a scheduler under load
_AT_ONCE = 64
_SAMPLES = 400


class Sample(msgspec.Struct, frozen=True):
    """The fleet at one moment: shares 0…1 of all cores, memory and disk that are claimed.

    ``stranded_memory`` is the share of all memory that is free where not even the smallest server finds cores and disk,
    ``stranded_vcpus`` that of all cores where it finds no memory or disk.
    """

    at: float
    servers: int
    vcpus: float
    memory: float
    disk: float
    stranded_memory: float
    stranded_vcpus: float
    failed: int


class Played(msgspec.Struct, kw_only=True):
    """How it went. ``seconds`` are processor time of the decisions alone, ``latencies`` theirs one by one, in ms."""

    hosts: int
    asked: int = 0
    placed: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies: list[float] = []
    reasons: dict[str, int] = {}
    by_project: dict[str, tuple[int, int]] = {}
    samples: list[Sample] = []
    digest: int = 0

    @property
    def fairness(self) -> float:
        """Jain's index of the projects' shares of requests that were placed: 1 if all fare alike (Jain et al., 1984)."""
        shares = [placed / asked for asked, placed in self.by_project.values() if asked]
        squares = sum(share * share for share in shares)
        return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def load_fleet(count: int) -> Fleet:
    """The scheduler's memory of that many imaginary hosts, by way of a database, as ever."""
    database = InlineDatabase(make_url("sqlite://"), DatabaseSettings(url="sqlite://", durable=False))
    fleet = Fleet()

    def look(connection: Connection) -> None:
        metadata.create_all(connection)
        fill(connection, count)
        fleet.apply(read(connection, now=NOW, since=0, beyond=0, heard_since=NOW, aggregates_mark=()))

    asyncio.run(database.run(look))
    return fleet


def play(
    wishes: Iterable[Wish],
    hosts: int,
    seed: int,
    *,
    config: SchedulerConfig | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Played:
    """All of it, to the last server. ``progress`` hears how many were asked for so far."""
    return _Play(load_fleet(hosts), config or SchedulerConfig(), seed).run(wishes, progress)


class _Play:
    def __init__(self, fleet: Fleet, config: SchedulerConfig, seed: int) -> None:
        self._fleet = fleet
        filters = make_filters(config.filters, config)
        self._decider = Decider(
            fleet,
            filters,
            filters,
            make_weighers(config),
            subset=config.host_subset_size,
            random=Random(f"{seed} choices"),
        )
        self._members: dict[str, dict[str, int]] = {}
        self._leaving: list[tuple[float, int, int, Need, str | None]] = []
        self._numbers = itertools.count()
        self._played = Played(hosts=len(fleet))
        self._reasons: Counter[str] = Counter()
        self._smallest: Need | None = None

    def run(self, wishes: Iterable[Wish], progress: Callable[[int], None]) -> Played:
        played = self._played
        every = 1.0
        for batch in _batches(wishes):
            self._depart(batch[0].at)
            self._decide(batch)
            if not played.samples or batch[-1].at - played.samples[-1].at >= every:
                self._sample(batch[-1].at)
                if len(played.samples) > _SAMPLES:
                    played.samples, every = played.samples[::2], every * 2
            progress(played.asked)
        if played.asked:
            self._sample(batch[-1].at)
        played.reasons = dict(self._reasons.most_common())
        return played

    def _decide(self, batch: list[Wish]) -> None:
        together, beside = Batch(), dict[str, Neighbours]()
        for wish in batch:
            number = next(self._numbers)
            request = wish.request(number)
            neighbours = self._neighbours(wish.group, beside)
            processor, wall = time.process_time(), time.perf_counter()
            decision = self._decider.decide(request, together, neighbours)
            self._played.latencies.append((time.perf_counter() - wall) * 1000)
            self._played.seconds += time.process_time() - processor
            against = self._against(request, decision, together, neighbours)
            self._note(wish, number, decision, request.need, against)

    def _neighbours(self, group: str | None, beside: dict[str, Neighbours]) -> Neighbours | None:
        """One answer for all of a batch, which sees its own decisions; between batches the members are ours to keep."""
        if group is None:
            return None
        if group not in beside:
            policy = group.split("/", 1)[0]
            members = self._members.setdefault(group, {})
            row = ServerGroup(seq=0, id=group, project_id="", user_id="", name=group, policy=policy, rules={})
            beside[group] = Neighbours(group=row, members=members)
        return beside[group]

    def _against(
        self, request: ScheduleServer, decision: Decision, together: Batch, neighbours: Neighbours | None
    ) -> list[str]:
        """The rules that the nearest host did not pass, when none passed all."""
        if decision.row is not None:
            return []
        found = self._decider.explain(decision, request, together, neighbours, ()).nearest
        return next((near.rules for near in found if near.change == "host"), [])

    def _note(self, wish: Wish, number: int, decision: Decision, need: Need, against: list[str]) -> None:
        played = self._played
        asked, placed = played.by_project.get(wish.project, (0, 0))
        played.asked += 1
        played.by_project[wish.project] = (asked + 1, placed + (decision.row is not None))
        if self._smallest is None or need.memory_mb < self._smallest.memory_mb:
            self._smallest = need
        played.digest = hash((played.digest, decision.row)) & 0xFFFFFFFFFFFF
        if decision.row is None:
            played.failed += 1
            self._reasons[" and ".join(against) or "no host"] += 1
            return
        played.placed += 1
        if wish.lifetime != float("inf"):
            heapq.heappush(self._leaving, (wish.at + wish.lifetime, number, decision.row, need, wish.group))

    def _depart(self, now: float) -> None:
        while self._leaving and self._leaving[0][0] <= now:
            _, _, row, need, group = heapq.heappop(self._leaving)
            self._fleet.give_back(row, need)
            if group is not None:
                members, host = self._members[group], self._fleet.view.names[row]
                members[host] -= 1
                if not members[host]:
                    del members[host]

    def _sample(self, at: float) -> None:
        columns, view = self._fleet.view.columns, self._fleet.view
        assert self._smallest is not None
        small = self._smallest
        no_disk = view.disk_free < small.disk_gb
        no_cores, no_memory = view.vcpus_free < small.vcpus, view.memory_free < small.memory_mb
        self._played.samples.append(
            Sample(
                at,
                int(columns.servers.sum()),
                _share(columns.vcpus_used.sum(), columns.vcpus_capacity.sum()),
                _share(columns.memory_used.sum(), columns.memory_capacity.sum()),
                _share(columns.disk_used.sum(), columns.disk_capacity.sum()),
                _share(view.memory_free[no_cores | no_disk].sum(), columns.memory_capacity.sum()),
                _share(view.vcpus_free[no_memory | no_disk].sum(), columns.vcpus_capacity.sum()),
                self._played.failed,
            )
        )


def _share(part: "np.int64", whole: "np.int64") -> float:
    return float(part) / float(whole) if whole else 0.0


def _batches(wishes: Iterable[Wish]) -> Iterator[list[Wish]]:
    batch: list[Wish] = []
    for wish in wishes:
        if batch and (wish.at - batch[0].at > _TOGETHER or len(batch) == _AT_ONCE):
            yield batch
            batch = []
        batch.append(wish)
    if batch:
        yield batch
