"""What-if: if it says that n fit, then n creates succeed and the next one fails; and a drain that is promised can be done."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.config import MembershipConfig, SchedulerConfig
from kilonova.database import ledger
from kilonova.database.host_columns import Reading, read
from kilonova.database.tables import allocations, hosts, metadata, services
from kilonova.model.aggregate import Aggregate
from kilonova.model.clock import SystemClock
from kilonova.model.errors import Invalid, Unavailable
from kilonova.model.flavor import Flavor
from kilonova.model.inventory import Inventory
from kilonova.model.placement import GroupPolicy, Neighbours, ServerGroup
from kilonova.model.what_if import NewHosts, Question
from kilonova.scheduler.decider import Batch, Decider
from kilonova.scheduler.imagined import closed, with_more, without
from kilonova.scheduler.planner import Planner
from kilonova.scheduler.what_if import Tally, Wanted, empty, place
from tests.unit.fleets import Box, decider_of, flavor, fleet_of, reading, request

MANY = 60


def fill(decider: Decider, wanted: Wanted, count: int = MANY) -> dict[str, Any]:
    tally = Tally(wanted, count)
    for decision in place(decider, wanted, count, []):
        tally.add(decision)
    return tally.answer()


def room(box: Box, size: Flavor) -> int:
    """How many fit, by plain division."""
    free = (
        (box.vcpus - box.vcpus_used, size.vcpus),
        (box.memory_mb - box.memory_mb_used, size.memory_mb),
        (box.disk_gb - box.disk_gb_used, size.disk_gb),
    )
    return max(min(have // wanted for have, wanted in free if wanted), 0) if box.up and box.enabled else 0


BOXES = st.lists(
    st.builds(
        Box,
        vcpus_used=st.integers(0, 9),
        memory_mb_used=st.integers(0, 9000),
        disk_gb_used=st.integers(0, 100),
        zone=st.sampled_from(["az1", "az2"]),
        up=st.integers(0, 4).map(bool),
        enabled=st.integers(0, 4).map(bool),
    ),
    min_size=1,
    max_size=6,
)
SIZES = st.builds(
    flavor,
    vcpus=st.sampled_from([1, 2, 3]),
    memory_mb=st.sampled_from([512, 1000, 4096]),
    disk_gb=st.sampled_from([1, 20, 30]),
)


@settings(max_examples=100, deadline=None)
@given(BOXES, SIZES, st.integers(1, 3), st.booleans())
def test_as_many_fit_as_there_is_room_and_the_group_allows(
    boxes: list[Box], size: Flavor, most: int, apart: bool
) -> None:
    neighbours = None
    if apart:
        rules = {"max_server_per_host": most}
        group = ServerGroup(
            seq=1, id="g", project_id="p", user_id="u", name="g", policy=GroupPolicy.ANTI_AFFINITY, rules=rules
        )
        neighbours = Neighbours(group=group, members={"box1": 1})
    there = [
        min(room(box, size), most - (not number)) if apart else room(box, size) for number, box in enumerate(boxes)
    ]
    told = fill(decider_of(reading(boxes)), Wanted(request=request(size), neighbours=neighbours))
    assert told["fits"] == min(sum(there), MANY)
    on = {place["host"]: place["servers"] for place in told["placements"]}
    if told["fits"] < MANY:
        assert on == {f"box{number}": servers for number, servers in enumerate(there, 1) if servers}
        assert told["stopped_by"]["nearest"]
    else:
        assert told["stopped_by"] is None


# --- against claims in a database ------------------------------------------------------------------------------


class Inline:
    """A database whose transactions run at once."""

    def __init__(self) -> None:
        self._engine = sa.create_engine("sqlite://")
        metadata.create_all(self._engine)

    async def run(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return self.now(function, *arguments, **more)

    def now(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        with self._engine.begin() as connection:
            return function(connection, *arguments, **more)


@pytest.fixture(scope="module")
def database() -> Iterator[Inline]:
    yield Inline()


def write(connection: sa.Connection, boxes: Sequence[Box]) -> None:
    """Forget what there is; those hosts and their services instead."""
    for table in (allocations, hosts, services):
        connection.execute(table.delete())
    for number, box in enumerate(boxes, 1):
        host = f"box{number}"
        connection.execute(
            hosts.insert().values(
                uuid=host,
                host=host,
                address="",
                availability_zone=box.zone,
                hypervisor_type="fake",
                hypervisor_version=1,
                capabilities={},
                vcpus=box.vcpus,
                memory_mb=box.memory_mb,
                disk_gb=box.disk_gb,
                free_disk_gb=0,
                vcpus_capacity=box.vcpus,
                memory_mb_capacity=box.memory_mb,
                disk_gb_capacity=box.disk_gb,
                vcpus_used=box.vcpus_used,
                memory_mb_used=box.memory_mb_used,
                disk_gb_used=box.disk_gb_used,
                servers_count=box.servers,
                created_at=1,
                updated_at=1,
            )
        )
        seen = 1 if not box.up else 1 << 60
        connection.execute(
            services.insert().values(
                uuid=host,
                binary="nova-compute",
                host=host,
                zone="nova",
                incarnation="i",
                disabled=not box.enabled,
                forced_down=False,
                started_at=1,
                last_seen_at=seen,
            )
        )


def look(connection: sa.Connection) -> Reading:
    return read(connection, now=1, since=0, beyond=0, heard_since=2, aggregates_mark=())


def create(connection: sa.Connection, size: Flavor, zone: str | None, number: int) -> bool:
    """One create: a fresh look, a decision, a claim. Whether there was a host."""
    asked = request(size, availability_zone=zone)
    decision = decider_of(look(connection), number).decide(asked, Batch())
    if decision.host is None:
        return False
    assert ledger.claim(
        connection, server_id=f"s{number}", project_id="p", host=decision.host, need=asked.need, now=1
    )
    return True


@settings(max_examples=60, deadline=None)
@given(BOXES, SIZES, st.sampled_from([None, "az1", "az3"]))
def test_as_many_creates_succeed_as_was_said_and_the_next_one_fails(
    database: Inline, boxes: list[Box], size: Flavor, zone: str | None
) -> None:
    database.now(write, boxes)
    planner = Planner(
        database,  # type: ignore[arg-type]
        SystemClock(),
        Random(3),
        scheduler=SchedulerConfig(),
        membership=MembershipConfig(),
    )
    before = list(database.now(look).usage)
    question = Question(
        project_id="p",
        user_id="u",
        flavor={"name": "f", "vcpus": size.vcpus, "memory_mb": size.memory_mb, "disk_gb": size.disk_gb},
        count=MANY,
        availability_zone=zone,
    )
    told = asyncio.run(planner.answer(question))["servers"]
    assert list(database.now(look).usage) == before  # nothing was claimed
    for number in range(told["fits"]):
        assert database.now(create, size, zone, number)
    assert not database.now(create, size, zone, told["fits"])


async def test_a_look_that_is_not_of_one_moment_is_not_trusted(
    database: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.now(write, [Box(), Box()])
    torn = [True, True]

    def torn_read(connection: sa.Connection, **more: Any) -> Reading:
        found = read(connection, **more)
        return msgspec.structs.replace(found, usage=list(found.usage)[1:]) if torn and torn.pop() else found

    monkeypatch.setattr("kilonova.scheduler.planner.read", torn_read)
    planner = Planner(
        database,  # type: ignore[arg-type]
        SystemClock(),
        Random(3),
        scheduler=SchedulerConfig(),
        membership=MembershipConfig(),
    )
    question = Question(
        project_id="p", user_id="u", flavor={"name": "f", "vcpus": 4, "memory_mb": 64, "disk_gb": 1}, count=9
    )
    assert (await planner.answer(question))["servers"]["fits"] == 4
    torn += [True, True, True]
    with pytest.raises(Unavailable):
        await planner.answer(question)


# --- hosts that are imagined -----------------------------------------------------------------------------------


def test_new_hosts_are_empty_and_like_the_one_that_is_named() -> None:
    aggregate = Aggregate(
        id=1,
        uuid="a",
        name="fast",
        availability_zone="az9",
        metadata={"availability_zone": "az9"},
        created_at=1,
        updated_at=1,
        hosts=["box2"],
    )
    known = reading([Box(vcpus=2), Box(memory_mb_used=8000, enabled=False)], [aggregate])
    imagined, names = with_more(known, NewHosts(count=2, like="box2"))
    assert names == ["box2+1", "box2+2"]
    view = fleet_of(imagined).view
    assert list(view.names) == ["box1", "box2", "box2+1", "box2+2"]
    assert view.memory_free.tolist() == [8192, 192, 8192, 8192]
    assert view.columns.enabled.tolist() == [True, False, True, True]
    assert [view.zone(row) for row in range(4)] == ["nova", "az9", "az9", "az9"]
    assert len(fleet_of(known)) == 2  # what was read is as it was
    sized, _ = with_more(known, NewHosts(count=1, vcpus=64, memory_mb=1, disk_gb=7))
    grown = fleet_of(sized).view
    assert [int(free[2]) for free in (grown.vcpus_free, grown.memory_free, grown.disk_free)] == [64, 1, 7]


def test_new_hosts_have_the_traits_and_the_custom_resources_of_the_one_they_are_like() -> None:
    stock = {"CUSTOM_GPU": Inventory(total=4, capacity=4, used=3)}
    known = msgspec.structs.replace(reading([Box(), Box()]), traits={"box2": ["CUSTOM_FAST"]}, custom={"box2": stock})
    imagined, _ = with_more(known, NewHosts(count=1, like="box2"))
    view = fleet_of(imagined).view
    assert "CUSTOM_FAST" in view.traits(2) and "CUSTOM_FAST" not in view.traits(0)
    assert [view.custom(row).get("CUSTOM_GPU") for row in range(3)] == [
        None,
        stock["CUSTOM_GPU"],
        Inventory(total=4, capacity=4, used=0),
    ]
    size = flavor("gpu", extra_specs={"resources:CUSTOM_GPU": "2"})
    assert fill(decider_of(imagined), Wanted(request=request(size), neighbours=None))["fits"] == 2


def test_hosts_that_are_gone_or_closed() -> None:
    known = reading([Box(), Box(up=False), Box()])
    view = fleet_of(without(known, ["box1", "box2"])).view
    assert list(view.names) == ["box3"] and view.columns.up.tolist() == [True]
    view = fleet_of(closed(known, ["box1", "box2"])).view
    assert view.columns.enabled.tolist() == [False, False, True] and view.columns.up.tolist() == [True, False, True]
    for change in (without, closed):
        with pytest.raises(Invalid, match="box9"):
            change(known, ["box9"])
    with pytest.raises(Invalid, match="box9"):
        with_more(known, NewHosts(count=1, like="box9"))
    with pytest.raises(Invalid, match="no host yet"):
        with_more(reading([]), NewHosts(count=1))


# --- draining --------------------------------------------------------------------------------------------------


def leaving(size: Flavor, name: str, neighbours: Neighbours | None = None) -> Wanted:
    return Wanted(request=request(size, excluded_hosts=["box1"]), neighbours=neighbours, name=name, leaves="box1")


def test_the_largest_server_is_placed_first() -> None:
    boxes = [Box(), Box(memory_mb=4096), Box(memory_mb=1024)]
    small, large = leaving(flavor(memory_mb=1024), "small"), leaving(flavor(memory_mb=4096), "large")
    decided = [
        (wanted.name, decision.host)
        for wanted, decision in empty(decider_of(closed(reading(boxes), ["box1"])), [small, large], [])
    ]
    assert decided == [("large", "box2"), ("small", "box3")]


def test_servers_of_one_group_stay_apart_while_they_are_moved() -> None:
    group = ServerGroup(
        seq=1, id="g", project_id="p", user_id="u", name="g", policy=GroupPolicy.ANTI_AFFINITY, rules={}
    )
    servers = [leaving(flavor(), name, Neighbours(group=group, members={"box1": 2})) for name in ("a", "b", "c")]
    decider = decider_of(closed(reading([Box(), Box(), Box()]), ["box1"]))
    decided = {wanted.name: decision for wanted, decision in empty(decider, servers, [])}
    assert {decided["a"].host, decided["b"].host} == {"box2", "box3"}
    assert decided["c"].host is None and decided["c"].counts["ServerGroupAntiAffinityFilter"] == 2
    assert any(near.change == "host" for near in decided["c"].nearest)
