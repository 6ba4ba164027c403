"""What each weigher prefers, and how much it counts on which host."""

from random import Random
from typing import Any

import pytest

from kilonova.config import SchedulerConfig
from kilonova.messaging.contract import Need
from kilonova.scheduler.catalog import WEIGHERS, make_filters, make_weighers
from kilonova.scheduler.decider import Batch, Decider
from kilonova.scheduler.fleet import Fleet
from kilonova.scheduler.multipliers import multiplier_key
from kilonova.scheduler.ranking import Ranking
from kilonova.scheduler.rules import columns_read
from tests.unit.scheduler.fleets import Group, Host, fleet_of, reading_of, request_of


def decider_of(fleet: Fleet, weighers: dict[str, float], **more: Any) -> Decider:
    options = SchedulerConfig(weighers=weighers, **more)
    filters = make_filters(["ComputeFilter", "CapacityFilter"], options)
    return Decider(fleet, filters, filters, make_weighers(options), subset=1, random=Random(1))


def best(hosts: list[Host], weighers: dict[str, float], groups: list[Group] | None = None) -> str | None:
    return decider_of(fleet_of(hosts, groups or ()), weighers).decide(request_of(), Batch()).host


ROOMY = Need(vcpus=64, memory_mb=65_536, disk_gb=1000)
FULLER = Need(vcpus=4, memory_mb=4096, disk_gb=100)


@pytest.mark.parametrize(
    ("weigher", "preferred", "other"),
    [
        ("RAMWeigher", Host(name="yes"), Host(name="no", used=FULLER)),
        ("CPUWeigher", Host(name="yes"), Host(name="no", used=FULLER)),
        ("DiskWeigher", Host(name="yes"), Host(name="no", used=FULLER)),
        ("NumInstancesWeigher", Host(name="yes", servers=3), Host(name="no")),
        ("IoOpsWeigher", Host(name="yes", io_ops=2), Host(name="no")),
        ("BuildFailureWeigher", Host(name="yes"), Host(name="no", failed_builds=1)),
        ("HypervisorVersionWeigher", Host(name="yes"), Host(name="no", hypervisor_version=6_000_000)),
    ],
)
def test_what_is_better(weigher: str, preferred: Host, other: Host) -> None:
    for hosts in ([preferred, other], [other, preferred]):
        assert best(hosts, {weigher: 1.0}) == "yes"
        assert best(hosts, {weigher: -1.0}) == "no"


def ranked(hosts: list[Host], weigher: str, properties: dict[str, str] | None = None, **more: Any) -> list[str]:
    decided = decider_of(fleet_of(hosts), {weigher: 1.0}, **more).decide(request_of(properties=properties), Batch())
    return [found.host for found in decided.ranking]


def test_metrics() -> None:
    hosts = [
        Host(name="busy", metrics={"cpu.percent": 0.9, "heat": 1.0}),
        Host(name="idle", metrics={"cpu.percent": 0.1, "heat": 1.0}),
        Host(name="silent"),
    ]
    assert ranked(hosts, "MetricsWeigher", metrics_weight_setting={"cpu.percent": -1.0}) == ["idle", "busy", "silent"]
    assert ranked(hosts, "MetricsWeigher", metrics_weight_setting={"cpu.percent": 1.0})[0] == "busy"
    kinder: dict[str, Any] = {"metrics_weight_setting": {"cpu.percent": 1.0}, "metrics_weight_of_unavailable": 5.0}
    assert ranked(hosts, "MetricsWeigher", **kinder)[0] == "silent"
    setting = {"cpu.percent": 0.0, "heat": 2.0, "none": 0.0}
    assert ranked(hosts, "MetricsWeigher", metrics_weight_setting=setting)[2] == "silent"


def test_image_properties() -> None:
    hosts = [
        Host(name="two", images={"i2": 2}),
        Host(name="one", images={"i1": 1, "i3": 9}),
        Host(name="none", images={"i3": 9, "gone": 9}),
    ]
    debian = {"os_distro": "debian", "hw_disk_bus": "virtio"}
    assert set(ranked(hosts, "ImagePropertiesWeigher", debian)[:2]) == {"one", "two"}
    assert ranked(hosts, "ImagePropertiesWeigher", {"os_distro": "debian"}) == ["two", "one", "none"]
    setting = {"image_props_weight_setting": {"hw_disk_bus": 3.0, "os_distro": 1.0}}
    assert ranked(hosts, "ImagePropertiesWeigher", debian, **setting) == ["one", "two", "none"]
    assert (
        decider_of(fleet_of(hosts), {"ImagePropertiesWeigher": 1.0}).decide(request_of(), Batch()).ranking[0].parts
        == {}
    )


def test_what_hosts_hold_is_brought_up_to_date() -> None:
    fleet = fleet_of([Host(name="a", metrics={"heat": 2.0}), Host(name="b", metrics={"heat": 1.0})])
    weigher: dict[str, Any] = {"weighers": {"MetricsWeigher": 1.0}, "metrics_weight_setting": {"heat": 1.0}}
    decider = decider_of(fleet, **weigher)
    assert decider.decide(request_of(), Batch()).host == "a"
    assert fleet.apply(reading_of([Host(name="a", metrics={"heat": 1.2}), Host(name="b", metrics={"heat": 1.5})]))
    assert decider.decide(request_of(), Batch()).host == "b"
    assert fleet.apply(reading_of([Host(name="a"), Host(name="b")]))
    assert {fleet.view.records.metrics[int(at)].get("heat") for at in fleet.view.columns.metrics} == {None}


def test_a_host_that_fails_builds_is_the_last_choice() -> None:
    weighers = SchedulerConfig().weighers
    hosts = [Host(name="idle", failed_builds=1), Host(name="busy", used=FULLER, servers=9, hypervisor_version=1)]
    assert best(hosts, weighers) == "busy"
    assert best(hosts[:1], weighers) == "idle"


def test_a_failure_counts_for_rankings_made_before() -> None:
    hosts = [Host(name="a"), Host(name="b")]
    fleet = fleet_of(hosts)
    decider = decider_of(fleet, {"BuildFailureWeigher": 1.0})
    decider.decide(request_of(), Batch())
    assert fleet.apply(reading_of([Host(name="a", failed_builds=1), Host(name="b")]))
    assert {decider.decide(request_of(), Batch()).host for _ in range(8)} == {"b"}


@pytest.mark.parametrize(
    ("weigher", "key"),
    [
        ("RAMWeigher", "ram_weight_multiplier"),
        ("CPUWeigher", "cpu_weight_multiplier"),
        ("DiskWeigher", "disk_weight_multiplier"),
        ("IoOpsWeigher", "io_ops_weight_multiplier"),
        ("NumInstancesWeigher", "num_instances_weight_multiplier"),
        ("BuildFailureWeigher", "build_failure_weight_multiplier"),
        ("ImagePropertiesWeigher", "image_props_weight_multiplier"),
        ("MetricsWeigher", "metrics_weight_multiplier"),
        ("HypervisorVersionWeigher", "hypervisor_version_weight_multiplier"),
        ("ServerGroupSoftAffinityWeigher", "soft_affinity_weight_multiplier"),
        ("ServerGroupSoftAntiAffinityWeigher", "soft_anti_affinity_weight_multiplier"),
        ("CloseToTheSeaWeigher", "close_to_the_sea_weight_multiplier"),
    ],
)
def test_keys_of_multipliers(weigher: str, key: str) -> None:
    assert multiplier_key(weigher) == key


def test_aggregates_say_how_much_a_weigher_counts() -> None:
    hosts = [
        Host(name="big"),
        Host(name="mid", used=Need(vcpus=0, memory_mb=16_384, disk_gb=0)),
        Host(name="small", used=Need(vcpus=0, memory_mb=65_000, disk_gb=0)),
    ]
    key = "ram_weight_multiplier"
    assert best(hosts, {"RAMWeigher": 1.0}) == "big"
    groups = [Group(hosts=("big",), metadata={key: "0.5"}), Group(hosts=("big",), metadata={key: "2"})]
    assert best(hosts, {"RAMWeigher": 1.0}, groups) == "mid"  # of two the least
    assert best(hosts, {"RAMWeigher": 1.0}, [Group(hosts=("big",), metadata={key: "much"})]) == "big"
    assert best(hosts, {"RAMWeigher": 1.0}, [Group(hosts=("big",), metadata={key: "nan"})]) == "big"
    assert best(hosts, {"RAMWeigher": 0.0}, [Group(hosts=("mid",), metadata={key: "1"})]) == "mid"


def test_parts_of_the_weight_add_up_with_multipliers_of_aggregates() -> None:
    hosts = [Host(name=f"h{n}", used=Need(vcpus=n, memory_mb=1000 * n, disk_gb=n), servers=n) for n in range(4)]
    groups = [Group(hosts=("h1", "h2"), metadata={"ram_weight_multiplier": "7", "cpu_weight_multiplier": "-2"})]
    fleet, options = fleet_of(hosts, groups), SchedulerConfig()
    ranking = Ranking(fleet.view, request_of(), make_filters(options.filters, options), make_weighers(options))
    for ranked in ranking.best():
        assert ranked.weight == pytest.approx(sum(ranked.parts.values()), abs=1e-3)
        row = ranking.view.row(ranked.host)
        assert row is not None
        before = float(ranking.weights[row])
        ranking.judge_again([row])
        assert float(ranking.weights[row]) == pytest.approx(before)
    parts = {ranked.host: ranked.parts for ranked in ranking.best()}
    assert parts["h1"]["RAMWeigher"] == pytest.approx(7 * 2 / 3, abs=1e-3)
    assert parts["h0"]["RAMWeigher"] == pytest.approx(1.0)


def test_columns_on_demand_are_asked_for_by_the_rules_in_force() -> None:
    options = SchedulerConfig()
    weighers = [weigher for weigher, _ in make_weighers(options).values()]
    assert columns_read(*make_filters(options.filters, options).values(), *weighers) == {"failed_builds"}
    assert columns_read(*make_filters(["AggregateIoOpsFilter", "ComputeFilter"], options).values()) == {"io_ops"}
    assert set(WEIGHERS) >= set(options.weighers)
