"""Filters that keep hosts from having too much to do: limits for all of them, or by aggregate."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.aggregate_numbers import least
from kilonova.scheduler.view import Bools, Floats, HostView, Ints


class NumInstancesFilter:
    """Fewer servers than ``most``."""

    unit = "servers"

    def __init__(self, most: int) -> None:
        self._most = most

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return self._there(view) < self._limits(view)

    def _there(self, view: HostView) -> Ints:
        return view.columns.servers

    def _limits(self, view: HostView) -> Floats:
        return np.full(len(view), float(self._most))

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"fewer than {int(self._limits(view)[row])} {self.unit}", f"{self._there(view)[row]} {self.unit}"


class AggregateNumInstancesFilter(NumInstancesFilter):
    """The same, with the least ``max_instances_per_host`` of the host's aggregates, if there is one."""

    def _limits(self, view: HostView) -> Floats:
        return least(view, "max_instances_per_host", self._most, whole=True)


class IoOpsFilter(NumInstancesFilter):
    """Fewer servers than ``most`` whose disks are being worked on: built, rebuilt, moved, copied."""

    unit = "servers with disks being worked on"
    reads = ("io_ops",)

    def _there(self, view: HostView) -> Ints:
        return view.columns.io_ops


class AggregateIoOpsFilter(IoOpsFilter):
    """The same, with the least ``max_io_ops_per_host`` of the host's aggregates, if there is one."""

    def _limits(self, view: HostView) -> Floats:
        return least(view, "max_io_ops_per_host", self._most, whole=True)
