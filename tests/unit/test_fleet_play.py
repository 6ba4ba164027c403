"""Workloads on imaginary fleets: drawn and recorded, to the last slot."""

from pathlib import Path

import pytest

from kilonova.model.clock import Random
from kilonova.model.errors import Misconfigured
from kilonova.simulation.fleet.full import play_in_full
from kilonova.simulation.fleet.hosts import MACHINES, ZONES, machine_of
from kilonova.simulation.fleet.play import Played, play
from kilonova.simulation.fleet.report import draw, figures, lines
from kilonova.simulation.fleet.workload import Size, Wish, Workload, recorded

LARGE = Size("large", 8, 32 * 1024, 10, 1.0)


def drawn(seed: int, **workload: float) -> Played:
    asked = Workload(servers=400, arrival=10.0, zones=ZONES, **workload)  # type: ignore[arg-type]
    return play(asked.wishes(Random(f"{seed}")), 40, seed)


def test_the_same_seed_makes_the_same_decisions() -> None:
    first, second, other = (figures(drawn(seed, lifetime=20.0)) for seed in (1, 1, 2))
    for found in (first, second, other):
        del found["timing"]
    assert first == second != other


def test_a_fleet_fills_up_to_the_last_slot() -> None:
    room = sum(machine_of(number, 30).memory_mb // LARGE.memory_mb for number in range(30))
    wishes = [Wish(at=number / 10, lifetime=float("inf"), size=LARGE, project="p") for number in range(room + 7)]
    played = play(wishes, 30, seed=0)
    assert (played.placed, played.failed) == (room, 7)
    assert played.reasons == {"CapacityFilter": 7}
    assert played.samples[-1].memory == 1.0


def test_what_leaves_makes_room() -> None:
    room = sum(machine_of(number, 5).memory_mb // LARGE.memory_mb for number in range(5))
    wishes = [Wish(at=float(number), lifetime=room - 0.5, size=LARGE, project="p") for number in range(room * 3)]
    played = play(wishes, 5, seed=0)
    assert (played.placed, played.failed) == (room * 3, 0)


def test_the_shares_of_makes_hold() -> None:
    found = [machine_of(number, 1000) for number in range(1000)]
    for machine in MACHINES:
        assert abs(found.count(machine) / 1000 - machine.share) < 0.02


def test_the_whole_control_plane_does_the_same() -> None:
    asked = Workload(servers=60, arrival=20.0, zones=ZONES)
    played = play_in_full(asked.wishes(Random("full")), 6, seed=1)
    assert (played.hosts, played.active, played.failed, played.breaches) == (6, 60, 0, [])
    again = play_in_full(asked.wishes(Random("full")), 6, seed=1)
    assert played.waits == again.waits
    brief = Workload(servers=30, arrival=20.0, lifetime=2.0, zones=ZONES)
    left = play_in_full(brief.wishes(Random("brief")), 3, seed=1)
    assert (left.failed, left.breaches) == (0, [])


def test_a_trace_is_played(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "at,lifetime,vcpus,memory_mb,disk_gb,project,zone,group\n0,,1,512,1,a,az1,\n0.5,10,2,1024,5,b,,anti-affinity/1\n"
    )
    played = play(recorded(trace), 3, seed=0)
    assert (played.placed, set(played.by_project)) == (2, {"a", "b"})
    assert any("2 of 2 servers placed" in line for line in lines(played))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("at,lifetime\n", "no column"),
        ("at,lifetime,vcpus,memory_mb,disk_gb,project\n0,1,x,1,1,p\n", "line 2"),
        ("at,lifetime,vcpus,memory_mb,disk_gb,project\n0,1,0,1,1,p\n", "positive"),
        ("at,lifetime,vcpus,memory_mb,disk_gb,project\n5,1,1,1,1,p\n4,1,1,1,1,p\n", "goes back"),
    ],
)
def test_a_trace_that_cannot_be_read_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(text)
    with pytest.raises(Misconfigured, match=complaint):
        list(recorded(trace))


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    draw(drawn(1), tmp_path / "fleet.png")
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG")
