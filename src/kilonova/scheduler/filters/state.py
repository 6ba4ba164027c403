"""Filters about whether a host can be used at all, and whether it was asked for."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.hosts import Bools, HostView


class ComputeFilter:
    """The host's nova-compute is up and enabled."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return view.up & view.enabled

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return "up and enabled", "down" if not view.up[row] else "disabled"


class AvailabilityZoneFilter:
    """The host is in the zone that was asked for; any zone, if none was."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        if request.availability_zone is None:
            return np.ones(len(view), dtype=np.bool_)
        return np.asarray(view.zones == request.availability_zone, dtype=np.bool_)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"zone {request.availability_zone}", f"zone {view.zones[row]}"


class RequestedHostFilter:
    """The very host an administrator asked for, and none that this request has failed on."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = np.ones(len(view), dtype=np.bool_)
        if request.requested_host is not None:
            wanted[:] = False
            row = view.row(request.requested_host)
            if row is not None:
                wanted[row] = True
        for host in request.excluded_hosts:
            row = view.row(host)
            if row is not None:
                wanted[row] = False
        return wanted

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        if view.names[row] in request.excluded_hosts:
            return "a host that it has not failed on and does not leave", "it has failed here, or is to leave"
        return f"host {request.requested_host}", f"host {view.names[row]}"
