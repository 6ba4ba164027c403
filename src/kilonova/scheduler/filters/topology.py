"""Whether a host has the NUMA cells, processors, pages and devices that are asked for: the same fit that the claim makes."""

import numpy as np

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.topology.fit import NoFit
from kilonova.scheduler.view import Bools, HostView


class NUMATopologyFilter:
    """The guest's cells fit on the host's: processors of their own or shared, memory, pages."""

    def concerns(self, request: ScheduleServer) -> bool:
        return request.topology is not None and bool(request.topology.cells)

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return _judge(view, request, devices=False) if self.concerns(request) else view.everywhere()

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return _explain(view, row, request)


class PciPassthroughFilter:
    """The devices that are asked for are free, and where the guest can be near them if it must."""

    def concerns(self, request: ScheduleServer) -> bool:
        return request.topology is not None and bool(request.topology.devices)

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return _judge(view, request, devices=True) if self.concerns(request) else view.everywhere()

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return _explain(view, row, request)


def _judge(view: HostView, request: ScheduleServer, *, devices: bool) -> Bools:
    """A host that fails for want of devices passes the other filter, and the other way round."""
    asked = request.topology
    assert asked is not None
    fits = [view.records.topologies.fit(name, asked) for name in view.names]
    return np.array([not (isinstance(one, NoFit) and one.devices is devices) for one in fits], dtype=np.bool_)


def _explain(view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
    asked = request.topology
    found = None if asked is None else view.records.topologies.fit(view.names[row], asked)
    return (found.need, found.have) if isinstance(found, NoFit) else ("what it asks for", "it")
