"""What became of the tests of a stestr run: passed, failed, skipped and why."""

import contextlib
import json
import os
import re
import signal
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
_NEVER_RUN = Outcome("", "failed", "it was not run to its end", 0.0)


def run_bounded(
    command: list[str], workspace: Path, seconds: float, environment: dict[str, str] | None = None
) -> list[Outcome]:
    """Run a command that writes a subunit stream, for ``seconds`` at most; nothing of it is left running.

    What had not ended by then has no outcome. Raises ``SystemExit`` if no test ran at all.
    """
    stream = workspace / "run.subunit"
    with stream.open("wb") as out, (workspace / "run.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=workspace, env=environment, stdout=out, stderr=log, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"not done within {seconds:.0f} s: {' '.join(command[:3])} …")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _read(stream)


def _read(stream: Path) -> list[Outcome]:
    content = stream.read_bytes()
    if not content:
        raise SystemExit(f"no test ran; {stream.parent}/run.log tells why")
    reader = Path(__file__).with_name("subunit_reader.py")
    command = [judges() / "bin" / "python", reader]
    read = subprocess.run(command, input=content, cwd=ROOT, capture_output=True, check=True)
    return [plainly(Outcome(**json.loads(line))) for line in read.stdout.splitlines()]


def plainly(outcome: Outcome) -> Outcome:
    """A test that failed has failed, also where its authors know it as unstable and would call it skipped."""
    _, excused, failure = outcome.reason.rpartition("failure was: ")
    if outcome.state != "skipped" or not excused or failure.startswith("Skipped"):
        return outcome
    return replace(outcome, state="failed", reason=failure)


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
