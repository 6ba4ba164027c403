"""Weighers that prefer hosts with more left: they spread servers over the hosts."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.hosts import Floats, HostView


class RAMWeigher:
    """More free memory is better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return view.memory_free.astype(np.float64)


class CPUWeigher:
    """More free cores are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return view.vcpus_free.astype(np.float64)


class DiskWeigher:
    """More free disk is better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return view.disk_free.astype(np.float64)


class NumInstancesWeigher:
    """Fewer servers are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return -view.servers.astype(np.float64)
