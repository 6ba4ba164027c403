"""What servers were given of a host's topology, and how that adds up to what is used of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class GivenCell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell of a guest on cell ``host_cell`` of its host.

    ``shared`` are processors of the guest that run on any shared one there, ``pins`` (guest's, host's) those that have one of
    their own; ``emulator`` are the host's on which its emulator runs alone, ``kept_free`` those that nobody may have beside
    them. ``page_kib`` None: the host does not tell pages apart.
    """

    host_cell: int
    shared: list[int]
    pins: list[tuple[int, int]]
    emulator: list[int] = []
    kept_free: list[int] = []
    memory_mb: int
    page_kib: int | None = None

    @property
    def taken(self) -> set[int]:
        """The host's processors that nobody else gets."""
        return {cpu for _, cpu in self.pins}.union(self.emulator, self.kept_free)


class GivenDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device, and the alias it was asked for by."""

    alias: str
    address: str


class GivenTopology(msgspec.Struct, frozen=True, kw_only=True):
    """All that one server was given on one host. ``page_kib``: what the guest is told of its pages, None for ordinary ones.

    ``emulator_shares``: its emulator runs on the host's shared processors, if there are any.
    """

    cells: list[GivenCell] = []
    emulator_shares: bool = False
    devices: list[GivenDevice] = []
    page_kib: int | None = None

    @property
    def pins(self) -> dict[int, int]:
        """The host's processor of each of the guest's that has one of its own."""
        return {guest: host for cell in self.cells for guest, host in cell.pins}

    @property
    def taken(self) -> set[int]:
        """The host's processors that nobody else gets."""
        return {cpu for cell in self.cells for cpu in cell.taken}

    @property
    def emulator(self) -> frozenset[int]:
        """The host's processors that its emulator has for itself."""
        return frozenset(cpu for cell in self.cells for cpu in cell.emulator)


class CellUse(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a cell: processors given away, how many of guests' share the others, MiB, pages by size."""

    taken: frozenset[int] = frozenset()
    shared: int = 0
    memory_mb: int = 0
    pages: dict[int, int] = {}


class TopologyUse(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a host."""

    cells: dict[int, CellUse] = {}
    devices: frozenset[str] = frozenset()

    def cell(self, number: int) -> CellUse:
        """What is used of one cell."""
        return self.cells.get(number, _UNUSED)

    def plus(self, given: GivenTopology) -> "TopologyUse":
        """With what one more server was given."""
        cells = dict(self.cells)
        for cell in given.cells:
            cells[cell.host_cell] = _with(cells.get(cell.host_cell, _UNUSED), cell)
        return TopologyUse(cells=cells, devices=self.devices | {device.address for device in given.devices})


_UNUSED = CellUse()


def _with(use: CellUse, cell: GivenCell) -> CellUse:
    pages = dict(use.pages)
    if cell.page_kib is not None:
        pages[cell.page_kib] = pages.get(cell.page_kib, 0) + cell.memory_mb * 1024 // cell.page_kib
    return CellUse(
        taken=use.taken | cell.taken,
        shared=use.shared + len(cell.shared),
        memory_mb=use.memory_mb + cell.memory_mb,
        pages=pages,
    )


def used_by(servers: Iterable[GivenTopology]) -> TopologyUse:
    """What all of them use together."""
    use = TopologyUse()
    for given in servers:
        use = use.plus(given)
    return use


def given_twice(servers: Iterable[GivenTopology]) -> list[str]:
    """The processors and devices that more than one of them, or one of them twice, was given; in words, in order."""
    counted: Counter[str] = Counter()
    for given in servers:
        for cell in given.cells:
            own = [*(host for _, host in cell.pins), *cell.emulator, *cell.kept_free]
            counted.update(f"processor {cpu}" for cpu in own)
        counted.update(f"device {device.address}" for device in given.devices)
    return sorted(what for what, times in counted.items() if times > 1)


# --- as they are kept ------------------------------------------------------------------------------------------


def read_given(document: Mapping[str, Any]) -> GivenTopology:
    """What ``msgspec.to_builtins`` made of one."""
    return msgspec.convert(document, GivenTopology)


def read_use(document: Mapping[str, Any] | None) -> TopologyUse:
    """The same of a host's use; None: nothing is used."""
    if document is None:
        return TopologyUse()
    cells = {
        int(number): CellUse(
            taken=frozenset(cell["taken"]),
            shared=cell["shared"],
            memory_mb=cell["memory_mb"],
            pages={int(size): count for size, count in cell["pages"].items()},
        )
        for number, cell in document["cells"].items()
    }
    return TopologyUse(cells=cells, devices=frozenset(document["devices"]))


class _CellUseInShort(msgspec.Struct):
    taken: list[int]


class _UseInShort(msgspec.Struct):
    cells: dict[str, _CellUseInShort]


_in_short = msgspec.json.Decoder(_UseInShort).decode


def taken_in(text: str | None) -> int:
    """How many processors are given by what ``use_document`` made, as JSON. Lists of hosts ask: so nothing else of it is read."""
    return 0 if text is None else sum(len(cell.taken) for cell in _in_short(text).cells.values())


def use_document(use: TopologyUse) -> dict[str, Any] | None:
    """A use as it is kept, everything in order; None if nothing is used."""
    if use == TopologyUse():
        return None
    return {
        "cells": {
            str(number): {
                "taken": sorted(cell.taken),
                "shared": cell.shared,
                "memory_mb": cell.memory_mb,
                "pages": {str(size): count for size, count in sorted(cell.pages.items())},
            }
            for number, cell in sorted(use.cells.items())
        },
        "devices": sorted(use.devices),
    }
