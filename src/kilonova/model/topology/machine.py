"""What a machine has: NUMA cells with processors, memory and pages, and PCI devices."""

import re

import msgspec

from kilonova.model.errors import Misconfigured

_RANGE = re.compile(r"(\^?)(\d{1,5})(?:-(\d{1,5}))?")
_MOST = 65_536


class Pages(msgspec.Struct, frozen=True):
    """The memory of a cell in pages of one size: how many there are."""

    size_kib: int
    total: int


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A NUMA cell. ``shared`` are the processors that many servers may use, ``dedicated`` those that are given to one each.

    ``siblings``: processors that are threads of one core. ``pages``: memory by size of page, ordinary pages first; empty where
    the host does not say.
    """

    id: int
    shared: list[int]
    dedicated: list[int] = []
    siblings: list[list[int]] = []
    memory_mb: int
    pages: list[Pages] = []

    @property
    def cores(self) -> list[list[int]]:
        """Every processor, grouped by core; one without siblings is a core by itself."""
        grouped = {cpu for core in self.siblings for cpu in core}
        alone = [[cpu] for cpu in sorted({*self.shared, *self.dedicated} - grouped)]
        return [*self.siblings, *alone]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A PCI device for one server. ``kind`` is ``type-PCI``, ``type-PF`` or ``type-VF``; ``cell``: None if unknown."""

    address: str
    vendor_id: str
    product_id: str
    kind: str = "type-PCI"
    cell: int | None = None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """All of a machine. Shared processors and their memory may be promised ``cpu_ratio`` and ``memory_ratio`` times."""

    cells: list[Cell] = []
    devices: list[Device] = []
    cpu_ratio: float = 1.0
    memory_ratio: float = 1.0

    @property
    def shared_cpus(self) -> int:
        """How many processors servers share."""
        return sum(len(cell.shared) for cell in self.cells)


class _CellInShort(msgspec.Struct):
    dedicated: list[int] = []


class _TopologyInShort(msgspec.Struct):
    cells: list[_CellInShort] = []


_in_short = msgspec.json.Decoder(_TopologyInShort).decode


def dedicated_in(text: str | None) -> int:
    """How many processors a topology, as JSON, has for one server each. Lists of hosts ask: so nothing else of it is read."""
    return 0 if text is None else sum(len(cell.dedicated) for cell in _in_short(text).cells)


def cpu_set(text: str) -> set[int]:
    """The processors that ``0-3,^2,8`` names: ranges, single ones, ``^`` for those not meant. Raises ``ValueError``."""
    wanted: set[int] = set()
    unwanted: set[int] = set()
    for part in text.split(","):
        if not part.strip():
            continue
        found = _RANGE.fullmatch(part.strip())
        first = int(found[2]) if found else -1
        last = int(found[3] or first) if found else -1
        if found is None or not 0 <= first <= last < _MOST:
            raise ValueError(f"{part.strip()[:64]!r} is no range of processors")
        (unwanted if found[1] else wanted).update(range(first, last + 1))
    return wanted - unwanted


def divided(topology: Topology, dedicated_set: str | None, shared_set: str | None) -> Topology:
    """The machine as servers may use it. Raises ``Misconfigured`` for sets that overlap or that the machine does not have.

    With neither set all processors are shared; with a dedicated set alone none is.
    """
    if dedicated_set is None and shared_set is None:
        return topology
    dedicated, shared = named_cpus("cpu_dedicated_set", dedicated_set), named_cpus("cpu_shared_set", shared_set)
    if both := dedicated & shared:
        raise Misconfigured(f"option compute.cpu_shared_set: {_words(both)} are in compute.cpu_dedicated_set too")
    there = {cpu for cell in topology.cells for cpu in cell.shared}
    if missing := (dedicated | shared) - there:
        raise Misconfigured(f"option compute.cpu_dedicated_set or cpu_shared_set: the host has no {_words(missing)}")
    cells = [
        msgspec.structs.replace(
            cell,
            shared=[cpu for cpu in cell.shared if cpu in shared],
            dedicated=[cpu for cpu in cell.shared if cpu in dedicated],
        )
        for cell in topology.cells
    ]
    return msgspec.structs.replace(topology, cells=cells)


def named_cpus(name: str, text: str | None) -> set[int]:
    """The processors that the option of that name says. Raises ``Misconfigured``."""
    try:
        return cpu_set(text or "")
    except ValueError as error:
        raise Misconfigured(f"option compute.{name}: {error}") from None


def _words(cpus: set[int]) -> str:
    named = ", ".join(str(cpu) for cpu in sorted(cpus)[:8])
    return f"processors {named}{', …' if len(cpus) > 8 else ''}"
