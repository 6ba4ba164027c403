"""Fits what a server asks onto what a host has left: the one function that filters, claims and questions use. Pure.

Each of the guest's cells goes to a cell of its own on the host. Cells with more left are taken first, those without devices
before those with; a guest that wants devices goes to those that have them.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, islice

import msgspec

from kilonova.model.topology.given import CellUse, GivenCell, GivenDevice, GivenTopology, TopologyUse
from kilonova.model.topology.machine import Cell, Device, Topology
from kilonova.model.topology.matching import matched
from kilonova.model.topology.request import CellRequest, DeviceRequest, DeviceSpec, TopologyRequest

_MOST_TRIED = 20_000  # sets of the host's cells; a host of 16 has no more for any guest


class NoFit(msgspec.Struct, frozen=True, kw_only=True):
    """Why it does not fit. ``devices``: it is for want of them; else cells, processors or memory are short."""

    need: str
    have: str
    devices: bool = False


def fit(topology: Topology, use: TopologyUse, request: TopologyRequest) -> GivenTopology | NoFit:
    """What the server would be given, or why it cannot be."""
    free = [device for device in topology.devices if device.address not in use.devices]
    if not request.cells:
        devices = _devices(request.devices, free, None)
        return _no_devices(request, free) if devices is None else GivenTopology(devices=devices)
    if len(request.cells) > len(topology.cells):
        return NoFit(need=f"{len(request.cells)} NUMA cells", have=f"{len(topology.cells)}")
    offers = _offers(topology, use, request, free)
    if matched([sorted(row) for row in offers]) is None:
        return _short_of_cells(topology, use, request)
    for cells in _choices(offers, request):
        devices = _devices(request.devices, free, {cell.host_cell for cell in cells})
        if devices is not None:
            page = max((cell.page_kib or 0 for cell in cells), default=0) if request.page_size is not None else 0
            return GivenTopology(
                cells=cells, emulator_shares=request.emulator_shares, devices=devices, page_kib=page or None
            )
    return _no_devices(request, free)


Offers = list[dict[int, GivenCell]]
"""For each of the guest's cells, what each of the host's would give it; best first."""


def _offers(topology: Topology, use: TopologyUse, request: TopologyRequest, free: Sequence[Device]) -> Offers:
    with_devices = {device.cell for device in topology.devices if device.cell is not None}
    wants_devices = bool(request.devices)

    def rank(cell: Cell) -> tuple[bool, int, int, int]:
        used = use.cell(cell.id)
        return (
            (cell.id in with_devices) is not wants_devices,
            len(used.taken) - len(cell.dedicated),
            used.shared + used.memory_mb - cell.memory_mb,
            cell.id,
        )

    ordered = sorted(topology.cells, key=rank)
    return [
        {
            cell.id: given
            for cell in ordered
            if isinstance(given := fit_cell(topology, cell, use.cell(cell.id), asked, request), GivenCell)
        }
        for asked in request.cells
    ]


def _choices(offers: Offers, request: TopologyRequest) -> Iterator[list[GivenCell]]:
    """Ways to give each of the guest's cells one of the host's: one, if it does not matter to devices which; else one for each
    set of the host's cells."""
    everything = list(dict.fromkeys(number for row in offers for number in row))
    chosen = matched([list(row) for row in offers])
    if chosen is not None:
        yield [row[number] for row, number in zip(offers, chosen, strict=True)]
    if not request.devices:
        return
    for some in islice(combinations(everything, len(offers)), _MOST_TRIED):
        chosen = matched([[number for number in row if number in some] for row in offers])
        if chosen is not None:
            yield [row[number] for row, number in zip(offers, chosen, strict=True)]


# --- one cell --------------------------------------------------------------------------------------------------


def fit_cell(
    topology: Topology, cell: Cell, use: CellUse, asked: CellRequest, request: TopologyRequest
) -> GivenCell | NoFit:
    """One of the guest's cells on one of the host's."""
    page = _page(cell, use, asked, request)
    if isinstance(page, NoFit):
        return page
    if (asked.shared or not asked.dedicated) and (short := _shared_short(topology, cell, use, asked)):
        return short
    chosen = _own(cell, use, asked, request.threads)
    if isinstance(chosen, NoFit):
        return chosen
    kept_free: set[int] = set()
    if request.threads == "isolate":
        kept_free = {cpu for core in cell.cores if set(core) & set(chosen) for cpu in core} - set(chosen)
    return GivenCell(
        host_cell=cell.id,
        shared=asked.shared,
        pins=list(zip(asked.dedicated, chosen, strict=False)),
        emulator=chosen[len(asked.dedicated) :],
        kept_free=sorted(kept_free),
        memory_mb=asked.memory_mb,
        page_kib=page,
    )


def _shared_short(topology: Topology, cell: Cell, use: CellUse, asked: CellRequest) -> NoFit | None:
    """No guest shares processors or memory with itself; many may share them as far as the ratios say."""
    wanted, most = len(asked.shared), int(len(cell.shared) * topology.cpu_ratio)
    if wanted > len(cell.shared) or use.shared + wanted > most:
        have = f"{min(len(cell.shared), max(most - use.shared, 0))} on cell {cell.id}"
        return NoFit(need=f"{wanted} shared processors of one cell", have=have)
    memory = int(cell.memory_mb * topology.memory_ratio)
    if use.memory_mb + asked.memory_mb > memory:
        have = f"{max(memory - use.memory_mb, 0)} MiB on cell {cell.id}"
        return NoFit(need=f"{asked.memory_mb} MiB of one cell", have=have)
    return None


def _page(cell: Cell, use: CellUse, asked: CellRequest, request: TopologyRequest) -> int | NoFit | None:
    """The size of the pages that the cell's memory would be; None where the host does not tell them apart."""
    sizes = sorted(pool.size_kib for pool in cell.pages)
    total = {pool.size_kib: pool.total for pool in cell.pages}
    wanted = asked.memory_mb * 1024
    overcommits = not asked.dedicated
    if request.page_size is None:
        if not sizes:
            left = cell.memory_mb - (0 if overcommits else use.memory_mb)
        else:
            left = (total[sizes[0]] - (0 if overcommits else use.pages.get(sizes[0], 0))) * sizes[0] // 1024
        if asked.memory_mb > left:
            return NoFit(need=f"{asked.memory_mb} MiB of one cell", have=f"{max(left, 0)} MiB on cell {cell.id}")
        return sizes[0] if sizes and wanted % sizes[0] == 0 else None
    for size in _allowed(sizes, request.page_size):
        if wanted % size == 0 and wanted // size <= total[size] - use.pages.get(size, 0):
            return size
    free = ", ".join(f"{total[size] - use.pages.get(size, 0)} of {size} KiB" for size in sizes) or "none are told"
    return NoFit(
        need=f"{asked.memory_mb} MiB in pages '{request.page_size}'", have=f"pages on cell {cell.id}: {free}"
    )


def _allowed(sizes: Sequence[int], wanted: str | int) -> list[int]:
    if wanted == "small":
        return list(sizes[:1])
    if wanted == "large":
        return list(reversed(sizes[1:]))
    if wanted == "any":
        return list(reversed(sizes))
    return [size for size in sizes if size == wanted]


def _own(cell: Cell, use: CellUse, asked: CellRequest, policy: str | None) -> list[int] | NoFit:
    """Processors of the host that nobody has: one for each that wants one, behind them the emulator's if it wants one too."""
    number = len(asked.dedicated) + asked.emulator
    words = f" ({len(asked.dedicated)} and one for the emulator)" if asked.emulator else ""
    usable = set(cell.dedicated) - use.taken
    if policy == "isolate":
        alone = [core[0] for core in cell.cores if set(core) <= usable]
        if len(alone) >= number:
            return alone[:number]
        have = f"{len(alone)} on cell {cell.id}"
        return NoFit(need=f"{number} dedicated cores that are wholly free{words}", have=have)
    free = [left for core in cell.cores if (left := [cpu for cpu in core if cpu in usable])]
    chosen = _threads(free, len(asked.dedicated), policy)
    if chosen is None and policy == "require":
        pairs = sum(len(left) for left in free if len(left) > 1)
        return NoFit(need=f"{len(asked.dedicated)} dedicated thread siblings", have=f"{pairs} on cell {cell.id}")
    if chosen is None or len(usable) < number:
        return NoFit(
            need=f"{number} dedicated processors of one cell{words}", have=f"{len(usable)} on cell {cell.id}"
        )
    if not asked.emulator:
        return chosen
    rest = sorted(([cpu for cpu in left if cpu not in chosen] for left in free), key=len)
    return [*chosen, next(cpu for left in rest for cpu in left)]


def _threads(free: Sequence[list[int]], number: int, policy: str | None) -> list[int] | None:
    """``number`` of the processors that are ``free`` by core, whole cores first; None if there are too few."""
    if not number:
        return []
    for threads in range(max((len(left) for left in free), default=0), 1, -1):
        taken = [cpu for left in free if len(left) >= threads for cpu in left[:threads]]
        if len(taken) >= number:
            return taken[:number]
    single = [cpu for left in sorted(free, key=len) for cpu in left]
    return single[:number] if policy != "require" and len(single) >= number else None


def _short_of_cells(topology: Topology, use: TopologyUse, request: TopologyRequest) -> NoFit:
    """Of the guest's cells the first that fits nowhere, and how it misses the cell with most left; else all of them together."""
    for asked in request.cells:
        reasons = [fit_cell(topology, cell, use.cell(cell.id), asked, request) for cell in topology.cells]
        missed = [reason for reason in reasons if isinstance(reason, NoFit)]
        if len(missed) == len(reasons):
            return NoFit(need=missed[0].need, have="; ".join(reason.have for reason in missed[:4]))
    return NoFit(need=f"{len(request.cells)} NUMA cells at once", have="fewer that have room")


# --- devices ---------------------------------------------------------------------------------------------------


def _devices(
    asked: Sequence[DeviceRequest], free: Sequence[Device], cells: set[int] | None
) -> list[GivenDevice] | None:
    """One device for each that is asked for; ``cells`` are the host's that the guest is on, None if it has none of its own."""
    units = [request for request in asked for _ in range(request.count)]
    if not units:
        return []
    if len(units) > len(free):
        return None
    by_address = sorted(free, key=lambda device: device.address)
    found = matched([[device.address for device in _suitable(request, by_address, cells)] for request in units])
    if found is None:
        return None
    return [GivenDevice(alias=unit.alias, address=address) for unit, address in zip(units, found, strict=True)]


def _suitable(request: DeviceRequest, free: Sequence[Device], cells: set[int] | None) -> list[Device]:
    """Those near the guest first."""
    these = [device for device in free if any(_is(device, spec) for spec in request.specs)]
    if cells is None:
        return these
    near = [device for device in these if device.cell in cells]
    if request.affinity == "required":
        return near
    unknown = [device for device in these if device.cell is None]
    if request.affinity == "legacy":
        return [*near, *unknown]
    return [*near, *unknown, *(device for device in these if device.cell is not None and device.cell not in cells)]


def _is(device: Device, spec: DeviceSpec) -> bool:
    same = (device.vendor_id, device.product_id) == (spec.vendor_id, spec.product_id)
    return same and spec.kind in (None, device.kind)


def _no_devices(request: TopologyRequest, free: Sequence[Device]) -> NoFit:
    need = ", ".join(f"{asked.count} {asked.alias}" for asked in request.devices)
    there = ", ".join(f"{len(_suitable(asked, free, None))} {asked.alias}" for asked in request.devices)
    near = " near its cells" if request.cells else ""
    return NoFit(need=f"devices{near}: {need}", have=f"free: {there}", devices=True)
