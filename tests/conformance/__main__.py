"""Judge the Compute API by what others have written for it.

python -m tests.conformance tempest --base 2.53 --only test_keypairs
python -m tests.conformance all
python -m tests.conformance judge RECORDING…
"""

import argparse
import shlex
import sys
import tempfile
from collections import Counter
from pathlib import Path

from kilonova.cli import api_report
from tests.conformance import everything, fuzz, kept, shapes, suites, tempest
from tests.conformance.coverage import missing
from tests.conformance.judged_cloud import JudgedCloud
from tests.conformance.judgement import ask, judge
from tests.conformance.outcomes import Outcome, summary


def main() -> int:
    """Run what was asked for; 1 if anything failed."""
    asked = _parser().parse_args()
    if asked.part == "judge":
        return _judge(asked.recordings)
    if asked.part == "report":
        return 1 if everything.assemble(asked.results) else 0
    directory = asked.directory or Path(tempfile.mkdtemp(prefix="kilonova-conformance-"))
    print(f"everything is kept in {directory}")
    if asked.part == "all":
        words = sys.argv[sys.argv.index("all") + 1 :]
        made_by = "make conformance" + (f' CONFORMANCE="{" ".join(words)}"' if words else "")
        bases = asked.base or list(tempest.BASES)
        chosen = asked.suite or list(suites.SUITES)
        return 1 if everything.run(directory, bases, chosen, asked.seconds, made_by, _show) else 0
    made_by = "python -m tests.conformance " + shlex.join(sys.argv[sys.argv.index(asked.part) :])
    if asked.part == "own":
        passed = everything.record_own_tests(directory, asked.seconds)
        kept.keep(directory, made_by, [everything.OWN], [])
        return max(_judge([directory / everything.OWN]), 0 if passed else 1)
    found: list[tuple[str, list[Outcome]]] = []
    answered: dict[int, int] = {}
    with JudgedCloud(directory).running() as cloud:
        if asked.part == "shapes":
            answered = shapes.run(cloud, asked.only)
            print(f"shapes: answers by status {answered}")
        elif asked.part == "fuzz":
            found.append(("schemathesis", fuzz.run(cloud, asked.seconds)))
        elif asked.part == "tempest":
            for base in asked.base or ["2.1"]:
                outcomes = tempest.run(cloud, base, asked.only, asked.seconds, asked.set)
                found.append((tempest.title(base), outcomes))
        else:
            found.append((suites.SUITES[asked.part].title, suites.run(cloud, asked.part, asked.only, asked.seconds)))
        for title, outcomes in found:
            _show(title, outcomes)
    failed = any(outcome.state == "failed" for _, outcomes in found for outcome in outcomes)
    if asked.part == "fuzz":
        return int(failed)
    kept.keep(directory, made_by, [cloud.recording.name], found, sum(answered.values()))
    return max(_judge([cloud.recording]), int(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", type=Path, help="where cloud and results are kept (default: a new one)")
    parts = parser.add_subparsers(dest="part", required=True)
    judging = parts.add_parser("judge", help="hold recordings against Nova's schemas")
    judging.add_argument("recordings", nargs="+", type=Path)
    again = parts.add_parser("report", help="write docs/conformance.md of what runs have left, as if they were one")
    again.add_argument("results", nargs="+", type=Path, help="the directories of those runs")
    whole = parts.add_parser("all", help="everything, and write docs/conformance.md")
    own = parts.add_parser("own", help="our own tests of the API, recorded")
    one = parts.add_parser("tempest", help="Tempest's tests of Compute")
    for part in (whole, one):
        part.add_argument(
            "--base", action="append", choices=tempest.BASES, help="lowest microversion; may be repeated"
        )
    whole.add_argument("--suite", action="append", choices=suites.SUITES, help="only these clients; may be repeated")
    one.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="for tempest.conf")
    made = parts.add_parser("shapes", help="requests made out of Nova's schemas")
    made.add_argument("--only", help="a part of method, path or body")
    fuzzing = parts.add_parser("fuzz", help="requests made out of our OpenAPI document, by three people")
    theirs = [parts.add_parser(name, help=f"tests of {suite.title}") for name, suite in suites.SUITES.items()]
    for part in (one, *theirs):
        part.add_argument("--only", help="a pattern of test ids")
    for part in (whole, one, own, fuzzing, *theirs):
        part.add_argument("--seconds", type=float, default=1200.0, help="at most this long for one suite")
    return parser


def _show(title: str, outcomes: list[Outcome]) -> None:
    """Counts, failures, reasons of skips."""
    print(f"{title}: {', '.join(f'{number} {state}' for state, number in summary(outcomes).items())}")
    for outcome in outcomes:
        if outcome.state == "failed":
            print(f"  failed: {outcome.test}: {outcome.reason[:300]}")
    for reason, number in Counter(o.reason for o in outcomes if o.state == "skipped").most_common():
        print(f"  skipped {number}: {reason[:200]}")


def _judge(recordings: list[Path]) -> int:
    judgement = judge(*recordings)
    lacking = missing(ask("operations"), api_report.rows())
    wrong = [one for one in judgement.violations if one["operation"] not in lacking]
    complaints = Counter((one["operation"], one["kind"], one["text"][:200]) for one in wrong)
    for (operation, kind, text), number in complaints.most_common():
        print(f"  {number} {kind}: {operation}: {text}")
    elsewhere = len(judgement.violations) - len(wrong)
    print(
        f"{sum(judgement.calls.values())} calls judged, {len(wrong)} wrong, {judgement.known} known, "
        f"{elsewhere} of operations that are missing"
    )
    return 1 if wrong or not judgement.calls else 0


if __name__ == "__main__":
    sys.exit(main())
