"""Weighers by how a host stands: what it is busy with, how it has done, how new its hypervisor is."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Floats, HostView, Ints


class IoOpsWeigher:
    """More servers whose disks are being worked on; with its multiplier below zero, fewer are better."""

    reads = ("io_ops",)

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return view.columns.io_ops


class BuildFailureWeigher:
    """Fewer builds that failed since one has succeeded are better."""

    reads = ("failed_builds",)

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return -view.columns.failed_builds


class HypervisorVersionWeigher:
    """A newer hypervisor is better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats | Ints:
        if len({kind.hypervisor_version for kind in view.records.kinds}) < 2 or not len(view):
            return view.indifferent()
        return np.array([kind.hypervisor_version for kind in view.records.kinds], dtype=np.int64)[view.columns.kind]
