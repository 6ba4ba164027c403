"""The scheduler's look at topologies: what it notes, what it reads again, and that it answers as the fit does."""

import pytest

from kilonova.database.topologies import HostTopology
from kilonova.model.topology import fit as fitting
from kilonova.model.topology.fit import NoFit
from kilonova.model.topology.given import GivenTopology, TopologyUse
from kilonova.model.topology.request import TopologyRequest, read_request
from kilonova.scheduler import topologies
from kilonova.scheduler.topologies import Topologies
from tests.unit.topology_machines import ALIASES, machine


def known(*names: str) -> Topologies:
    looked = Topologies()
    for name in names:
        looked.learn(HostTopology(host=name, version=3, topology=machine(cells=1), use=TopologyUse()))
    return looked


def pinned(vcpus: int) -> TopologyRequest:
    found = read_request(vcpus, 64, {"hw:cpu_policy": "dedicated"}, {}, ALIASES)
    assert found is not None
    return found


def test_a_claim_that_is_about_to_be_made_counts_and_is_read_again() -> None:
    looked = known("a", "b")
    looked.take("a", pinned(3))
    assert looked.versions == {"a": -1, "b": 3}
    assert isinstance(looked.fit("a", pinned(2)), NoFit)
    assert isinstance(looked.fit("b", pinned(2)), GivenTopology)
    looked.learn(HostTopology(host="a", version=4, topology=machine(cells=1), use=TopologyUse()))
    assert looked.versions["a"] == 4 and isinstance(looked.fit("a", pinned(2)), GivenTopology)


def test_a_host_that_has_said_nothing_fits_nobody() -> None:
    found = known().fit("a", pinned(1))
    assert isinstance(found, NoFit) and not found.devices
    looked = known()
    looked.take("a", pinned(1))
    assert looked.versions == {}


def test_hosts_that_are_alike_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TopologyRequest] = []

    def counting(*given: object) -> object:
        asked.append(pinned(1))
        return fitting.fit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(topologies, "fit", counting)
    looked = known("a", "b", "c")
    answers = [looked.fit(name, pinned(2)) for name in ("a", "b", "c", "a")]
    assert len(asked) == 1 and all(isinstance(one, GivenTopology) for one in answers)
    looked.take("b", pinned(3))
    assert isinstance(looked.fit("b", pinned(2)), NoFit) and isinstance(looked.fit("c", pinned(2)), GivenTopology)
