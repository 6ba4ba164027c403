"""The scheduler's look at topologies: read when a request asks for one, and only what has changed since the last time."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import topologies
from kilonova.database.topologies import HostTopology
from kilonova.model.topology.fit import NoFit, fit
from kilonova.model.topology.given import GivenTopology, use_document
from kilonova.model.topology.request import TopologyRequest

_REMEMBERED = 10_000  # answers
_encode = msgspec.json.Encoder().encode
_AS_WE_HOPE = -1  # the version of a look that has a claim in it which is only about to be made


def look(connection: Connection, known: Mapping[str, int]) -> list[HostTopology]:
    """Hosts whose topologies are not at the versions that are known, by their names."""
    return list(topologies.read(connection, known))


class _Known(msgspec.Struct, frozen=True):
    """A host's topology; ``alike`` is the same for hosts that have and use the same."""

    host: HostTopology
    alike: bytes


class Topologies:
    """What is known of hosts by their names; a host that has said nothing is missing.

    Most hosts of a fleet are alike, and several rules ask the same: a fit is worked out once for all of them.
    """

    def __init__(self) -> None:
        self._of: dict[str, _Known] = {}
        self._found: dict[tuple[bytes, bytes], GivenTopology | NoFit] = {}

    @property
    def versions(self) -> dict[str, int]:
        """What does not have to be read again."""
        return {name: known.host.version for name, known in self._of.items()}

    def learn(self, host: HostTopology) -> None:
        """A host as the database has it."""
        alike = blake2b(_encode((host.topology, use_document(host.use))), digest_size=16).digest()
        self._of[host.host] = _Known(host, alike)

    def fit(self, name: str, request: TopologyRequest) -> GivenTopology | NoFit:
        """What the host would give, as far as we know."""
        known = self._of.get(name)
        if known is None:
            return NoFit(need="a host that tells its topology", have="none told", devices=not request.cells)
        question = (known.alike, _encode(request))
        found = self._found.get(question)
        if found is None:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            found = self._found[question] = fit(known.host.topology, known.host.use, request)
        return found

    def take(self, name: str, request: TopologyRequest) -> None:
        """Note a claim that is about to be made. It is read again next time, whatever came of it."""
        found = self.fit(name, request)
        if isinstance(found, GivenTopology):
            host = self._of[name].host
            self.learn(msgspec.structs.replace(host, version=_AS_WE_HOPE, use=host.use.plus(found)))
