"""The nearest fit: what is offered would have helped, and whatever would have helped is offered."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.flavor import Flavor
from kilonova.model.placement import GroupPolicy, Neighbours, ServerGroup
from kilonova.scheduler.changes import flavored
from kilonova.scheduler.decider import Batch
from kilonova.scheduler.decision import explain_failure
from kilonova.scheduler.nearest import Nearest
from tests.unit.fleets import Box, decider_of, flavor, reading, request

BIG = flavor("big", vcpus=4, memory_mb=4096, disk_gb=40)


def explained(
    boxes: Sequence[Box],
    asked: ScheduleServer,
    flavors: Sequence[Flavor] = (),
    neighbours: Neighbours | None = None,
) -> list[Nearest]:
    decider, batch = decider_of(reading(boxes)), Batch()
    decision = decider.decide(asked, batch, neighbours)
    assert decision.row is None
    return list(decider.explain(decision, asked, batch, neighbours, flavors).nearest)


def offered(found: Sequence[Nearest]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for near in found:
        names.setdefault(near.change, []).append(near.name or near.text or near.host)
    return names


def fits(boxes: Sequence[Box], asked: ScheduleServer) -> bool:
    return decider_of(reading(boxes)).decide(asked, Batch()).row is not None


def test_another_flavor_and_how_large_it_may_be() -> None:
    boxes = [Box(memory_mb_used=6144), Box(memory_mb_used=7000)]
    flavors = [BIG, flavor("tiny", memory_mb=512), flavor("mid", vcpus=2, memory_mb=2048), flavor("odd", vcpus=99)]
    found = explained(boxes, request(BIG), flavors)
    assert offered(found) == {
        "flavor": ["mid"],
        "size": ["A flavor with at most 2048 MiB memory would fit."],
        "host": ["box1"],
    }
    assert found[0].text == "The flavor mid would fit." and found[0].host == "box1"
    assert (found[-1].need, found[-1].have) == (["4096 MiB memory"], ["2048 MiB memory free"])
    assert found[-1].hosts == 2 and found[-1].text == ""


def test_a_hosts_free_memory_is_not_told_to_the_byte() -> None:
    [near] = [one for one in explained([Box(memory_mb_used=6100)], request(BIG)) if one.change == "size"]
    assert near.text == "A flavor with at most 2048 MiB memory would fit."  # of 2092


def test_a_flavor_that_the_image_does_not_fit_is_not_offered() -> None:
    boxes, flavors = [Box(disk_gb_used=80)], [flavor("small", disk_gb=5), flavor("less", vcpus=3, disk_gb=15)]
    assert offered(explained(boxes, request(BIG, least_disk_gb=10), flavors))["flavor"] == ["less"]
    assert "flavor" not in offered(explained(boxes, request(BIG, least_disk_gb=17), flavors))


def test_disabled_flavors_are_not_offered() -> None:
    assert "flavor" not in offered(explained([Box(vcpus=2)], request(BIG), [flavor("old", disabled=True)]))


def test_another_zone() -> None:
    boxes = [Box(zone="az1", vcpus=1), Box(zone="az2"), Box(zone="az3"), Box(zone="az3")]
    found = explained(boxes, request(BIG, availability_zone="az1"))
    assert offered(found)["zone"] == ["az3", "az2"]  # where more hosts would take it first
    assert [near.hosts for near in found if near.change == "zone"] == [2, 1]


def test_without_a_hint_or_outside_its_group() -> None:
    group = ServerGroup(
        seq=1, id="g", project_id="p", user_id="u", name="g", policy=GroupPolicy.ANTI_AFFINITY, rules={}
    )
    apart = Neighbours(group=group, members={"box1": 1, "box2": 1})
    found = explained([Box(), Box()], request(BIG, hints={"group": "g"}), neighbours=apart)
    assert [near.text for near in found if near.text] == ["It would fit outside its server group."]
    different = Neighbours(different=frozenset({"box1"}))
    found = explained([Box()], request(BIG, hints={"different_host": ["s1"]}), neighbours=different)
    assert [near.text for near in found if near.text] == ["It would fit without the hint different_host."]


def test_without_a_property_of_the_image_or_an_extra_spec() -> None:
    arm = request(BIG, properties={"hw_architecture": "aarch64", "os_distro": "debian"})
    assert offered(explained([Box()], arm))["property"] == ["hw_architecture"]
    fast = request(flavor("fast", extra_specs={"capabilities:gpu": "yes", "capabilities:fpga": "yes"}))
    found = [near for near in explained([Box()], fast) if near.change == "extra_spec"]
    assert [near.text for near in found] == [  # either alone would not do
        "It would fit with a flavor without capabilities:gpu=yes and capabilities:fpga=yes."
    ]
    many = request(BIG, properties={f"p{number}": "v" for number in range(100)} | {"hw_architecture": "aarch64"})
    assert offered(explained([Box()], many))["property"] == ["hw_architecture"]


def test_two_wishes_at_once_and_a_wish_and_a_flavor() -> None:
    asked = request(BIG, availability_zone="az9", requested_host="box9")
    assert [near.text for near in explained([Box()], asked) if near.text] == [
        "It would fit outside zone az9 and on another host than the one that was asked for."
    ]
    found = explained([Box(vcpus=2)], request(BIG, availability_zone="az9"), [flavor("tiny")])
    assert [near.text for near in found if near.text] == ["It would fit outside zone az9 with the flavor tiny."]


def test_hosts_that_are_away_come_last_and_are_told_to_owners_without_their_names() -> None:
    [near] = explained([Box(up=False), Box(enabled=False)], request(BIG))
    assert (near.change, near.hosts, near.out_of_service) == ("host", 2, True)
    assert near.text == "2 hosts that could take it are out of service now."


def test_the_faults_sentence_names_what_would_help_and_no_host() -> None:
    boxes, batch = [Box(vcpus=2), Box(up=False)], Batch()
    decider, asked = decider_of(reading(boxes)), request(BIG)
    decision = decider.explain(decider.decide(asked, batch), asked, batch, None, [flavor("tiny")])
    message, details = explain_failure(decision)
    assert message == (
        "No valid host was found. Of 2 hosts none can take it: ComputeFilter dropped 1, CapacityFilter dropped 1. "
        "The flavor tiny would fit. A flavor with at most 2 cores would fit. "
        "A host that could take it is out of service now."
    )
    assert "box1: CapacityFilter needed 4 VCPU, there was 2 VCPU free" in details
    assert "nearest: box2: ComputeFilter needs up and enabled, there is down" in details


def test_the_same_failure_is_not_thought_through_twice_but_new_flavors_count() -> None:
    decider, batch, asked = decider_of(reading([Box(vcpus=2)])), Batch(), request(BIG)
    decision = decider.decide(asked, batch)
    first = decider.explain(decision, asked, batch, None, [])
    assert decider.explain(decider.decide(asked, batch), asked, batch, None, []).nearest is first.nearest
    again = decider.explain(decision, asked, batch, None, [flavor("tiny")])
    assert offered(again.nearest)["flavor"] == ["tiny"]


BOXES = st.lists(
    st.builds(
        Box,
        vcpus_used=st.integers(0, 8),
        memory_mb_used=st.integers(0, 8).map(lambda gib: gib * 1024),
        disk_gb_used=st.sampled_from([0, 50, 90]),
        zone=st.sampled_from(["az1", "az2"]),
        enabled=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
SIZES = st.builds(
    flavor,
    st.uuids().map(str),
    vcpus=st.sampled_from([1, 2, 4, 8, 16]),
    memory_mb=st.sampled_from([512, 2048, 4096, 16384]),
    disk_gb=st.sampled_from([1, 20, 80]),
)


@settings(max_examples=150, deadline=None)
@given(BOXES, SIZES, st.lists(SIZES, max_size=5), st.sampled_from([None, "az1", "az3"]))
def test_what_is_offered_helps_and_what_helps_is_offered(
    boxes: list[Box], size: Flavor, flavors: list[Flavor], zone: str | None
) -> None:
    asked = request(size, availability_zone=zone)
    if fits(boxes, asked):
        return
    names = offered(explained(boxes, asked, flavors))
    helping = {one.name for one in flavors if fits(boxes, flavored(asked, one))}
    assert set(names.get("flavor", [])) <= helping
    assert bool(names.get("flavor")) == bool(helping)
    elsewhere = {z for z in ("az1", "az2") if fits(boxes, request(size, availability_zone=z))} if zone else set()
    assert set(names.get("zone", [])) == elsewhere
    assert 1 <= len(names["host"]) <= 3
