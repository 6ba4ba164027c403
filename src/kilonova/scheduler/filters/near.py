"""A host near an address, by the hints ``build_near_host_ip`` and ``cidr``."""

from functools import lru_cache
from ipaddress import ip_address, ip_network

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, HostView


class SimpleCIDRAffinityFilter:
    """The host's own address is in the network around the hinted one; without ``cidr`` that is a ``/24``."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = self._wanted(request)
        if not wanted:
            return view.everywhere()
        return view.judge(view.columns.address, view.records.addresses, lambda address: _within(address, wanted))

    def _wanted(self, request: ScheduleServer) -> str:
        near = request.hints.get("build_near_host_ip")
        return f"{near}{request.hints.get('cidr', '/24')}" if near else ""

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"an address in {self._wanted(request)}", view.address(row) or "no address"


@lru_cache(maxsize=100_000)
def _within(address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False
