"""The scheduler's look at topologies: read when a request asks for one, and only what has changed since the last time."""

from collections.abc import Mapping

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import topologies
from kilonova.database.topologies import HostTopology
from kilonova.model.topology.fit import NoFit, fit
from kilonova.model.topology.given import GivenTopology
from kilonova.model.topology.request import TopologyRequest

_AS_WE_HOPE = -1  # the version of a look that has a claim in it which is only about to be made


def look(connection: Connection, known: Mapping[str, int]) -> list[HostTopology]:
    """Hosts whose topologies are not at the versions that are known, by their names."""
    return list(topologies.read(connection, known))


class Topologies:
    """What is known of hosts by their names; a host that has said nothing is missing."""

    def __init__(self) -> None:
        self._of: dict[str, HostTopology] = {}

    @property
    def versions(self) -> dict[str, int]:
        """What does not have to be read again."""
        return {name: host.version for name, host in self._of.items()}

    def learn(self, host: HostTopology) -> None:
        """A host as the database has it."""
        self._of[host.host] = host

    def fit(self, name: str, request: TopologyRequest) -> GivenTopology | NoFit:
        """What the host would give, as far as we know."""
        host = self._of.get(name)
        if host is None:
            return NoFit(need="a host that tells its topology", have="none told", devices=not request.cells)
        return fit(host.topology, host.use, request)

    def take(self, name: str, request: TopologyRequest) -> None:
        """Note a claim that is about to be made. It is read again next time, whatever came of it."""
        found = self.fit(name, request)
        if isinstance(found, GivenTopology):
            host = self._of[name]
            self._of[name] = msgspec.structs.replace(host, version=_AS_WE_HOPE, use=host.use.plus(found))
