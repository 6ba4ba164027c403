"""Filters and weighers by the names they have in the configuration; ours, and those that plug in by entry point."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

from kilonova.config import SchedulerConfig
from kilonova.model.errors import Misconfigured
from kilonova.scheduler.filters.aggregates import (
    AggregateImagePropertiesIsolation,
    AggregateInstanceExtraSpecsFilter,
    AggregateMultiTenancyIsolation,
    AggregateTypeAffinityFilter,
)
from kilonova.scheduler.filters.capabilities import ComputeCapabilitiesFilter
from kilonova.scheduler.filters.capacity import CapacityFilter
from kilonova.scheduler.filters.image import ImagePropertiesFilter
from kilonova.scheduler.filters.isolation import IsolatedHostsFilter
from kilonova.scheduler.filters.limits import (
    AggregateIoOpsFilter,
    AggregateNumInstancesFilter,
    IoOpsFilter,
    NumInstancesFilter,
)
from kilonova.scheduler.filters.metrics import MetricsFilter
from kilonova.scheduler.filters.near import SimpleCIDRAffinityFilter
from kilonova.scheduler.filters.neighbours import (
    DifferentHostFilter,
    SameHostFilter,
    ServerGroupAffinityFilter,
    ServerGroupAntiAffinityFilter,
)
from kilonova.scheduler.filters.placement import IsolatedAggregatesFilter, TenantAggregatesFilter, TraitsFilter
from kilonova.scheduler.filters.query import JsonFilter
from kilonova.scheduler.filters.state import (
    AllHostsFilter,
    AvailabilityZoneFilter,
    ComputeFilter,
    RequestedHostFilter,
)
from kilonova.scheduler.rules import Filter, Filters, Weigher, Weighers
from kilonova.scheduler.weighers.free import CPUWeigher, DiskWeigher, NumInstancesWeigher, RAMWeigher
from kilonova.scheduler.weighers.measured import ImagePropertiesWeigher, MetricsWeigher
from kilonova.scheduler.weighers.neighbours import ServerGroupSoftAffinityWeigher, ServerGroupSoftAntiAffinityWeigher
from kilonova.scheduler.weighers.standing import BuildFailureWeigher, HypervisorVersionWeigher, IoOpsWeigher

FilterMaker = Callable[[SchedulerConfig], Filter]
WeigherMaker = Callable[[SchedulerConfig], Weigher]
R = TypeVar("R")

_PLAIN_FILTERS: tuple[type[Filter], ...] = (
    AllHostsFilter,
    ComputeFilter,
    AvailabilityZoneFilter,
    RequestedHostFilter,
    ComputeCapabilitiesFilter,
    TraitsFilter,
    IsolatedAggregatesFilter,
    AggregateInstanceExtraSpecsFilter,
    AggregateMultiTenancyIsolation,
    AggregateTypeAffinityFilter,
    ServerGroupAntiAffinityFilter,
    ServerGroupAffinityFilter,
    SameHostFilter,
    DifferentHostFilter,
    SimpleCIDRAffinityFilter,
    JsonFilter,
    CapacityFilter,
)
_FILTERS_WITH_OPTIONS: dict[str, FilterMaker] = {
    "ImagePropertiesFilter": lambda options: ImagePropertiesFilter(options.image_properties_default_architecture),
    "AggregateImagePropertiesIsolation": lambda options: AggregateImagePropertiesIsolation(
        options.aggregate_image_properties_isolation_namespace,
        options.aggregate_image_properties_isolation_separator,
    ),
    "TenantAggregatesFilter": lambda options: TenantAggregatesFilter(
        required=options.placement_aggregate_required_for_tenants
    ),
    "IsolatedHostsFilter": lambda options: IsolatedHostsFilter(
        options.isolated_hosts,
        options.isolated_images,
        restrict=options.restrict_isolated_hosts_to_isolated_images,
    ),
    "NumInstancesFilter": lambda options: NumInstancesFilter(options.max_instances_per_host),
    "AggregateNumInstancesFilter": lambda options: AggregateNumInstancesFilter(options.max_instances_per_host),
    "MetricsFilter": lambda options: MetricsFilter(options.metrics_weight_setting),
    "IoOpsFilter": lambda options: IoOpsFilter(options.max_io_ops_per_host),
    "AggregateIoOpsFilter": lambda options: AggregateIoOpsFilter(options.max_io_ops_per_host),
}
_PLAIN_WEIGHERS: tuple[type[Weigher], ...] = (
    RAMWeigher,
    CPUWeigher,
    DiskWeigher,
    NumInstancesWeigher,
    IoOpsWeigher,
    BuildFailureWeigher,
    HypervisorVersionWeigher,
    ServerGroupSoftAffinityWeigher,
    ServerGroupSoftAntiAffinityWeigher,
)
_WEIGHERS_WITH_OPTIONS: dict[str, WeigherMaker] = {
    "MetricsWeigher": lambda options: MetricsWeigher(
        options.metrics_weight_setting, options.metrics_weight_of_unavailable
    ),
    "ImagePropertiesWeigher": lambda options: ImagePropertiesWeigher(options.image_props_weight_setting),
}
FILTERS: dict[str, FilterMaker] = {
    **{plain.__name__: lambda _, plain=plain: plain() for plain in _PLAIN_FILTERS},  # type: ignore[misc]
    **_FILTERS_WITH_OPTIONS,
}
WEIGHERS: dict[str, WeigherMaker] = {
    **{plain.__name__: lambda _, plain=plain: plain() for plain in _PLAIN_WEIGHERS},  # type: ignore[misc]
    **_WEIGHERS_WITH_OPTIONS,
}


def make_filters(names: Sequence[str], options: SchedulerConfig) -> Filters:
    """The filters of those names, in that order. Raises ``Misconfigured`` for an unknown one."""
    return {name: _made(name, FILTERS, "filters", options) for name in names}


def make_weighers(options: SchedulerConfig) -> Weighers:
    """The weighers in force with their multipliers. Raises ``Misconfigured`` for an unknown one."""
    return {
        name: (_made(name, WEIGHERS, "weighers", options), multiplier)
        for name, multiplier in options.weighers.items()
    }


def _made(name: str, ours: Mapping[str, Callable[[SchedulerConfig], R]], what: str, options: SchedulerConfig) -> R:
    if name in ours:
        return ours[name](options)
    for found in entry_points(group=f"kilonova.{what}", name=name):
        plugged: Callable[[], R] = found.load()
        return plugged()
    raise Misconfigured(f"option scheduler.{what}: there is no {name!r}; known are {', '.join(sorted(ours))}")
