"""Weighers for groups whose policy is a wish: together, or apart."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import GroupPolicy
from kilonova.scheduler.hosts import Floats, HostView


class ServerGroupSoftAffinityWeigher:
    """More servers of the group are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return _members(view, GroupPolicy.SOFT_AFFINITY)


class ServerGroupSoftAntiAffinityWeigher:
    """Fewer servers of the group are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return -_members(view, GroupPolicy.SOFT_ANTI_AFFINITY)


def _members(view: HostView, policy: GroupPolicy) -> Floats:
    members = view.neighbours.members
    if not members or not view.neighbours.under(policy):
        return np.zeros(len(view), dtype=np.float64)
    return np.array([members.get(name, 0) for name in view.names], dtype=np.float64)
