"""What a host offers, in Placement's words: inventories of resource classes, and how much of them can be claimed."""

from collections.abc import Mapping
from typing import Any

import msgspec

MOST = 2_147_483_647
"""The largest amount of anything."""

HOST_CLASSES = {"VCPU": "vcpus", "MEMORY_MB": "memory_mb", "DISK_GB": "disk_gb"}
"""What every host has by itself, and how its columns begin: cores that servers share, MiB, GiB."""

DEDICATED = "PCPU"
"""The processors of a host that are given to one server each; what it has and has given stands in its topology."""

REPORTED_CLASSES = (*HOST_CLASSES, DEDICATED)
"""What is as the host reports it."""

AGGREGATE_RATIO = "aggregate_ratio"
"""Among an operator's terms: the allocation ratio that the host's aggregates have."""

STANDARD_CLASSES = (
    *HOST_CLASSES,
    "PCI_DEVICE",
    "SRIOV_NET_VF",
    "NUMA_SOCKET",
    "NUMA_CORE",
    "NUMA_THREAD",
    "NUMA_MEMORY_MB",
    "IPV4_ADDRESS",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    DEDICATED,
    "MEM_ENCRYPTION_CONTEXT",
    "FPGA",
    "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
)
"""The classes every OpenStack cloud knows, in the order they came; any other begins with ``CUSTOM_``."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one class a host has, in what portions it is claimed, and how much of it is."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MOST
    step_size: int = 1
    allocation_ratio: float = 1.0
    capacity: int = 0
    used: int = 0

    def fits(self, amount: int, *, at_once: int = 0) -> bool:
        """Whether ``amount`` is a portion that can be claimed now, ``at_once`` with others from the same inventory."""
        portion = self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0
        return portion and self.used + max(amount, at_once) <= self.capacity


def capacity(total: int, reserved: int, ratio: float) -> int:
    """What can be claimed of an inventory in all; negative if more is kept back than there is."""
    return int(min((total - reserved) * ratio, float(MOST)))


def total(column: str, values: Mapping[str, Any]) -> int:
    """What a host has of a class of its own; processors that it keeps back from sharing are no ``VCPU``."""
    return int(values[column]) - (int(values["vcpus_reserved"]) if column == "vcpus" else 0)


def in_force(column: str, values: Mapping[str, Any], terms: Mapping[str, float]) -> tuple[int, float]:
    """(reserved of the ``total``, ratio) of a class of the host's own: as the host says, unless an operator wants it otherwise,
    for an aggregate of the host or for the very host."""
    reserved = terms.get("reserved", 0 if column == "vcpus" else values.get(f"{column}_reserved", 0))
    ratio = terms.get("allocation_ratio", terms.get(AGGREGATE_RATIO, values.get(f"{column}_ratio", 1.0)))
    return int(reserved), float(ratio)
