"""What a server asks of its host's topology: as plain values, and read from a flavor's extra specs and an image's properties.

Exact meanings are Nova's: what makes a server have NUMA cells, which of flavor and image wins, what contradicts what.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kilonova.model.errors import Invalid
from kilonova.model.flavor import Flavor
from kilonova.model.topology.cpus import CpuWishes, cpu_wishes
from kilonova.model.topology.machine import cpu_set
from kilonova.model.topology.pages import page_size

_MOST_CELLS = 64
_ALIAS = "pci_passthrough:alias"


class CellRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the guest: its processors (by the guest's numbers), those of them that want one of the host's each, and MiB.

    ``emulator``: one more of the host's processors is for the guest's emulator.
    """

    shared: list[int] = []
    dedicated: list[int] = []
    emulator: bool = False
    memory_mb: int


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a device must be. ``kind`` None: any."""

    vendor_id: str
    product_id: str
    kind: str | None = None


class DeviceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` devices that are one of ``specs`` each.

    ``affinity`` to the guest's cells: ``required``; ``legacy`` (where the device says where it is); ``preferred``.
    """

    alias: str
    count: int
    specs: list[DeviceSpec]
    affinity: str = "legacy"


class TopologyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``threads`` is a thread policy (``prefer``, ``isolate``, ``require``), ``page_size`` is ``small``, ``large``,
    ``any`` or KiB; ``guest_threads``: how many of the guest's processors are threads of one core. ``emulator_shares``: its
    emulator is to run on the shared processors, even if it has others of its own."""

    cells: list[CellRequest] = []
    threads: str | None = None
    page_size: str | int | None = None
    guest_threads: int = 1
    emulator_shares: bool = False
    devices: list[DeviceRequest] = []

    @property
    def dedicated(self) -> int:
        """How many of the guest's processors want one of the host's each."""
        return sum(len(cell.dedicated) for cell in self.cells)


def read_request(
    vcpus: int,
    memory_mb: int,
    extra_specs: Mapping[str, str],
    properties: Mapping[str, str],
    aliases: Mapping[str, DeviceRequest],
) -> TopologyRequest | None:
    """What flavor and image ask for; None if nothing. Raises ``Invalid`` for what cannot be meant."""
    said = _Said(extra_specs, properties)
    wishes = cpu_wishes(vcpus, extra_specs, properties)
    size = page_size(*said.both("mem_page_size"))
    nodes = _nodes(said)
    devices = _devices(extra_specs, properties, aliases)
    if not (nodes or size is not None or wishes.dedicated):
        return TopologyRequest(devices=devices) if devices else None
    return TopologyRequest(
        cells=_cells(nodes or 1, vcpus, memory_mb, wishes, said),
        threads=wishes.threads,
        page_size=size,
        guest_threads=wishes.guest_threads,
        emulator_shares=wishes.emulator == "share",
        devices=devices,
    )


def same_cells(flavor: Flavor, properties: Mapping[str, str], asked: TopologyRequest | None) -> bool:
    """Whether the flavor with those properties of an image asks for the same cells, whatever its devices. Raises ``Invalid``."""
    specs = {name: value for name, value in flavor.extra_specs.items() if name != _ALIAS}
    anew = read_request(flavor.vcpus, flavor.memory_mb, specs, properties, {})
    nothing = TopologyRequest()
    return (anew or nothing) == msgspec.structs.replace(asked or nothing, devices=[])


def of_flavor(flavor: Mapping[str, Any]) -> TopologyRequest | None:
    """What a server's copy of its flavor says; see ``asking``."""
    asked = flavor.get("topology")
    return None if asked is None else msgspec.convert(asked, TopologyRequest)


def asking(flavor: Mapping[str, Any], request: TopologyRequest | None) -> dict[str, Any]:
    """A flavor as a server keeps it, with what it and the image ask of a host's topology."""
    if request is None:
        return {key: value for key, value in flavor.items() if key != "topology"}
    return {**flavor, "topology": msgspec.to_builtins(request)}


class _Said:
    """Extra specs ``hw:…`` and their twins ``hw_…`` among the image's properties."""

    def __init__(self, extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> None:
        self._extra_specs = extra_specs
        self._properties = properties

    def both(self, name: str) -> tuple[str | None, str | None]:
        return self._extra_specs.get(f"hw:{name}"), _text(self._properties.get(f"hw_{name}"))

    def one_of(self, name: str) -> str | None:
        """The flavor's word or the image's. Raises ``Invalid`` if both have one."""
        flavor, image = self.both(name)
        if flavor is not None and image is not None:
            raise Invalid(
                f"Image property 'hw_{name}' is not permitted to override NUMA configuration set against the flavor"
            )
        return image if flavor is None else flavor


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _nodes(said: _Said) -> int | None:
    text = said.one_of("numa_nodes")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_CELLS:
        raise Invalid(f"The property 'numa_nodes' cannot be '{text[:64]}'. It must be a number greater than 0")
    return int(text)


# --- the guest's cells -----------------------------------------------------------------------------------------


def _cells(nodes: int, vcpus: int, memory_mb: int, wishes: CpuWishes, said: _Said) -> list[CellRequest]:
    cpus = _by_cell(said, "numa_cpus")
    memory = _by_cell(said, "numa_mem")
    if cpus is None and memory is None:
        if vcpus % nodes or memory_mb % nodes:
            raise Invalid("Asymmetric instance topology, must provide CPUs and memory for each node explicitly")
        each = vcpus // nodes
        groups: list[Iterable[int]] = [range(node * each, (node + 1) * each) for node in range(nodes)]
        sizes = [memory_mb // nodes] * nodes
    else:
        if cpus is None or memory is None or len(cpus) != nodes or len(memory) != nodes:
            raise Invalid("CPU and memory allocation must be provided for all NUMA nodes")
        groups = list(_groups(vcpus, cpus))
        sizes = _sizes(memory_mb, memory)
    return [
        CellRequest(
            shared=[cpu for cpu in group if cpu not in wishes.dedicated],
            dedicated=[cpu for cpu in group if cpu in wishes.dedicated],
            emulator=wishes.emulator == "isolate" and number == 0,
            memory_mb=size,
        )
        for number, (group, size) in enumerate(zip(groups, sizes, strict=True))
    ]


def _by_cell(said: _Said, name: str) -> list[str] | None:
    """``hw:numa_cpus.0``, ``.1``, … up to the first that is missing."""
    found: list[str] = []
    while len(found) < _MOST_CELLS and (text := said.one_of(f"{name}.{len(found)}")) is not None:
        found.append(text)
    return found or None


def _groups(vcpus: int, texts: Sequence[str]) -> list[list[int]]:
    groups: list[list[int]] = []
    left = set(range(vcpus))
    for text in texts:
        try:
            group = cpu_set(text)
        except ValueError:
            raise Invalid(f"Invalid inclusion expression '{text[:64]}'") from None
        for cpu in sorted(group):
            if cpu >= vcpus:
                raise Invalid(f"CPU number {cpu} is larger than max {vcpus - 1}")
            if cpu not in left:
                raise Invalid(f"CPU number {cpu} is assigned to two nodes")
            left.remove(cpu)
        groups.append(sorted(group))
    if left:
        raise Invalid(f"CPU number {', '.join(str(cpu) for cpu in sorted(left)[:16])} is not assigned to any node")
    return groups


def _sizes(memory_mb: int, texts: Sequence[str]) -> list[int]:
    if not all(text.isdecimal() and 0 < int(text) <= memory_mb for text in texts):
        raise Invalid(f"Memory of NUMA nodes must be whole MiB of the flavor's {memory_mb}")
    sizes = [int(text) for text in texts]
    if sum(sizes) != memory_mb:
        raise Invalid(f"{sum(sizes)} MB of memory assigned, but expected {memory_mb} MB")
    return sizes


# --- devices ---------------------------------------------------------------------------------------------------

AFFINITIES = ("required", "legacy", "preferred", "socket")


def _devices(
    extra_specs: Mapping[str, str], properties: Mapping[str, str], aliases: Mapping[str, DeviceRequest]
) -> list[DeviceRequest]:
    text = extra_specs.get(_ALIAS)
    flavor, image = _Said(extra_specs, properties).both("pci_numa_affinity_policy")
    if flavor and image and flavor != image:
        raise Invalid(
            "Image property 'hw_pci_numa_affinity_policy' is not permitted to override the flavor's "
            "'hw:pci_numa_affinity_policy'"
        )
    policy = flavor or image
    if policy and policy not in AFFINITIES:
        raise Invalid(f"Invalid PCI-NUMA affinity policy '{policy[:64]}'; known are {', '.join(AFFINITIES)}")
    if not text:
        return []
    return [_device(part, policy, aliases) for part in text.split(",")]


def _device(part: str, policy: str | None, aliases: Mapping[str, DeviceRequest]) -> DeviceRequest:
    name, _, count = (word.strip() for word in part.partition(":"))
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise Invalid(f"PCI alias request '{part.strip()[:64]}' is not of the form name:count")
    if name not in aliases:
        raise Invalid(f"PCI alias {name[:64]} is not defined")
    known = aliases[name]
    affinity = policy or known.affinity
    return msgspec.structs.replace(known, count=int(count), affinity="required" if affinity == "socket" else affinity)
