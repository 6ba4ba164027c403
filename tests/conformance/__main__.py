"""Judge the Compute API by what others have written for it.

python -m tests.conformance tempest --base 2.53 --only test_keypairs
python -m tests.conformance all
python -m tests.conformance judge RECORDING…
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.conformance import everything, fuzz, shapes, suites, tempest
from tests.conformance.judged_cloud import JudgedCloud
from tests.conformance.judgement import judge
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
        options = f' CONFORMANCE="{" ".join(words)}"' if words else ""
        bases = asked.base or list(tempest.BASES)
        chosen = asked.suite or list(suites.SUITES)
        return 1 if everything.run(directory, bases, chosen, asked.seconds, options, _show) else 0
    with JudgedCloud(directory).running() as cloud:
        if asked.part == "shapes":
            print(f"shapes: answers by status {shapes.run(cloud, asked.only)}")
        elif asked.part == "fuzz":
            outcomes = fuzz.run(cloud, asked.seconds)
            _show("schemathesis", outcomes)
            return int(any(outcome.state == "failed" for outcome in outcomes))
        elif asked.part == "tempest":
            for base in asked.base or ["2.1"]:
                _show(f"Tempest from {base}", tempest.run(cloud, base, asked.only, asked.seconds, asked.set))
        else:
            _show(suites.SUITES[asked.part].title, suites.run(cloud, asked.part, asked.only, asked.seconds))
    return _judge([cloud.recording])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", type=Path, help="where cloud and results are kept (default: a new one)")
    parts = parser.add_subparsers(dest="part", required=True)
    judging = parts.add_parser("judge", help="hold recordings against Nova's schemas")
    judging.add_argument("recordings", nargs="+", type=Path)
    again = parts.add_parser("report", help="write docs/conformance.md anew from what a run has left")
    again.add_argument("results", type=Path, help="the directory of that run")
    whole = parts.add_parser("all", help="everything, and write docs/conformance.md")
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
    for part in (whole, one, fuzzing, *theirs):
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
    complaints = Counter((one["operation"], one["kind"], one["text"][:200]) for one in judgement.violations)
    for (operation, kind, text), number in complaints.most_common():
        print(f"  {number} {kind}: {operation}: {text}")
    print(f"{sum(judgement.calls.values())} calls judged, {len(judgement.violations)} wrong, {judgement.known} known")
    return 1 if judgement.violations or not judgement.calls else 0


if __name__ == "__main__":
    sys.exit(main())
