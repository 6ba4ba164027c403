"""The filters once more, slow and plain: one host, one request, one question at a time.

Written from what Nova's documentation says of each rule, without a word of ours: no columns, no records, no caches.
"""

import ipaddress
import json
from typing import Any

import msgspec

from kilonova.config import SchedulerConfig
from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import Neighbours
from tests.unit.scheduler.fleets import Group, Host


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verdict depends on."""

    host: Host
    groups: tuple[Group, ...]
    request: ScheduleServer
    neighbours: Neighbours
    options: SchedulerConfig

    @property
    def mine(self) -> list[Group]:
        """The aggregates the host is in."""
        return [group for group in self.groups if self.host.name in group.hosts]


def dropped_by(case: Case, filters: list[str]) -> str | None:
    """The first of the filters that the host does not pass."""
    for name in filters:
        if not VERDICTS[name](case):
            return name
    return None


# --- the language of extra specs -------------------------------------------------------------------------------


def fits(value: Any, requirement: str) -> bool:
    """Whether a value satisfies a requirement."""
    if value is None:
        return False
    value, words = str(value), requirement.split()
    if words and words[0] in ("=", "==", "!=", ">=", "<="):
        try:
            left, right = float(value), float(words[1])
        except (ValueError, IndexError):
            return False
        return {
            "=": left >= right,
            "==": left == right,
            "!=": left != right,
            ">=": left >= right,
            "<=": left <= right,
        }[words[0]]
    if words and words[0] in ("s==", "s!=", "s<", "s<=", "s>", "s>=", "<in>"):
        if len(words) == 1:
            return False
        other = words[1]
        return {
            "s==": value == other,
            "s!=": value != other,
            "s<": value < other,
            "s<=": value <= other,
            "s>": value > other,
            "s>=": value >= other,
            "<in>": other in value,
        }[words[0]]
    if words and words[0] == "<all-in>":
        return len(words) > 1 and all(word in value for word in words[1:])
    if words and words[0] == "<or>":
        return value in [words[n] for n in range(len(words)) if n % 2 == 1]
    return value == requirement


# --- rules by name ---------------------------------------------------------------------------------------------


def _compute(case: Case) -> bool:
    return case.host.up and case.host.enabled


def _zone_of(case: Case) -> str:
    for group in case.mine:
        if "availability_zone" in group.metadata:
            return group.metadata["availability_zone"]
    return case.host.zone


def _zone(case: Case) -> bool:
    wanted = case.request.availability_zone
    return wanted is None or wanted == _zone_of(case)


def _requested(case: Case) -> bool:
    if case.host.name in case.request.excluded_hosts:
        return False
    return case.request.requested_host in (None, case.host.name)


def _projects(group: Group) -> set[str]:
    return {
        project.strip()
        for key, value in group.metadata.items()
        if key.startswith("filter_tenant_id")
        for project in value.split(",")
    }


def _tenant_aggregates(case: Case) -> bool:
    project = case.request.guest.project_id
    if not any(project in _projects(group) for group in case.groups):
        return not case.options.placement_aggregate_required_for_tenants
    return any(project in _projects(group) for group in case.mine)


def _multi_tenancy(case: Case) -> bool:
    allowed = set().union(*(_projects(group) for group in case.mine))
    return not allowed or case.request.guest.project_id in allowed


def _traits_of_request(case: Case, what: str) -> set[str]:
    guest = case.request.guest
    said = [*guest.extra_specs.items(), *guest.properties.items()]
    return {key.partition(":")[2] for key, value in said if key.startswith("trait") and ":" in key and value == what}


def _isolated_aggregates(case: Case) -> bool:
    required = _traits_of_request(case, "required")
    for group in case.mine:
        for key, value in group.metadata.items():
            if key.startswith("trait:") and value == "required" and key[len("trait:") :] not in required:
                return False
    return True


def _traits(case: Case) -> bool:
    there = set(case.host.traits)
    required, forbidden = _traits_of_request(case, "required"), _traits_of_request(case, "forbidden")
    return required.issubset(there) and there.isdisjoint(forbidden)


def _type_affinity(case: Case) -> bool:
    lists = [group.metadata["instance_type"] for group in case.mine if "instance_type" in group.metadata]
    if not lists:
        return True
    return any(case.request.flavor in [name.strip() for name in names.split(",")] for names in lists)


def _isolated_hosts(case: Case) -> bool:
    image = case.request.image_id in case.options.isolated_images
    host = case.host.name in case.options.isolated_hosts
    if case.options.restrict_isolated_hosts_to_isolated_images:
        return image == host
    return host or not image


def _aggregate_specs(case: Case) -> bool:
    for key, requirement in case.request.guest.extra_specs.items():
        if ":" in key and not key.startswith("aggregate_instance_extra_specs:"):
            continue
        name = key.split(":", 1)[-1]
        values = [v.strip() for group in case.mine for v in group.metadata.get(name, "").split(",")]
        if not any(name in group.metadata for group in case.mine):
            return False
        if not any(fits(value, requirement) for value in values if value):
            return False
    return True


def _aggregate_properties(case: Case) -> bool:
    for key, value in case.request.guest.properties.items():
        allowed = [v.strip() for group in case.mine if key in group.metadata for v in group.metadata[key].split(",")]
        if value and allowed and value not in allowed:
            return False
    return True


def _number(case: Case, key: str, otherwise: int) -> int:
    try:
        return min((int(group.metadata[key]) for group in case.mine if key in group.metadata), default=otherwise)
    except ValueError:
        return otherwise


def _io_ops(case: Case) -> bool:
    return case.host.io_ops < case.options.max_io_ops_per_host


def _aggregate_io_ops(case: Case) -> bool:
    return case.host.io_ops < _number(case, "max_io_ops_per_host", case.options.max_io_ops_per_host)


def _instances(case: Case) -> bool:
    return case.host.servers < case.options.max_instances_per_host


def _aggregate_instances(case: Case) -> bool:
    return case.host.servers < _number(case, "max_instances_per_host", case.options.max_instances_per_host)


def _value(host: Host, path: list[str]) -> Any:
    values: dict[str, Any] = {
        **host.capabilities,
        "host": host.name,
        "hypervisor_type": host.hypervisor_type,
        "hypervisor_version": host.hypervisor_version,
        "free_ram_mb": host.capacity.memory_mb - host.used.memory_mb,
        "num_instances": host.servers,
    }
    found: Any = values
    for name in path:
        if isinstance(found, str):
            found = json.loads(found)
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _capabilities(case: Case) -> bool:
    for key, requirement in case.request.guest.extra_specs.items():
        if key.startswith("capabilities:"):
            if not fits(_value(case.host, key.split(":")[1:]), requirement):
                return False
        elif ":" not in key:
            value = _value(case.host, [key])
            if value is not None and not fits(value, requirement):
                return False
    return True


def _image_properties(case: Case) -> bool:
    properties = case.request.guest.properties
    fake = case.host.hypervisor_type == "fake"
    architecture, kind = properties.get("hw_architecture"), properties.get("img_hv_type")
    if architecture and architecture != case.host.capabilities.get("architecture", "x86_64"):
        return False
    if kind and not fake and kind not in ("kvm", "qemu"):
        return False
    version = properties.get("img_hv_requested_version")
    if (architecture or kind) and version:
        there = case.host.hypervisor_version
        least = version.removeprefix(">=").split(".")
        return [there // 10**6, there // 1000 % 1000] >= [int(part) for part in least]
    return True


def _anti_affinity(case: Case) -> bool:
    group = case.neighbours.group
    if group is None or group.policy != "anti-affinity":
        return True
    return case.neighbours.members.get(case.host.name, 0) < group.rules.get("max_server_per_host", 1)


def _affinity(case: Case) -> bool:
    group = case.neighbours.group
    if group is None or group.policy != "affinity" or not case.neighbours.members:
        return True
    return case.host.name in case.neighbours.members


def _same_host(case: Case) -> bool:
    return case.neighbours.same is None or case.host.name in case.neighbours.same


def _different_host(case: Case) -> bool:
    return case.host.name not in case.neighbours.different


def _near(case: Case) -> bool:
    near = case.request.hints.get("build_near_host_ip")
    if not near:
        return True
    network = ipaddress.ip_interface(near + case.request.hints.get("cidr", "/24")).network
    return ipaddress.ip_address(case.host.address) in network


def _query(case: Case) -> bool:
    query = case.request.hints.get("query")
    return not query or bool(_answer(json.loads(query), case.host))


def _answer(query: Any, host: Host) -> Any:
    if not isinstance(query, list):
        return _value(host, query[1:].split(".")) if isinstance(query, str) and query.startswith("$") else query
    values = [value for value in (_answer(part, host) for part in query[1:]) if value is not None]
    match query[0]:
        case "and":
            return all(values)
        case "or":
            return any(values)
        case "not":
            return any(not value for value in values)
        case ">=":
            return len(values) > 1 and all(values[0] >= value for value in values[1:])
        case "=":
            return len(values) > 1 and all(values[0] == value for value in values[1:])
    raise AssertionError(query)


def _has(host: Host, name: str, amount: int) -> bool:
    if name not in host.custom:
        return False
    there = host.custom[name]
    if amount < there.min_unit or amount > there.max_unit or amount % there.step_size:
        return False
    return there.used + amount <= there.capacity


def _metrics(case: Case) -> bool:
    return all(name in case.host.metrics for name in case.options.metrics_weight_setting)


def _capacity(case: Case) -> bool:
    need, used, capacity = case.request.need, case.host.used, case.host.capacity
    return (
        used.vcpus + need.vcpus <= capacity.vcpus
        and used.memory_mb + need.memory_mb <= capacity.memory_mb
        and used.disk_gb + need.disk_gb <= capacity.disk_gb
        and all(_has(case.host, name, amount) for name, amount in need.custom.items())
    )


VERDICTS = {
    "AllHostsFilter": lambda case: True,
    "ComputeFilter": _compute,
    "AvailabilityZoneFilter": _zone,
    "RequestedHostFilter": _requested,
    "TenantAggregatesFilter": _tenant_aggregates,
    "AggregateMultiTenancyIsolation": _multi_tenancy,
    "IsolatedAggregatesFilter": _isolated_aggregates,
    "AggregateTypeAffinityFilter": _type_affinity,
    "AggregateInstanceExtraSpecsFilter": _aggregate_specs,
    "AggregateImagePropertiesIsolation": _aggregate_properties,
    "IsolatedHostsFilter": _isolated_hosts,
    "TraitsFilter": _traits,
    "ComputeCapabilitiesFilter": _capabilities,
    "ImagePropertiesFilter": _image_properties,
    "ServerGroupAntiAffinityFilter": _anti_affinity,
    "ServerGroupAffinityFilter": _affinity,
    "SameHostFilter": _same_host,
    "DifferentHostFilter": _different_host,
    "SimpleCIDRAffinityFilter": _near,
    "JsonFilter": _query,
    "NumInstancesFilter": _instances,
    "AggregateNumInstancesFilter": _aggregate_instances,
    "IoOpsFilter": _io_ops,
    "AggregateIoOpsFilter": _aggregate_io_ops,
    "MetricsFilter": _metrics,
    "CapacityFilter": _capacity,
}
