"""Filters about whether a host can be used at all, and whether it was asked for."""

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, HostView


class AllHostsFilter:
    """Any host."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return view.everywhere()

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "any host", "any host"


class ComputeFilter:
    """The host's nova-compute is up and enabled."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return view.columns.up & view.columns.enabled

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "up and enabled", "down" if not view.columns.up[row] else "disabled"


class AvailabilityZoneFilter:
    """The host is in the zone that was asked for; any zone, if none was."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = request.availability_zone
        if wanted is None:
            return view.everywhere()
        return view.judge(view.columns.zone, view.records.zones, lambda zone: zone == wanted)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"zone {request.availability_zone}", f"zone {view.zone(row)}"


class RequestedHostFilter:
    """The very host an administrator asked for, and none that this request has failed on."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        if request.requested_host is None and not request.excluded_hosts:
            return view.everywhere()
        passing = view.everywhere().copy()
        if request.requested_host is not None:
            passing = view.nowhere()
            passing[view.rows([request.requested_host])] = True
        passing[view.rows(request.excluded_hosts)] = False
        return passing

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        if view.names[row] in request.excluded_hosts:
            return "a host that it has not failed on and does not leave", "it has failed here, or is to leave"
        return f"host {request.requested_host}", f"host {view.names[row]}"
