"""``docs/conformance.md``: what was judged, by whom, with what result. Nothing in it but what a run has found."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.coverage import MISSING, STATES, Operation
from tests.conformance.gaps import DECIDED
from tests.conformance.judged_cloud import ROOT
from tests.conformance.judgement import Judgement
from tests.conformance.kept import Kept
from tests.conformance.outcomes import Outcome, summary
from tests.conformance.suites import SUITES

FILE = ROOT / "docs" / "conformance.md"
_PACKAGES = ("nova", "tempest", "openstacksdk", "python-openstackclient", "python-novaclient")


@dataclass(frozen=True)
class Run:
    """What one run of everything has found."""

    left: Kept
    judgement: Judgement
    operations: list[Operation]
    dead: tuple[int, int]
    policy: list[str]


def write(run: Run, file: Path = FILE) -> None:
    """The document, anew."""
    file.write_text("\n".join(_lines(run)) + "\n")


def _lines(run: Run) -> Iterator[str]:
    yield "# Conformance"
    yield ""
    yield "An embedded cloud with two imitated hosts, judged by what others have written for OpenStack, unmodified:"
    yield f"{', '.join(_versions())}."
    yield "Everything here was found by these runs; nothing is written by hand. `kilonova api-report` lists what is offered,"
    yield "`/openapi.json` describes it."
    yield ""
    yield from _runs(run.left)
    yield from _suites(run.left.suites)
    yield from _oracle(run)
    yield from _policy(run.policy)
    yield from _operations(run.operations, run.dead)
    yield from _failures(run.left.suites)


def _runs(left: Kept) -> Iterator[str]:
    """The commands; what was judged stands behind each if it was not one and the same source."""
    several = len(left.sources) > 1
    yield from (f"    {command}{f'  # source {source}' if several else ''}" for command, source in left.made_by)
    yield ""
    if several:
        yield "Not all on one state of the source (SHA-256 over `src`, `tests/conformance/kept.py`): what an earlier run had"
        yield "found was mended, and is judged by a later one. Of a test that ran twice the later run counts."
    else:
        yield f"All on one state of the source: {left.sources[0]} (SHA-256 over `src`, `tests/conformance/kept.py`)."
    yield ""


def _versions() -> list[str]:
    pins = (ROOT / "constraints-conformance.txt").read_text()
    return [f"{name} {found[1]}" for name in _PACKAGES if (found := re.search(rf"^{name}==(.*)$", pins, re.M))]


def _suites(suites: list[tuple[str, list[Outcome]]]) -> Iterator[str]:
    yield "## Suites"
    yield ""
    yield "| suite | passed | failed | skipped |"
    yield "|---|---|---|---|"
    for title, outcomes in suites:
        counted = summary(outcomes)
        yield f"| {title} | {counted['passed']} | {counted['failed']} | {counted['skipped']} |"
    yield ""
    left_out = [suite.title for suite in SUITES.values() if suite.title not in dict(suites)]
    if left_out:
        yield f"Not run: {'; '.join(left_out)}."
        yield ""
    yield "Skipped, with the suites' own reasons, or ours where a failure says nothing about us (`tests/conformance/gaps.py`):"
    yield ""
    reasons: dict[str, Counter[str]] = {}
    for title, outcomes in suites:
        for outcome in outcomes:
            if outcome.state == "skipped":
                reason = _BELOW.sub(r"It is about microversions up to \1, below the sweep's.", _plain(outcome.reason))
                reasons.setdefault(reason, Counter())[title] += 1
    for reason, counts in sorted(reasons.items(), key=lambda item: (-max(item[1].values()), item[0])):
        yield f"- {max(counts.values())}: {reason}"
    yield ""


def _oracle(run: Run) -> Iterator[str]:
    judgement = run.judgement
    yield "## Nova's own schemas"
    yield ""
    yield f"{sum(judgement.calls.values())} calls of {len(judgement.calls)} operations were recorded while suites ran, while"
    yield f"our own tests ran, and while {run.left.shapes} requests made out of Nova's schemas were sent, wherever one changes."
    yield "Every answer is held against the schema, the status codes and the window that the installed Nova has for it."
    yield ""
    there = {operation.name for operation in run.operations if operation.state != MISSING}
    wrong = [one for one in judgement.violations if one["operation"] in there]
    yield f"Of operations that are in place, {len(wrong)} calls were answered in another way than Nova says;"
    yield f"{judgement.known} more are places where Nova contradicts itself (`tests/conformance/oracle/judge.py`, `KNOWN`)."
    yield ""


def _policy(differences: list[str]) -> Iterator[str]:
    yield "## Policy"
    yield ""
    yield "The least role of every rule, against Nova's defaults (`enforce_new_defaults`): "
    yield "all agree." if not differences else "they differ in"
    yield from (f"- {difference}" for difference in differences)
    yield ""


def _operations(operations: list[Operation], dead: tuple[int, int]) -> Iterator[str]:
    yield "## Operations"
    yield ""
    counted = Counter(operation.state for operation in operations)
    yield f"Nova has {len(operations)} live operations between 2.1 and 2.104:"
    yield ""
    for state, meaning in STATES.items():
        yield f"- **{state}: {counted[state]}**: {meaning}"
    yield ""
    yield f"It has buried {dead[0]} more, of which {dead[1]} answer here as they do there."
    yield ""
    yield "| operation | microversions | state | why |"
    yield "|---|---|---|---|"
    for operation in operations:
        why = "; ".join(operation.reasons).replace("|", "\\|")
        yield f"| `{operation.name}` | {operation.window} | {operation.state} | {_plain(why)} |"
    yield ""


def _failures(suites: list[tuple[str, list[Outcome]]]) -> Iterator[str]:
    failed = {title: [one for one in outcomes if one.state == "failed"] for title, outcomes in suites}
    if not any(failed.values()):
        return
    yield "## What failed"
    yield ""
    for title, outcomes in failed.items():
        if not outcomes:
            continue
        yield f"### {title}"
        yield ""
        for reason, tests in _by_reason(outcomes):
            meant = {DECIDED[test] for test in tests if test in DECIDED}
            why = "".join(f" -- meant: {text}" for text in sorted(meant))
            names = ", ".join(f"`{test}`" for test in tests[:4])
            yield f"- {len(tests)}: {reason}: {names}{' …' if len(tests) > 4 else ''}{why}"
        yield ""


def _by_reason(outcomes: Iterable[Outcome]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        name = ".".join(outcome.test.split("[")[0].split(".")[-2:])
        found.setdefault(_plain(outcome.reason), []).append(name)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


_CHANGING = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d[T ][\d:.]+Z?"
)
_BELOW = re.compile(r"The microversion range\[(?:None|2\.\d+) - (2\.\d+)\] of this test is out of .*")
_MADE_UP = re.compile(r"(tempest-[A-Za-z-]*?)-?\d{5,}")


def _plain(text: str) -> str:
    """One line that reads the same after each run: ids, ports and moments left out, and no line break."""
    text = _MADE_UP.sub(r"\1-…", _CHANGING.sub("…", " ".join(text.split())))
    return text if len(text) <= 240 else text[:240] + " …"
