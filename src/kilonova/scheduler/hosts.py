"""The scheduler's view of the hosts: columns in memory, so that filters and weighers work on all hosts at once.

The view is a hint: it may be a second old. The claim in the database decides (``database/engine.place``).
"""

import copy

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from kilonova.database import aggregates, membership
from kilonova.messaging.contract import Need
from kilonova.model.host import Host, Service
from kilonova.model.placement import Neighbours

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class HostView:
    """All hosts, one array per property. ``names[i]`` is the host of row i; free amounts are in cores, MiB, GiB.

    ``neighbours`` is what the one request at hand has to mind of the servers there.
    """

    def __init__(self, hosts: list[Host], services: dict[str, Service], now: int, down_after: float) -> None:
        self.hosts = hosts
        self.names = [host.host for host in hosts]
        self._index = {name: row for row, name in enumerate(self.names)}
        of = [services.get(name) for name in self.names]
        self.up: Bools = np.array([s is not None and s.up(now, down_after) for s in of], dtype=np.bool_)
        self.enabled: Bools = np.array([s is not None and not s.disabled for s in of], dtype=np.bool_)
        self.zones = np.array([host.availability_zone for host in hosts], dtype=object)
        self.vcpus_free: Ints = _column([host.vcpus_capacity - host.vcpus_used for host in hosts])
        self.memory_free: Ints = _column([host.memory_mb_capacity - host.memory_mb_used for host in hosts])
        self.disk_free: Ints = _column([host.disk_gb_capacity - host.disk_gb_used for host in hosts])
        self.servers: Ints = _column([host.servers_count for host in hosts])
        self.neighbours = Neighbours()

    def __len__(self) -> int:
        return len(self.names)

    def row(self, host: str) -> int | None:
        """The row of a host, None if there is no such host."""
        return self._index.get(host)

    def beside(self, neighbours: Neighbours) -> "HostView":
        """The same hosts, as a request with neighbours sees them; a claim noted in one view counts in the other."""
        view = copy.copy(self)
        view.neighbours = neighbours
        return view

    def take(self, row: int, need: Need) -> None:
        """Note a claim that was just made, so that the next decision does not choose the same gap."""
        self.vcpus_free[row] -= need.vcpus
        self.memory_free[row] -= need.memory_mb
        self.disk_free[row] -= need.disk_gb
        self.servers[row] += 1


def _column(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def load(connection: Connection, now: int, down_after: float) -> HostView:
    """The view as the database has it now."""
    zones = aggregates.zones(connection)
    services = {s.host: s for s in membership.list_services(connection, zones) if s.binary == "nova-compute"}
    return HostView(membership.list_hosts(connection, zones), services, now, down_after)
