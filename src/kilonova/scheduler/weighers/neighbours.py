"""Weighers for groups whose policy is a wish: together, or apart."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import GroupPolicy
from kilonova.scheduler.view import Floats, HostView


class ServerGroupSoftAffinityWeigher:
    """More servers of the group are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        return _members(view, GroupPolicy.SOFT_AFFINITY)


class ServerGroupSoftAntiAffinityWeigher:
    """Fewer servers of the group are better."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        members = _members(view, GroupPolicy.SOFT_ANTI_AFFINITY)
        return members if members is view.indifferent() else -members


def _members(view: HostView, policy: GroupPolicy) -> Floats:
    if not view.neighbours.under(policy):
        return view.indifferent()
    counted = np.zeros(len(view))
    for host, count in view.neighbours.members.items():
        if (row := view.row(host)) is not None:
            counted[row] = count
    return counted
