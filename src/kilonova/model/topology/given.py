"""What servers were given of a host's topology, and how that adds up to what is used of it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", int, str)


class GivenCell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell of a guest on cell ``host_cell`` of its host.

    ``shared`` are processors of the guest that run on any shared one there, ``pins`` (guest's, host's) those that have one of
    their own; ``kept_free`` are the host's that nobody may have beside them. ``page_kib`` None: the host does not tell pages
    apart.
    """

    host_cell: int
    shared: list[int]
    pins: list[tuple[int, int]]
    kept_free: list[int] = []
    memory_mb: int
    page_kib: int | None = None

    @property
    def taken(self) -> set[int]:
        """The host's processors that nobody else gets."""
        return {cpu for _, cpu in self.pins} | set(self.kept_free)


class GivenDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device, and the alias it was asked for by."""

    alias: str
    address: str


class GivenTopology(msgspec.Struct, frozen=True, kw_only=True):
    """All that one server was given on one host. ``page_kib``: what the guest is told of its pages, None for ordinary ones."""

    cells: list[GivenCell] = []
    devices: list[GivenDevice] = []
    page_kib: int | None = None

    @property
    def pins(self) -> dict[int, int]:
        """The host's processor of each of the guest's that has one of its own."""
        return {guest: host for cell in self.cells for guest, host in cell.pins}


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
        """Raises ``ValueError`` if something of it is used already."""
        return self._changed(given, 1)

    def minus(self, given: GivenTopology) -> "TopologyUse":
        """Raises ``ValueError`` if something of it is not used."""
        return self._changed(given, -1)

    def _changed(self, given: GivenTopology, sign: int) -> "TopologyUse":
        cells = dict(self.cells)
        for cell in given.cells:
            changed = _cell_changed(cells.get(cell.host_cell, _UNUSED), cell, sign)
            cells[cell.host_cell] = changed
            if changed == _UNUSED:
                del cells[cell.host_cell]
        addresses = [device.address for device in given.devices]
        devices = _set_changed(self.devices, frozenset(addresses), sign, "device")
        if len(set(addresses)) != len(addresses):
            raise ValueError("a device is given twice")
        return TopologyUse(cells=cells, devices=devices)


_UNUSED = CellUse()


def _cell_changed(use: CellUse, cell: GivenCell, sign: int) -> CellUse:
    pages = dict(use.pages)
    if cell.page_kib is not None:
        pages[cell.page_kib] = pages.get(cell.page_kib, 0) + sign * (cell.memory_mb * 1024 // cell.page_kib)
    changed = CellUse(
        taken=_set_changed(use.taken, frozenset(cell.taken), sign, "processor"),
        shared=use.shared + sign * len(cell.shared),
        memory_mb=use.memory_mb + sign * cell.memory_mb,
        pages={size: number for size, number in sorted(pages.items()) if number},
    )
    if min(changed.shared, changed.memory_mb, *changed.pages.values()) < 0:
        raise ValueError(f"more is given back of cell {cell.host_cell} than is used of it")
    return changed


def _set_changed(used: frozenset[T], these: frozenset[T], sign: int, what: str) -> frozenset[T]:
    if sign > 0 and used & these:
        raise ValueError(f"{what} {min(used & these, key=str)} is given away already")
    if sign < 0 and not these <= used:
        raise ValueError(f"{what} {min(these - used, key=str)} is not given away")
    return used | these if sign > 0 else used - these


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
                "pages": {str(size): count for size, count in cell.pages.items()},
            }
            for number, cell in sorted(use.cells.items())
        },
        "devices": sorted(use.devices),
    }
