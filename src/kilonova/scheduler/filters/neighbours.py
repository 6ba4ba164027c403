"""Filters about the servers that are on the hosts already: groups with a policy, and hints that name servers."""

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.placement import GroupPolicy
from kilonova.scheduler.view import Bools, HostView


class ServerGroupAntiAffinityFilter:
    """No more servers of one group on a host than its rule says, usually one."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        group, members = view.neighbours.group, view.neighbours.members
        if group is None or group.policy != GroupPolicy.ANTI_AFFINITY:
            return view.everywhere()
        passing = view.everywhere().copy()
        passing[view.rows(host for host in members if not group.allows(host, members))] = False
        return passing

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        group, name = view.neighbours.group, view.names[row]
        most = group.most_per_host if group else 1
        return f"fewer than {most} of its group there", f"{view.neighbours.members.get(name, 0)} of its group"


class ServerGroupAffinityFilter:
    """All servers of a group where the first one is."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        group, members = view.neighbours.group, view.neighbours.members
        if group is None or group.policy != GroupPolicy.AFFINITY or not members:
            return view.everywhere()
        passing = view.nowhere()
        passing[view.rows(host for host in members if group.allows(host, members))] = True
        return passing

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"the host of its group, {', '.join(sorted(view.neighbours.members))}", "none of its group"


class SameHostFilter:
    """A host of one of the servers in the hint ``same_host``."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = view.neighbours.same
        if wanted is None:
            return view.everywhere()
        passing = view.nowhere()
        passing[view.rows(wanted)] = True
        return passing

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "a host of the servers in same_host", "none of them"


class DifferentHostFilter:
    """No host of a server in the hint ``different_host``."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        if not view.neighbours.different:
            return view.everywhere()
        passing = view.everywhere().copy()
        passing[view.rows(view.neighbours.different)] = False
        return passing

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "no server of different_host", "one of them"
