"""What rules see of the hosts: columns, one value per host, so that a rule judges all hosts in one pass.

Numbers are plain columns. What is the same for many hosts (what the hypervisor says of itself, the aggregates a host is in) is
kept once in a list of *records*, with a column of positions in it: a rule judges each distinct record once (``judge``).

A view is a hint: it may be a second old. The claim in the database decides (``database/placing.py``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from kilonova.model.inventory import Inventory
from kilonova.model.placement import Neighbours
from kilonova.scheduler.topologies import Topologies

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Column = NDArray[Any]

R = TypeVar("R")
V = TypeVar("V")


class HostKind(msgspec.Struct, frozen=True, kw_only=True):
    """What hosts of one make have in common, as their drivers report it."""

    hypervisor_type: str
    hypervisor_version: int
    capabilities: Mapping[str, Any]


class AggregateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate as rules see it."""

    id: int
    name: str
    metadata: Mapping[str, str]


class Records(msgspec.Struct, kw_only=True):
    """The distinct records that columns point into."""

    kinds: Sequence[HostKind] = ()
    aggregates: Sequence[tuple[AggregateFacts, ...]] = ((),)
    aggregate_keys: frozenset[str] = frozenset()
    """Every key in the metadata of any aggregate: most rules find that nobody has set theirs."""
    tenants: Mapping[str, frozenset[int]] = {}
    """The numbers of the aggregates that are for a project, by project."""
    zones: Sequence[str] = ()
    topologies: Topologies = msgspec.field(default_factory=Topologies)
    trait_sets: Sequence[frozenset[str]] = (frozenset(),)
    addresses: Sequence[str] = ("",)
    metrics: Sequence[Mapping[str, float]] = ({},)
    images: Sequence[Mapping[str, int]] = ({},)
    """How many servers were made of each image."""
    image_properties: Mapping[str, Mapping[str, str]] = {}
    custom: Sequence[Mapping[str, Inventory]] = ({},)
    """What operators added to hosts, by resource class."""


class Columns(msgspec.Struct, kw_only=True):
    """One array per property, all of the same length. Cores, MiB and GiB; those from ``kind`` to ``images`` are positions in
    ``Records``. ``devices_free``: PCI devices that nobody has. ``io_ops`` (servers whose disks are being worked on),
    ``failed_builds`` (builds that failed since one succeeded), ``metrics`` and ``images`` are nothing unless a rule in force
    ``reads`` them."""

    up: Bools
    enabled: Bools
    kind: Ints
    aggregates: Ints
    zone: Ints
    trait_set: Ints
    address: Ints
    custom: Ints
    metrics: Ints
    images: Ints
    vcpus: Ints
    vcpus_capacity: Ints
    memory_capacity: Ints
    disk_capacity: Ints
    vcpus_used: Ints
    memory_used: Ints
    disk_used: Ints
    servers: Ints
    devices_free: Ints
    io_ops: Ints
    failed_builds: Ints

    @classmethod
    def empty(cls, size: int) -> "Columns":
        """All zero."""
        flags = {"up", "enabled"}
        return cls(
            **{name: np.zeros(size, dtype=np.bool_ if name in flags else np.int64) for name in cls.__struct_fields__}
        )

    def at(self, rows: Ints) -> "Columns":
        """Copies of some rows."""
        return Columns(**{name: getattr(self, name)[rows] for name in self.__struct_fields__})


class HostView:
    """All hosts, or some of them, as one request sees them. ``names[i]`` is the host of row i.

    ``neighbours`` is what the request has to mind of the servers there.
    """

    def __init__(
        self,
        names: Sequence[str],
        columns: Columns,
        records: Records,
        *,
        index: Mapping[str, int] | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.names = names
        self.columns = columns
        self.records = records
        self.neighbours = neighbours or Neighbours()
        self._index = {name: row for row, name in enumerate(names)} if index is None else index
        self._everywhere: Bools | None = None
        self._indifferent: Floats | None = None

    def __len__(self) -> int:
        return len(self.names)

    def row(self, host: str) -> int | None:
        """The row of a host, None if there is no such host."""
        return self._index.get(host)

    def rows(self, hosts: Iterable[str]) -> list[int]:
        """The rows of those of the hosts that are here."""
        return [row for host in hosts if (row := self._index.get(host)) is not None]

    def only(self, rows: Ints) -> "HostView":
        """Some of the hosts, as they are now."""
        names = [self.names[int(row)] for row in rows]
        return HostView(names, self.columns.at(rows), self.records, neighbours=self.neighbours)

    def beside(self, neighbours: Neighbours) -> "HostView":
        """The same hosts, as a request with neighbours sees them; a claim noted in one view counts in the other."""
        return HostView(self.names, self.columns, self.records, index=self._index, neighbours=neighbours)

    # --- for rules -----------------------------------------------------------------------------------------

    def everywhere(self) -> Bools:
        """True for every host: the answer of a filter that the request gives nothing to mind. Always the same array, which can be
        told by that and costs nothing then; copy it before you change it."""
        if self._everywhere is None:
            self._everywhere = np.ones(len(self), dtype=np.bool_)
            self._everywhere.flags.writeable = False
        return self._everywhere

    def indifferent(self) -> Floats:
        """Zero for every host: the answer of a weigher that the request gives nothing to mind, to be told in the same way."""
        if self._indifferent is None:
            self._indifferent = np.zeros(len(self))
            self._indifferent.flags.writeable = False
        return self._indifferent

    def nowhere(self) -> Bools:
        """False for every host."""
        return np.zeros(len(self), dtype=np.bool_)

    def judge(self, column: Ints, records: Sequence[R], verdict: Callable[[R], bool]) -> Bools:
        """One truth value per host, from one per distinct record."""
        return np.array(self._spread(column, records, verdict), dtype=np.bool_)

    def _spread(self, column: Ints, records: Sequence[R], value: Callable[[R], V]) -> Column | list[V]:
        """The value of each host's record; records that no host here has are not asked when the hosts are few."""
        if len(column) < len(records):
            known = {code: value(records[code]) for code in set(column.tolist())}
            return [known[code] for code in column.tolist()]
        if not len(records):
            return []
        return np.array([value(record) for record in records])[column]

    def judge_kinds(self, verdict: Callable[[HostKind], bool]) -> Bools:
        """``judge`` by what the hypervisors say of themselves."""
        return self.judge(self.columns.kind, self.records.kinds, verdict)

    def judge_aggregates(self, verdict: Callable[[tuple[AggregateFacts, ...]], bool]) -> Bools:
        """``judge`` by the aggregates a host is in."""
        return self.judge(self.columns.aggregates, self.records.aggregates, verdict)

    def judge_traits(self, verdict: Callable[[frozenset[str]], bool]) -> Bools:
        """``judge`` by the traits a host has."""
        return self.judge(self.columns.trait_set, self.records.trait_sets, verdict)

    def measure_aggregates(self, value: Callable[[tuple[AggregateFacts, ...]], float]) -> Floats:
        """One number per host, from the aggregates it is in."""
        return self.measure(self.columns.aggregates, self.records.aggregates, value)

    def measure(self, column: Ints, records: Sequence[R], value: Callable[[R], float]) -> Floats:
        """One number per host, from one per distinct record."""
        return np.array(self._spread(column, records, value), dtype=np.float64)

    def kind(self, row: int) -> HostKind:
        """What the hypervisor of a host says of itself."""
        return self.records.kinds[int(self.columns.kind[row])]

    def aggregates(self, row: int) -> tuple[AggregateFacts, ...]:
        """The aggregates a host is in."""
        return self.records.aggregates[int(self.columns.aggregates[row])]

    def traits(self, row: int) -> frozenset[str]:
        """The traits a host has."""
        return self.records.trait_sets[int(self.columns.trait_set[row])]

    def address(self, row: int) -> str:
        """The address of a host."""
        return self.records.addresses[int(self.columns.address[row])]

    def custom(self, row: int) -> Mapping[str, Inventory]:
        """What an operator added to a host, by resource class."""
        return self.records.custom[int(self.columns.custom[row])]

    def zone(self, row: int) -> str:
        """The availability zone of a host."""
        return self.records.zones[int(self.columns.zone[row])]

    @property
    def vcpus_free(self) -> Ints:
        return self.columns.vcpus_capacity - self.columns.vcpus_used

    @property
    def memory_free(self) -> Ints:
        return self.columns.memory_capacity - self.columns.memory_used

    @property
    def disk_free(self) -> Ints:
        return self.columns.disk_capacity - self.columns.disk_used
