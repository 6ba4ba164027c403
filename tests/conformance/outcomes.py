"""What became of the tests of a stestr run: passed, failed, skipped and why."""

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conformance.judged_cloud import ROOT, judges


@dataclass(frozen=True)
class Outcome:
    """One test. ``state`` is passed, failed or skipped; ``reason`` the skip's words, or the failure's last line."""

    test: str
    state: str
    reason: str
    seconds: float
    details: str = ""


_CLASS = re.compile(r"(?:setUpClass|tearDownClass) \((.*)\)")
_NEVER_RUN = Outcome("", "failed", "it was never run", 0.0)


def read_outcomes(workspace: Path) -> list[Outcome]:
    """The last run of a stestr workspace. Raises ``SystemExit`` if there was none."""
    bin_directory = judges() / "bin"
    stream = subprocess.run(
        [bin_directory / "stestr", "last", "--subunit"], cwd=workspace, capture_output=True, check=False
    ).stdout
    if not stream:
        raise SystemExit(f"no test ran; {workspace}/run.log tells why")
    reader = Path(__file__).with_name("subunit_reader.py")
    read = subprocess.run([bin_directory / "python", reader], input=stream, cwd=ROOT, capture_output=True, check=True)
    return [Outcome(**json.loads(line)) for line in read.stdout.splitlines()]


def of_every_test(outcomes: list[Outcome], listed: list[str]) -> list[Outcome]:
    """One outcome for each test listed: a class that could not be set up, or was skipped whole, speaks for its tests."""
    own = {outcome.test: outcome for outcome in outcomes}
    classes = {found[1]: outcome for outcome in outcomes if (found := _CLASS.fullmatch(outcome.test))}
    found = []
    for test in listed:
        outcome = own.get(test) or classes.get(test.split("[")[0].rpartition(".")[0]) or _NEVER_RUN
        found.append(replace(outcome, test=test))
    return found


def summary(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many of each state."""
    counted = {"passed": 0, "failed": 0, "skipped": 0}
    for outcome in outcomes:
        counted[outcome.state] += 1
    return counted
