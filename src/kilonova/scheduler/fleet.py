"""The scheduler's memory of all hosts: loaded from the database, kept fresh by small readings.

``Fleet.apply`` takes a ``Reading`` and says which rows it changed, so that rankings made before need not be made anew. Rows
are in the order of the hosts' numbers; when a host has gone, the fleet is built again.
"""

import itertools
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from kilonova.database.host_columns import Reading
from kilonova.database.topologies import HostTopology
from kilonova.messaging.contract import Need
from kilonova.model.aggregate import Aggregate
from kilonova.model.topology.request import TopologyRequest
from kilonova.model.traits import implied
from kilonova.scheduler.aggregate_words import by_tenant
from kilonova.scheduler.topologies import Topologies
from kilonova.scheduler.view import AggregateFacts, Columns, HostKind, HostView, Ints, Records

_SKEW = 30_000_000  # microseconds by which the clocks of those who write ``updated_at`` may be behind ours
_REMEMBERED = 10_000  # changes, and one more for each host
_encode = msgspec.json.Encoder(order="sorted").encode


class Fleet:
    """Every host there is. ``generation`` rises when something other than usage has changed: then verdicts are old."""

    def __init__(self) -> None:
        self.generation = 0
        self.changes: list[int] = []
        """Rows whose usage has changed, in the order it did, since the last new generation."""
        self._forget()

    def _forget(self) -> None:
        self._ids: Ints = np.zeros(0, dtype=np.int64)
        self._names: list[str] = []
        self._own_zones: list[str] = []
        self._index: dict[str, int] = {}
        self._columns = Columns.empty(0)
        self._records = Records()
        self._codes: dict[str, dict[Hashable, int]] = {"kinds": {}, "zones": {}, "trait_sets": {}, "addresses": {}}
        self._stocked: dict[str, set[str]] = {"custom": set(), "metrics": set(), "images": set()}
        for what in self._codes:
            setattr(self._records, what, [])
        self._aggregates: list[Aggregate] = []
        self.since = 0
        self.aggregates_mark: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._names)

    @property
    def beyond(self) -> int:
        """The highest number of a host that is known."""
        return int(self._ids[-1]) if len(self._ids) else 0

    @property
    def anybody_up(self) -> bool:
        """Whether any host was heard of in time."""
        return bool(self._columns.up.any())

    @property
    def view(self) -> HostView:
        """What rules see. Not a copy: what ``take`` notes is seen in it."""
        return HostView(self._names, self._columns, self._records, index=self._index)

    # --- what the database says --------------------------------------------------------------------------------

    def apply(self, reading: Reading) -> bool:
        """Bring everything up to date. False if hosts are gone: then read again, everything, and apply that."""
        # Statements of one look are not of one moment: a host that came after the first of them comes with the next look.
        newest = reading.usage[-1][0] if reading.usage else 0
        facts = [row for row in reading.facts if row.id <= newest]
        self._add([row for row in facts if row.id > self.beyond])
        if len(reading.usage) != len(self._ids):
            self._forget()
            return False
        flat = itertools.chain.from_iterable(reading.usage)  # numpy looks at each row of a list three times
        usage = np.fromiter(flat, dtype=np.int64, count=5 * len(self._ids)).reshape(len(self._ids), 5)
        if not np.array_equal(usage[:, 0], self._ids):
            self._forget()
            return False
        changed = self._describe(facts, reading.traits)
        changed |= self._join(reading)
        changed |= self._judge_services(reading)
        changed |= self._count(usage, reading.on_demand)
        self._count_devices(reading.devices)
        self._records.image_properties = reading.image_properties
        for what in self._stocked:
            self._stock(what, getattr(reading, what))
        if changed:
            self.new_generation()
        self.since = reading.at - _SKEW
        return True

    def new_generation(self) -> None:
        """Whatever was concluded before is old."""
        self.generation += 1
        self.changes.clear()

    def _add(self, facts: Sequence[Any]) -> None:
        if not facts:
            return
        more = len(facts)
        self._ids = np.concatenate([self._ids, np.array([row.id for row in facts], dtype=np.int64)])
        for row in facts:
            self._index[row.host] = len(self._names)
            self._names.append(row.host)
            self._own_zones.append(row.availability_zone)
        fresh = Columns.empty(more)
        self._columns = Columns(
            **{
                name: np.concatenate([getattr(self._columns, name), getattr(fresh, name)])
                for name in Columns.__struct_fields__
            }
        )
        self.aggregates_mark = ()  # it may be in one of them since before
        self.new_generation()

    def _describe(self, facts: Sequence[Any], said: Mapping[str, Collection[str]]) -> bool:
        """What hosts are; whether any of it differs from before."""
        changed = False
        columns = self._columns
        for fact in facts:
            row = self._index[fact.host]
            kind = HostKind(
                hypervisor_type=fact.hypervisor_type,
                hypervisor_version=fact.hypervisor_version,
                capabilities=fact.capabilities,
            )
            traits = implied(kind.hypervisor_type, kind.capabilities).union(said.get(fact.host, ()))
            values = {
                "kind": self._code("kinds", _encode(kind), kind),
                "trait_set": self._code("trait_sets", traits, traits),
                "address": self._code("addresses", fact.address, fact.address),
                "vcpus": fact.vcpus,
                "vcpus_capacity": fact.vcpus_capacity,
                "memory_capacity": fact.memory_mb_capacity,
                "disk_capacity": fact.disk_gb_capacity,
            }
            for name, value in values.items():
                column = getattr(columns, name)
                if column[row] != value:
                    column[row] = value
                    changed = True
            if self._own_zones[row] != fact.availability_zone:
                self._own_zones[row] = fact.availability_zone
                self.aggregates_mark = ()
        return changed

    def _code(self, what: str, key: Hashable, record: Any) -> int:
        codes = self._codes[what]
        if key not in codes:
            codes[key] = len(codes)
            getattr(self._records, what).append(record)
        return codes[key]

    def _join(self, reading: Reading) -> bool:
        """Aggregates, and the zones that come of them."""
        if reading.aggregates is None and self.aggregates_mark == reading.aggregates_mark:
            return False
        if reading.aggregates is not None:
            self._aggregates = reading.aggregates
        self.aggregates_mark = reading.aggregates_mark
        within: dict[int, list[Aggregate]] = {}
        for aggregate in self._aggregates:
            for row in self._rows(aggregate.hosts):
                within.setdefault(row, []).append(aggregate)
        facts = {a.id: AggregateFacts(id=a.id, name=a.name, metadata=a.metadata) for a in self._aggregates}
        combinations: dict[tuple[int, ...], int] = {(): 0}
        column = np.zeros(len(self), dtype=np.int64)
        for row, joined in within.items():
            column[row] = combinations.setdefault(tuple(a.id for a in joined), len(combinations))
        self._records.aggregate_keys = frozenset().union(*(a.metadata for a in self._aggregates))
        self._records.tenants = by_tenant(facts.values())
        self._records.aggregates = tuple(tuple(facts[number] for number in key) for key in combinations)
        self._columns.aggregates[:] = column
        for row, own in enumerate(self._own_zones):
            zone = next((a.availability_zone for a in within.get(row, ()) if a.availability_zone), own)
            self._columns.zone[row] = self._code("zones", zone, zone)
        return True

    def _rows(self, hosts: Iterable[str]) -> Iterable[int]:
        return (self._index[host] for host in hosts if host in self._index)

    def _judge_services(self, reading: Reading) -> bool:
        up = np.ones(len(self), dtype=np.bool_)
        enabled = np.ones(len(self), dtype=np.bool_)
        rows = np.searchsorted(self._ids, [unfit.id for unfit in reading.unfit])
        for row, unfit in zip(rows, reading.unfit, strict=True):
            if row < len(self._ids) and self._ids[row] == unfit.id:
                up[row], enabled[row] = unfit.up, unfit.enabled
        columns = self._columns
        changed = not (np.array_equal(up, columns.up) and np.array_equal(enabled, columns.enabled))
        columns.up[:], columns.enabled[:] = up, enabled
        return changed

    def _count(self, usage: Ints, on_demand: Mapping[str, Mapping[str, int]]) -> bool:
        """Usage as the database says; whether something changed that other hosts' weights depend on."""
        columns = self._columns
        mine = (columns.vcpus_used, columns.memory_used, columns.disk_used, columns.servers)
        differs = np.zeros(len(self), dtype=np.bool_)
        for at, column in enumerate(mine, start=1):
            differs |= column != usage[:, at]
            column[:] = usage[:, at]
        failing_anew = False
        for name, counted in on_demand.items():
            column, fresh = getattr(columns, name), np.zeros(len(self), dtype=np.int64)
            for host, count in counted.items():
                if host in self._index:
                    fresh[self._index[host]] = count
            differs |= column != fresh
            failing_anew |= name == "failed_builds" and not np.array_equal(column, fresh)
            column[:] = fresh
        self.changes.extend(int(row) for row in np.flatnonzero(differs))
        self._bound()
        return failing_anew

    def _stock(self, what: str, by_host: Mapping[str, Mapping[str, Any]]) -> None:
        """Records that change often, as the database says; those of before are let go. Hosts without one are missing."""
        held, column = self._stocked[what], getattr(self._columns, what)
        if not by_host and not held:
            return
        before = getattr(self._records, what)
        records: list[Mapping[str, Any]] = [{}]
        fresh = np.zeros(len(self), dtype=np.int64)
        for host in sorted(held | by_host.keys()):
            if host not in self._index:
                continue
            row = self._index[host]
            if host in by_host:
                fresh[row] = len(records)
                records.append(by_host[host])
            if before[column[row]] != records[fresh[row]]:
                self.changes.append(row)
        setattr(self._records, what, records)
        column[:] = fresh
        self._stocked[what] = set(by_host)
        self._bound()

    def _count_devices(self, free: Sequence[Sequence[int]]) -> None:
        column = np.zeros(len(self), dtype=np.int64)
        for number, count in free:
            row = int(np.searchsorted(self._ids, number))
            if row < len(self._ids) and self._ids[row] == number:
                column[row] = count
        self.changes.extend(int(row) for row in np.flatnonzero(column != self._columns.devices_free))
        self._columns.devices_free[:] = column
        self._bound()

    @property
    def topologies(self) -> Topologies:
        """What is known of the hosts' topologies."""
        return self._records.topologies

    def learn(self, hosts: Iterable[HostTopology]) -> None:
        """The topologies of those hosts are different from what was known."""
        for host in hosts:
            self.topologies.learn(host)
            self.changes.extend(self._rows([host.host]))
        self._bound()

    # --- what we do ourselves ------------------------------------------------------------------------------------

    def take(self, row: int, need: Need, topology: TopologyRequest | None = None) -> None:
        """Note a claim that is about to be made, so that the next decision does not choose the same gap."""
        self._change(row, need, 1)
        if topology is not None:
            self.topologies.take(self._names[row], topology)

    def give_back(self, row: int, need: Need) -> None:
        """The claim was not made after all."""
        self._change(row, need, -1)

    def _change(self, row: int, need: Need, sign: int) -> None:
        columns = self._columns
        columns.vcpus_used[row] += sign * need.vcpus
        columns.memory_used[row] += sign * need.memory_mb
        columns.disk_used[row] += sign * need.disk_gb
        columns.servers[row] += sign
        columns.io_ops[row] += sign
        if need.custom:
            self._take_custom(row, need, sign)
        self.changes.append(row)
        self._bound()

    def _take_custom(self, row: int, need: Need, sign: int) -> None:
        there = dict(self.view.custom(row))
        for name, amount in need.custom.items():
            if name in there:
                there[name] = msgspec.structs.replace(there[name], used=there[name].used + sign * amount)
        self._columns.custom[row] = len(self._records.custom)
        self._records.custom = [*self._records.custom, there]

    def _bound(self) -> None:
        if len(self.changes) > _REMEMBERED + len(self):
            self.new_generation()
