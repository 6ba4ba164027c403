"""Weighers that prefer hosts with more left: they spread servers over the hosts."""

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import HostView, Ints


class RAMWeigher:
    """More free memory is better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return view.memory_free


class CPUWeigher:
    """More free cores are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return view.vcpus_free


class DiskWeigher:
    """More free disk is better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return view.disk_free


class NumInstancesWeigher:
    """More servers; with its multiplier below zero, fewer are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Ints:
        return view.columns.servers
