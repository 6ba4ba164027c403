"""What ``kilonova explain`` prints of decisions that a small cloud seldom makes."""

from io import StringIO
from typing import Any

from rich.console import Console

from kilonova.cli.explain import draw, nearest


def drawn(**more: Any) -> str:
    decision: dict[str, Any] = {
        "action": "create",
        "outcome": "placed",
        "decided_at": "2026-11-22T16:27:02.123456",
        "asked": {"vcpus": 1, "memory_mb": 512, "disk_gb": 10},
        "considered": 2,
        "dropped_by": {},
        "zone": "nova",
        "host": "host1",
        **more,
    }
    console = Console(file=StringIO(), width=300)
    draw(console, "web", decision)
    written = console.file
    assert isinstance(written, StringIO)
    return written.getvalue()


def test_a_lost_claim() -> None:
    said = drawn(outcome="lost")
    assert "web: create, 2026-11-22T16:27:02, its claim was lost" in said
    assert "chosen         host1 in zone nova, which had changed meanwhile" in said


def test_everything_that_can_be_asked_for() -> None:
    asked = {
        "vcpus": 2,
        "memory_mb": 1,
        "disk_gb": 10,
        "availability_zone": "az1",
        "requested_host": "host1",
        "forced": True,
        "excluded_hosts": ["host2", "host3"],
        "hints": {"different_host": ["a", "b"], "group": "g"},
        "image_properties": {"hw_architecture": "[red]x86_64"},
        "extra_specs": {"trait:X": "required"},
    }
    [line] = [line for line in drawn(asked=asked).splitlines() if "asked for" in line]
    assert line.split("asked for", 1)[1].strip() == (
        "2 cores, 1 MiB memory, 10 GiB disk; zone az1; host host1 by force; not host2, host3; "
        'different_host=["a", "b"]; group=g; hw_architecture=[red]x86_64; trait:X=required'
    )


def test_weights_and_their_parts() -> None:
    ranking = [
        {"host": "host1", "weight": 1.5, "parts": {"RAMWeigher": 1.0, "CPUWeigher": 0.5}},
        {"host": "host2", "weight": 1.0, "parts": {"RAMWeigher": 1.0}},
    ]
    said = drawn(ranking=ranking).splitlines()
    at = next(number for number, line in enumerate(said) if line.startswith("ranking"))
    assert said[at].split()[1:] == ["host", "weight", "CPUWeigher", "RAMWeigher"]
    assert [line.split() for line in said[at + 1 : at + 3]] == [
        ["host1", "1.500", "0.500", "1.000"],
        ["host2", "1.000", "0.000", "1.000"],
    ]


def test_the_nearest_fit_for_owners_and_for_administrators() -> None:
    assert nearest({"change": "zone", "text": "It would fit in zone az2.", "hosts": 3}) == "It would fit in zone az2."
    known = {"change": "zone", "text": "It would fit in zone az2.", "hosts": 3, "host": "host7"}
    assert nearest(known) == "It would fit in zone az2. (host7 and 2 more)"
    lacking = {"change": "host", "hosts": 1, "host": "host5", "rules": ["R"], "need": ["2"], "have": ["1"]}
    assert nearest(lacking) == "host5: R needs 2, there is 1"
