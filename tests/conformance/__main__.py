"""Judge the Compute API by what others have written for it.

python -m tests.conformance tempest --base 2.53 --only test_keypairs
python -m tests.conformance tempest --help
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.conformance import shapes, suites, tempest
from tests.conformance.judged_cloud import JudgedCloud
from tests.conformance.outcomes import Outcome, summary


def main() -> int:
    """Run what was asked for; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--directory", type=Path, help="where the cloud and the results are kept (default: a new one in /tmp)"
    )
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("tempest", help="Tempest's tests of Compute")
    part.add_argument("--base", action="append", choices=tempest.BASES, help="lowest microversion; may be repeated")
    part.add_argument("--only", help="a pattern of test ids")
    part.add_argument(
        "--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="another tempest.conf"
    )
    part.add_argument("--seconds", type=float, default=1200.0, help="at most this long for one sweep")
    part = parts.add_parser("shapes", help="requests made out of Nova's schemas")
    part.add_argument("--only", help="a part of method, path or body")
    for name, suite in suites.SUITES.items():
        part = parts.add_parser(name, help=f"the functional tests of {suite.title}")
        part.add_argument("--only", help="a pattern of test ids")
        part.add_argument("--seconds", type=float, default=1200.0, help="at most this long")
    asked = parser.parse_args()
    directory = asked.directory or Path(tempfile.mkdtemp(prefix="kilonova-conformance-"))
    print(f"everything is kept in {directory}")
    failed = 0
    with JudgedCloud(directory).running() as cloud:
        if asked.part == "shapes":
            print(f"shapes: answers by status {shapes.run(cloud, asked.only)}")
            return 0
        if asked.part in suites.SUITES:
            outcomes = suites.run(cloud, asked.part, asked.only, asked.seconds)
            return 1 if show(suites.SUITES[asked.part].title, outcomes) else 0
        for base in asked.base or ["2.1"]:
            outcomes = tempest.run(cloud, base, asked.only, asked.seconds, asked.set)
            failed += show(f"Tempest from {base}", outcomes)
    return 1 if failed else 0


def show(title: str, outcomes: list[Outcome]) -> int:
    """Print counts and failures; how many failed."""
    counted = summary(outcomes)
    print(f"{title}: {', '.join(f'{number} {state}' for state, number in counted.items())}")
    for outcome in outcomes:
        if outcome.state == "failed":
            print(f"  failed: {outcome.test}: {outcome.reason[:300]}")
    for reason, number in Counter(o.reason for o in outcomes if o.state == "skipped").most_common():
        print(f"  skipped {number}: {reason[:200]}")
    return counted["failed"]


if __name__ == "__main__":
    sys.exit(main())
