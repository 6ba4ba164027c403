"""What a fake host pretends to be, how long its verbs take, and how they fail."""

import re

import msgspec

from kilonova.model.errors import Misconfigured
from kilonova.model.topology.machine import Cell, Device, Pages, Topology

_DEVICE = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?:@(\d{1,3}))?")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The next ``times`` calls of ``verb`` fail (-1: all of them).

    ``retry`` is the ``HostFault``'s; ``after`` seconds of the verb's work it fails, and ``server_id`` narrows it to
    one server. ``hang`` means the verb never returns: what a host that died in the middle looks like.
    """

    verb: str
    times: int = 1
    retry: bool = True
    after: float = 0.0
    server_id: str | None = None
    hang: bool = False
    message: str = "the fake hypervisor was told to fail here"


class FakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A fake host.

    ``vcpus``, ``memory_mb`` (MiB) and ``disk_gb`` (GiB) are what it claims to have. ``delays`` are seconds by verb;
    a verb that is missing takes no time. ``jitter`` spreads each delay evenly by that share (0.2: ±20 %).
    ``faults`` can also be added while it runs (``FakeDriver.inject``). Processors and memory lie in ``numa_cells``, cores have
    ``threads``; ``huge_pages`` of each cell are of 2 MiB.
    """

    vcpus: int = 64
    memory_mb: int = 262_144
    disk_gb: int = 4_096
    delays: dict[str, float] = {}
    jitter: float = 0.2
    faults: list[Fault] = []
    numa_cells: int = 1
    threads: int = 1
    huge_pages: int = 0
    pci_devices: list[Device] = []

    def topology(self) -> Topology:
        """Processors and memory in cells alike; what cannot be divided is the last cell's."""
        cells = []
        for number in range(self.numa_cells):
            first, last = (self.vcpus * at // self.numa_cells for at in (number, number + 1))
            cpus = list(range(first, last))
            memory_mb = self.memory_mb // self.numa_cells
            small = (memory_mb - 2 * self.huge_pages) * 256
            pages = [Pages(4, max(small, 0)), Pages(2048, self.huge_pages)] if self.huge_pages else []
            cores = [cpus[at : at + self.threads] for at in range(0, len(cpus), self.threads)]
            siblings = cores if self.threads > 1 else []
            cells.append(Cell(id=number, shared=cpus, siblings=siblings, memory_mb=memory_mb, pages=pages))
        return Topology(cells=cells, devices=self.pci_devices)


def read_device(text: str, number: int) -> Device:
    """A device out of ``vendor:product`` or ``vendor:product@cell``. Raises ``Misconfigured``."""
    found = _DEVICE.fullmatch(text)
    if found is None:
        raise Misconfigured(
            f"option compute.fake_pci_devices: {text[:64]!r} is not vendor:product or vendor:product@cell"
        )
    vendor, product, cell = found.groups()
    return Device(
        address=f"0000:{number // 32 + 1:02x}:{number % 32:02x}.0",
        vendor_id=vendor.lower(),
        product_id=product.lower(),
        cell=None if cell is None else int(cell),
    )


REALISTIC_DELAYS = {
    "start": 0.05,
    "prepare": 0.15,
    "release": 0.005,
    "destroy": 0.03,
    "power_on": 0.06,
    "power_off": 2.2,
    "reboot": 2.3,
}
"""What the QEMU driver takes, measured on two cores with the test guest (seconds)."""
