"""Ask Nova. Run by a Python that has it, from the root of the repository:

    python -m tests.conformance.oracle judge [--json] RECORDING…
    python -m tests.conformance.oracle operations | requests | policies

``judge`` ends with 1 if any call was wrong, or none was judged.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.conformance.oracle.judge import KNOWN, Violation, judge
from tests.conformance.oracle.operations import Operation, operations
from tests.conformance.oracle.policies import least_roles
from tests.conformance.oracle.requests import requests


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.oracle", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    judging = parts.add_parser("judge")
    judging.add_argument("recordings", nargs="+", type=Path)
    judging.add_argument("--json", action="store_true")
    parts.add_parser("operations")
    parts.add_parser("requests")
    parts.add_parser("policies")
    asked = parser.parse_args()
    if asked.part == "operations":
        print(json.dumps([_described(operation) for operation in operations()]))
        return 0
    if asked.part == "policies":
        print(json.dumps(least_roles()))
        return 0
    if asked.part == "requests":
        for request in requests():
            print(json.dumps(request))
        return 0
    return _judge(asked.recordings, as_json=asked.json)


def _described(operation: Operation) -> dict[str, object]:
    since, until = operation.window
    return {
        "method": operation.method,
        "path": operation.path,
        "action": operation.action,
        "name": operation.name,
        "since": since,
        "until": until,
        "removed": operation.removed,
    }


def _judge(recordings: list[Path], *, as_json: bool) -> int:
    calls: Counter[str] = Counter()
    good: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    wrong: list[Violation] = []
    for recording in recordings:
        with recording.open() as lines:
            for line in lines:
                entry = json.loads(line)
                if not entry["path"].startswith("/v2.1/"):
                    continue  # version documents of other paths
                operation, violations = judge(entry)
                if operation is not None:
                    calls[operation.name] += 1
                    good[operation.name] += entry["status"] < 300
                    refusals[f"{operation.name} {entry['status']}"] += entry["status"] >= 400
                wrong += violations
    unknown = [violation for violation in wrong if not violation.known]
    if as_json:
        document = {
            "calls": calls,
            "good": good,
            "refusals": +refusals,
            "violations": [vars(violation) for violation in unknown],
        }
        print(json.dumps(document | {"known": len(wrong) - len(unknown)}))
    else:
        _show(calls, wrong, unknown)
    return 1 if unknown or not calls else 0


def _show(calls: "Counter[str]", wrong: list[Violation], unknown: list[Violation]) -> None:
    seen: Counter[tuple[str, str, str]] = Counter()
    for violation in unknown:
        key = (violation.operation, violation.kind, violation.text)
        seen[key] += 1
        if seen[key] == 1:
            print(f"{violation.kind}: {violation.call}: {violation.text}")
    for (operation, kind), reason in KNOWN.items():
        if any((violation.operation, violation.kind) == (operation, kind) for violation in wrong):
            print(f"known: {operation}: {reason}")
    print(
        f"{sum(calls.values())} calls of {len(calls)} operations judged, {len(unknown)} violations ({len(seen)} kinds)"
    )


if __name__ == "__main__":
    sys.exit(main())
