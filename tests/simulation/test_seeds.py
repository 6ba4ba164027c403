"""Some hundred worlds with each run of the tests; `make sim SEEDS=100000` runs as many as there is time for."""

import pytest

from kilonova.simulation.report import finding_lines, schedule_lines, story_lines
from kilonova.simulation.run import Simulator
from kilonova.simulation.shrink import shrink

SEEDS = 500
_BATCH = 50

SIMULATOR = Simulator()


@pytest.mark.parametrize("first", range(0, SEEDS, _BATCH))
def test_no_seed_breaks_a_rule(first: int) -> None:
    promises = 0
    for seed in range(first, first + _BATCH):
        outcome = SIMULATOR.seed(seed)
        promises += outcome.promises
        if outcome.findings:
            smallest = shrink(outcome, SIMULATOR.schedule)
            told = (*schedule_lines(smallest), *finding_lines(smallest), *story_lines(smallest))
            pytest.fail(f"seed {seed} (again: kilonova simulate --seed {seed} --trace)\n" + "\n".join(told))
    assert promises > _BATCH  # something was asked for at all
