"""The simulator must bite: every planted bug is found within a stated number of seeds, and without one nothing is found."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from kilonova.simulation.report import finding_lines, schedule_lines
from kilonova.simulation.run import Simulator
from kilonova.simulation.schedule import Schedule, draw
from kilonova.simulation.shrink import shrink
from tests.simulation.bugs import BUGS, Patch, nobody_sweeps
from tests.simulation.stages import STAGES


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    """One for all: it keeps the schema."""
    return Simulator()


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: str(bug.__name__))
def test_a_planted_bug_is_found(simulator: Simulator, bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    stage, within = BUGS[bug]
    bug(monkeypatch)
    if not any(simulator.schedule(stage(draw(seed))).findings for seed in range(within)):
        pytest.fail(f"{bug.__name__} was not found within {within} seeds: {bug.__doc__}")


@pytest.mark.parametrize("stage", STAGES)
def test_without_a_bug_these_worlds_are_well(simulator: Simulator, stage: Callable[[Schedule], Schedule]) -> None:
    for seed in range(15):
        assert simulator.schedule(stage(draw(seed))).findings == [], seed


def test_a_failure_is_shrunk_to_what_matters(simulator: Simulator, monkeypatch: Patch) -> None:
    nobody_sweeps(monkeypatch)
    failed = next(outcome for seed in range(30) if (outcome := simulator.seed(seed)).findings)
    smallest = shrink(failed, simulator.schedule, tries=60)
    assert {finding.kind for finding in smallest.findings} & {finding.kind for finding in failed.findings}
    before = len(failed.schedule.operations) + len(failed.schedule.faults)
    assert len(smallest.schedule.operations) + len(smallest.schedule.faults) < before
    assert list(schedule_lines(smallest)) and list(finding_lines(smallest))


def test_one_seed_is_one_story_byte_for_byte() -> None:
    """Also in another process, whose strings hash differently, and after other worlds."""
    script = (
        "import sys; from kilonova.simulation.run import Simulator; s = Simulator(); "
        "[s.seed(n) for n in range(int(sys.argv[1]))]; "
        "print(*[s.seed(n).trace.digest() for n in (3, 11, 12)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script, str(warm)],
            env={"PYTHONHASHSEED": str(hashing)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for warm, hashing in ((0, 1), (2, 2))
    }
    assert len(told) == 1
