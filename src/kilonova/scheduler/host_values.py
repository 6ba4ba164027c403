"""What hosts have under the names that Nova gives it, for rules in which operators and users write those names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from kilonova.scheduler.view import HostKind, HostView

_OF_KIND: Mapping[str, Callable[[HostKind], Any]] = {
    "hypervisor_type": lambda kind: kind.hypervisor_type,
    "hypervisor_version": lambda kind: kind.hypervisor_version,
    "capabilities": lambda kind: kind.capabilities,
    "stats": lambda kind: kind.capabilities,
}
_OF_HOST: Mapping[str, Callable[[HostView, int], Any]] = {
    "host": lambda view, row: view.names[row],
    "nodename": lambda view, row: view.names[row],
    "hypervisor_hostname": lambda view, row: view.names[row],
    "host_ip": lambda view, row: view.address(row),
    "vcpus_total": lambda view, row: int(view.columns.vcpus[row]),
    "vcpus_used": lambda view, row: int(view.columns.vcpus_used[row]),
    "free_ram_mb": lambda view, row: int(view.columns.memory_capacity[row] - view.columns.memory_used[row]),
    "total_usable_ram_mb": lambda view, row: int(view.columns.memory_capacity[row]),
    "free_disk_mb": lambda view, row: 1024 * int(view.columns.disk_capacity[row] - view.columns.disk_used[row]),
    "disk_mb_used": lambda view, row: 1024 * int(view.columns.disk_used[row]),
    "total_usable_disk_gb": lambda view, row: int(view.columns.disk_capacity[row]),
    "num_instances": lambda view, row: int(view.columns.servers[row]),
}


def known_for_all_of_a_kind(name: str) -> bool:
    """Whether a name means the same on all hosts of one kind: a property of the hypervisor, or one of its capabilities."""
    return name not in _OF_HOST


def is_there(kind: HostKind, name: str) -> bool:
    """Whether a host of that kind has anything under the name."""
    return name in _OF_HOST or name in _OF_KIND or name in kind.capabilities


def of_kind(kind: HostKind, path: Sequence[str]) -> Any:
    """What the hypervisor says under a name, and inside that; None for nothing."""
    name, *inner = path
    return _inside(_OF_KIND[name](kind) if name in _OF_KIND else kind.capabilities.get(name), inner)


def of_host(view: HostView, row: int, path: Sequence[str]) -> Any:
    """What one host has under a name, and inside that; None for nothing."""
    name, *inner = path
    return _inside(_OF_HOST[name](view, row), inner) if name in _OF_HOST else of_kind(view.kind(row), path)


def _inside(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if isinstance(value, str):
            value = _decoded(value)
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _decoded(text: str) -> Any:
    """Some drivers report a record as JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
