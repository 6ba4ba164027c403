"""Filters about the servers that are on the hosts already: groups with a policy, and hints that name servers."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import GroupPolicy
from kilonova.scheduler.hosts import Bools, HostView


def _all(view: HostView) -> Bools:
    return np.ones(len(view), dtype=np.bool_)


class ServerGroupAntiAffinityFilter:
    """No more servers of one group on a host than its rule says, usually one."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return _by_group(view, GroupPolicy.ANTI_AFFINITY)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        group, name = view.neighbours.group, view.names[row]
        most = group.most_per_host if group else 1
        return f"fewer than {most} of its group there", f"{view.neighbours.members.get(name, 0)} of its group"


class ServerGroupAffinityFilter:
    """All servers of a group where the first one is."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return _by_group(view, GroupPolicy.AFFINITY)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"the host of its group, {', '.join(sorted(view.neighbours.members))}", "none of its group"


def _by_group(view: HostView, policy: GroupPolicy) -> Bools:
    """The rule itself is the group's, so that the claim in the database asks the very same."""
    group, members = view.neighbours.group, view.neighbours.members
    if group is None or group.policy != policy or not members:
        return _all(view)
    return np.array([group.allows(name, members) for name in view.names], dtype=np.bool_)


class SameHostFilter:
    """A host of one of the servers in the hint ``same_host``."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = view.neighbours.same
        if wanted is None:
            return _all(view)
        return np.array([name in wanted for name in view.names], dtype=np.bool_)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "a host of the servers in same_host", "none of them"


class DifferentHostFilter:
    """No host of a server in the hint ``different_host``."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        unwanted = view.neighbours.different
        if not unwanted:
            return _all(view)
        return np.array([name not in unwanted for name in view.names], dtype=np.bool_)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "no server of different_host", "one of them"
