"""Filters and weighers by the names they have in the configuration; ours, and those that plug in by entry point."""

from importlib.metadata import entry_points

from kilonova.model.errors import Misconfigured
from kilonova.scheduler.filters.capacity import CapacityFilter
from kilonova.scheduler.filters.neighbours import (
    DifferentHostFilter,
    SameHostFilter,
    ServerGroupAffinityFilter,
    ServerGroupAntiAffinityFilter,
)
from kilonova.scheduler.filters.properties import ComputeCapabilitiesFilter, ImagePropertiesFilter
from kilonova.scheduler.filters.state import AvailabilityZoneFilter, ComputeFilter, RequestedHostFilter
from kilonova.scheduler.filters.topology import NUMATopologyFilter, PciPassthroughFilter
from kilonova.scheduler.rules import Filter, Weigher
from kilonova.scheduler.weighers.devices import PCIWeigher
from kilonova.scheduler.weighers.free import CPUWeigher, DiskWeigher, NumInstancesWeigher, RAMWeigher
from kilonova.scheduler.weighers.neighbours import ServerGroupSoftAffinityWeigher, ServerGroupSoftAntiAffinityWeigher

FILTERS: dict[str, type[Filter]] = {
    filter_class.__name__: filter_class
    for filter_class in (
        ComputeFilter,
        AvailabilityZoneFilter,
        RequestedHostFilter,
        ComputeCapabilitiesFilter,
        ImagePropertiesFilter,
        ServerGroupAntiAffinityFilter,
        ServerGroupAffinityFilter,
        SameHostFilter,
        DifferentHostFilter,
        CapacityFilter,
        NUMATopologyFilter,
        PciPassthroughFilter,
    )
}
WEIGHERS: dict[str, type[Weigher]] = {
    weigher_class.__name__: weigher_class
    for weigher_class in (
        RAMWeigher,
        CPUWeigher,
        DiskWeigher,
        NumInstancesWeigher,
        PCIWeigher,
        ServerGroupSoftAffinityWeigher,
        ServerGroupSoftAntiAffinityWeigher,
    )
}


def make_filters(names: list[str]) -> dict[str, Filter]:
    """The filters of those names, in that order. Raises ``Misconfigured`` for an unknown one."""
    return {name: (FILTERS.get(name) or _plugged("kilonova.filters", name, "scheduler.filters"))() for name in names}


def make_weighers(multipliers: dict[str, float]) -> dict[str, tuple[Weigher, float]]:
    """The weighers of those names with their multipliers. Raises ``Misconfigured`` for an unknown one."""
    return {
        name: ((WEIGHERS.get(name) or _plugged("kilonova.weighers", name, "scheduler.weighers"))(), multiplier)
        for name, multiplier in multipliers.items()
    }


def _plugged(group: str, name: str, option: str) -> type:
    for found in entry_points(group=group, name=name):
        loaded: type = found.load()
        return loaded
    known = sorted(FILTERS if group == "kilonova.filters" else WEIGHERS)
    raise Misconfigured(f"option {option}: there is no {name!r}; known are {', '.join(known)}")
