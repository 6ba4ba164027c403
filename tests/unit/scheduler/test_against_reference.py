"""Every filter against the slow reference, on fleets and requests that hypothesis makes up."""

from random import Random
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.config import SchedulerConfig
from kilonova.messaging.contract import Need, ScheduleServer
from kilonova.model.inventory import Inventory
from kilonova.model.placement import Neighbours, ServerGroup
from kilonova.scheduler.catalog import FILTERS, make_filters, make_weighers
from kilonova.scheduler.decider import Batch, Decider, shape_of
from kilonova.scheduler.ranking import Ranking
from kilonova.scheduler.rules import is_fixed
from tests.unit.scheduler import reference
from tests.unit.scheduler.fleets import Group, Host, fleet_of, request_of
from tests.unit.scheduler.reference import Case

NAMES = [f"h{number}" for number in range(6)]
TRAITS = ["CUSTOM_A", "CUSTOM_B"]

some_names = st.lists(st.sampled_from(NAMES), unique=True, max_size=3)
amounts = st.builds(
    Need,
    vcpus=st.sampled_from([0, 1, 2]),
    memory_mb=st.sampled_from([0, 512, 1024]),
    disk_gb=st.sampled_from([0, 1, 2]),
)
needs = st.tuples(amounts, st.dictionaries(st.sampled_from(["CUSTOM_X", "CUSTOM_Y"]), st.integers(1, 3))).map(
    lambda both: msgspec.structs.replace(both[0], custom=both[1])
)
capabilities = st.fixed_dictionaries(
    {},
    optional={
        "architecture": st.sampled_from(["x86_64", "aarch64"]),
        "cpu_info": st.sampled_from([{"model": "new"}, {"model": "old", "bits": 46}, '{"model": "new"}']),
        "disk": st.sampled_from(["ssd", "hdd", "7"]),
    },
)
inventories = st.dictionaries(
    st.sampled_from(["CUSTOM_X", "CUSTOM_Y"]),
    st.builds(
        Inventory,
        total=st.just(9),
        min_unit=st.integers(1, 2),
        max_unit=st.integers(1, 3),
        step_size=st.integers(1, 2),
        capacity=st.integers(0, 9),
        used=st.integers(0, 9),
    ),
)


def hosts_of(name: str) -> st.SearchStrategy[Host]:
    return st.builds(
        Host,
        name=st.just(name),
        up=st.sampled_from([True, True, True, False]),
        enabled=st.sampled_from([True, True, True, False]),
        zone=st.sampled_from(["nova", "east"]),
        address=st.sampled_from(["192.0.2.1", "192.0.3.1", "2001:db8::1"]),
        hypervisor_type=st.sampled_from(["QEMU", "fake"]),
        hypervisor_version=st.sampled_from([7_002_022, 6_000_000]),
        capabilities=capabilities,
        traits=st.lists(st.sampled_from(TRAITS), unique=True).map(tuple),
        custom=inventories,
        metrics=st.dictionaries(st.sampled_from(["cpu.percent", "cpu.idle.percent"]), st.just(0.5)),
        images=st.dictionaries(st.sampled_from(["i1", "i2", "i9"]), st.integers(1, 2)),
        capacity=st.just(Need(vcpus=2, memory_mb=1024, disk_gb=2)),
        used=amounts,
        servers=st.integers(0, 3),
        io_ops=st.integers(0, 3),
        failed_builds=st.integers(0, 1),
    )


fleets = st.integers(0, len(NAMES)).flatmap(lambda size: st.tuples(*(hosts_of(name) for name in NAMES[:size])))
metadata = st.fixed_dictionaries(
    {},
    optional={
        "filter_tenant_id": st.sampled_from(["p1", "p2", "p1, p2"]),
        "filter_tenant_id_2": st.sampled_from(["p3"]),
        "trait:CUSTOM_A": st.sampled_from(["required", "forbidden"]),
        "instance_type": st.sampled_from(["m1.tiny", "m1.big", "m1.big, m1.tiny"]),
        "disk": st.sampled_from(["ssd", "hdd", "ssd,hdd"]),
        "os_distro": st.sampled_from(["debian", "windows, debian"]),
        "max_instances_per_host": st.sampled_from(["1", "2", "9", "many"]),
        "max_io_ops_per_host": st.sampled_from(["1", "2", "9", "many"]),
        "ram_weight_multiplier": st.sampled_from(["-1", "3"]),
    },
)
groups = st.lists(st.builds(Group, hosts=some_names.map(tuple), metadata=metadata), max_size=4).map(tuple)
requirements = st.sampled_from(
    [
        *("ssd", "7", "= 5", "== 7", "!= 7", ">= 7", "<= 6", ">=", ">= x"),
        *("s== ssd", "s!= ssd", "s< i", "s>= i", "<in> s", "<in>", "<all-in> s d", "<or> ssd <or> 7", "<or>"),
    ]
)
extra_specs = st.fixed_dictionaries(
    {},
    optional={
        "trait:CUSTOM_A": st.sampled_from(["required", "forbidden"]),
        "trait2:CUSTOM_B": st.sampled_from(["required", "forbidden", "maybe"]),
        "disk": requirements,
        "aggregate_instance_extra_specs:disk": requirements,
        "capabilities:disk": requirements,
        "capabilities:cpu_info:model": st.sampled_from(["new", "<or> new <or> old"]),
        "capabilities:cpu_info:bits": st.sampled_from([">= 40", "46", "s== 1"]),
        "capabilities:hypervisor_version": st.sampled_from([">= 7000000", "6000000"]),
        "capabilities:free_ram_mb": st.sampled_from([">= 512", "1024"]),
        "hw:cpu_policy": st.just("dedicated"),
    },
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "trait:CUSTOM_B": st.sampled_from(["required", "forbidden"]),
        "hw_architecture": st.sampled_from(["x86_64", "aarch64"]),
        "img_hv_type": st.sampled_from(["kvm", "xen"]),
        "img_hv_requested_version": st.sampled_from([">=7.0", ">=6.0"]),
        "os_distro": st.sampled_from(["debian", "windows"]),
    },
)
queries = st.sampled_from(
    [
        "",
        '[">=", "$free_ram_mb", 512]',
        '["and", ["=", "$hypervisor_type", "QEMU"], ["not", ["=", "$num_instances", 0]]]',
        '["or", ["=", "$disk", "ssd"], ["=", "$host", "h1", "h1"], ["=", "$cpu_info.model", "new"]]',
    ]
)
hints = st.fixed_dictionaries(
    {},
    optional={
        "query": queries,
        "build_near_host_ip": st.sampled_from(["192.0.2.9", "2001:db8::9"]),
        "cidr": st.sampled_from(["/23", "/24", "/32"]),
    },
)
requests = st.builds(
    request_of,
    extra_specs=extra_specs,
    properties=properties,
    project_id=st.sampled_from(["p1", "p2", "p3", "p4"]),
    need=needs,
    flavor=st.sampled_from(["m1.tiny", "m1.big", "m1.odd"]),
    image_id=st.sampled_from([None, "i1", "i2"]),
    availability_zone=st.sampled_from([None, None, "nova", "east"]),
    requested_host=st.sampled_from([None, None, None, "h1"]),
    excluded_hosts=some_names,
    hints=hints,
)
neighbourhoods = st.builds(
    Neighbours,
    group=st.none()
    | st.builds(
        ServerGroup,
        seq=st.just(1),
        id=st.just("g"),
        project_id=st.just("p1"),
        user_id=st.just("u1"),
        name=st.just("g"),
        policy=st.sampled_from(["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]),
        rules=st.sampled_from([{}, {"max_server_per_host": 2}]),
    ),
    members=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 2), max_size=3),
    same=st.none() | some_names.map(frozenset),
    different=some_names.map(frozenset),
)
configurations = st.builds(
    SchedulerConfig,
    isolated_hosts=some_names,
    isolated_images=st.sampled_from([[], ["i1"]]),
    restrict_isolated_hosts_to_isolated_images=st.booleans(),
    placement_aggregate_required_for_tenants=st.booleans(),
    max_instances_per_host=st.integers(1, 3),
    max_io_ops_per_host=st.integers(0, 3),
    metrics_weight_setting=st.dictionaries(st.sampled_from(["cpu.percent", "cpu.idle.percent"]), st.just(1.0)),
    host_subset_size=st.integers(1, 3),
)
World = tuple[tuple[Host, ...], tuple[Group, ...], ScheduleServer, Neighbours, SchedulerConfig]
worlds = st.tuples(fleets, groups, requests, neighbourhoods, configurations)


def expected(world: World, filters: list[str]) -> dict[str, str | None]:
    hosts, groups, request, neighbours, options = world
    return {
        host.name: reference.dropped_by(
            Case(host=host, groups=groups, request=request, neighbours=neighbours, options=options), filters
        )
        for host in hosts
    }


def test_the_reference_knows_every_filter() -> None:
    assert set(reference.VERDICTS) == set(FILTERS)


@settings(max_examples=60, deadline=None)
@given(world=worlds)
def test_each_filter_says_what_the_reference_says(world: World) -> None:
    hosts, groups, request, neighbours, options = world
    view = fleet_of(hosts, groups).view.beside(neighbours)
    for name, made in make_filters(sorted(FILTERS), options).items():
        verdicts = made.passes(view, request)
        assert verdicts.dtype == np.bool_ and len(verdicts) == len(hosts)
        said = {host: None if verdict else name for host, verdict in zip(view.names, verdicts, strict=True)}
        assert said == expected(world, [name]), name
        for row, verdict in enumerate(verdicts):
            few = view.only(np.array([row], dtype=np.int64))
            assert made.passes(few, request).tolist() == [verdict], f"{name} looks at other rows"
            if not verdict:
                need, have = made.explain(view, row, request)
                assert need and have, f"{name} has no reason"


@settings(max_examples=60, deadline=None)
@given(
    world=worlds, chosen=st.lists(st.sampled_from(sorted(FILTERS)), unique=True, min_size=1), seed=st.integers(0, 9)
)
def test_a_decision_violates_no_rule(world: World, chosen: list[str], seed: int) -> None:
    hosts, groups, request, neighbours, options = world
    fleet, filters = fleet_of(hosts, groups), make_filters(chosen, options)
    asked: dict[str, Any] = {"subset": options.host_subset_size, "random": Random(seed)}
    decider = Decider(fleet, filters, filters, make_weighers(options), **asked)
    dropped = expected(world, chosen)
    ranking = Ranking(fleet.view.beside(neighbours), shape_of(request), filters, make_weighers(options))
    assert {name: chosen[at] if at < len(chosen) else None for name, at in _first(ranking).items()} == dropped
    decision = decider.decide(request, Batch(), neighbours)
    if decision.host is None:
        assert None not in dropped.values()
    else:
        assert dropped[decision.host] is None


@settings(max_examples=30, deadline=None)
@given(world=worlds, usage=st.lists(st.tuples(amounts, st.integers(0, 3), st.integers(0, 3)), min_size=6, max_size=6))
def test_fixed_filters_do_not_look_at_what_changes(world: World, usage: list[tuple[Need, int, int]]) -> None:
    hosts, groups, request, neighbours, options = world
    later = [
        msgspec.structs.replace(host, used=used, servers=servers, io_ops=io_ops)
        for host, (used, servers, io_ops) in zip(hosts, usage, strict=False)
    ]
    before, after = fleet_of(hosts, groups).view, fleet_of(later, groups).view.beside(neighbours)
    for name, made in make_filters(sorted(FILTERS), options).items():
        if is_fixed(made):
            assert made.passes(before, request).tolist() == made.passes(after, request).tolist(), name


@settings(max_examples=30, deadline=None)
@given(world=worlds, count=st.integers(1, 8))
def test_a_ranking_that_is_kept_says_what_a_new_one_says(world: World, count: int) -> None:
    hosts, groups, request, _, options = world
    fleet = fleet_of(hosts, groups)
    filters = make_filters(
        ["ComputeFilter", "NumInstancesFilter", "IoOpsFilter", "TraitsFilter", "CapacityFilter"], options
    )
    asked: dict[str, Any] = {"subset": 1, "random": Random(count)}
    decider = Decider(fleet, filters, filters, make_weighers(options), **asked)
    for _ in range(count):
        fresh = Ranking(fleet.view, shape_of(request), filters, make_weighers(options))
        decision = decider.decide(request, Batch())
        assert decision.counts == fresh.dropped_by()
        assert (decision.host is None) == (fresh.fits == 0)


def _first(ranking: Ranking) -> dict[str, int]:
    return {name: int(at) for name, at in zip(ranking.view.names, ranking.first, strict=True)}
