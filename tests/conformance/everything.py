"""All judges, one after the other, and the report of it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kilonova.api.table import compute_routes, policy_defaults
from kilonova.cli import api_report
from tests.conformance import report, shapes, suites, tempest
from tests.conformance.coverage import MISSING, WORKS, compare, dead
from tests.conformance.judged_cloud import ROOT, JudgedCloud
from tests.conformance.judgement import ask, judge
from tests.conformance.outcomes import Outcome

Show = Callable[[str, list[Outcome]], None]
POLICY_TABLE = ROOT / "tests" / "functional" / "policy_roles.json"
_RECORDINGS = ("suites/calls.jsonl", "shapes/calls.jsonl", "own.jsonl")


def run(directory: Path, bases: list[str], chosen: list[str], seconds: float, options: str, show: Show) -> bool:
    """Run, judge, print, write ``docs/conformance.md``; whether anything was found wrong.

    ``chosen`` are names of the clients' suites; ``options`` are told in the report.
    """
    found: list[tuple[str, list[Outcome]]] = []
    with JudgedCloud(directory / "suites").running() as cloud:
        for base in bases:
            found.append((f"Tempest from {base}", tempest.run(cloud, base, None, seconds)))
            show(*found[-1])
        for name in chosen:
            suite = suites.SUITES[name]
            found.append((suite.title, suites.run(cloud, name, None, seconds)))
            show(*found[-1])
    with JudgedCloud(directory / "shapes").running() as cloud:  # its own: what these requests change is of no use
        answered = shapes.run(cloud)
        print(f"shapes: answers by status {answered}")
    _record_own_tests(directory, seconds)
    kept = {
        "options": options,
        "shapes": sum(answered.values()),
        "suites": [(title, [vars(outcome) for outcome in outcomes]) for title, outcomes in found],
    }
    (directory / "results.json").write_text(json.dumps(kept))
    return assemble(directory)


def assemble(directory: Path) -> bool:
    """Judge what a finished run has left in ``directory``, and write the report; whether anything was found wrong."""
    kept = json.loads((directory / "results.json").read_text())
    found = [(title, [Outcome(**outcome) for outcome in outcomes]) for title, outcomes in kept["suites"]]
    judgement = judge(*(directory / recording for recording in _RECORDINGS))
    novas = ask("operations")
    operations = compare(novas, api_report.rows(), judgement)
    policy = policy_differences()
    report.write(
        report.Run(
            options=kept["options"],
            suites=found,
            shapes=kept["shapes"],
            judgement=judgement,
            operations=operations,
            dead=dead(novas, judgement),
            policy=policy,
        )
    )
    for operation in operations:
        if operation.state not in (WORKS, MISSING):
            print(f"  {operation.state}: {operation.name}: {'; '.join(operation.reasons)}")
    print(f"{report.FILE.relative_to(ROOT)} is written")
    failed = any(one.state == "failed" for _, outcomes in found for one in outcomes)
    return failed or bool(policy) or any(operation.state != WORKS for operation in operations)


def _record_own_tests(directory: Path, seconds: float) -> None:
    """What our own tests of the API ask and are answered: they reach what no suite calls."""
    (directory / "own.jsonl").touch()
    command = [sys.executable, "-m", "pytest", "-q", "tests/functional", "-k", "test_compute"]
    command += ["-m", "not real and not distributed"]
    environment = {**os.environ, "KILONOVA_RECORD": str(directory / "own.jsonl")}
    with (directory / "own.log").open("w") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False, timeout=seconds
        )


def policy_differences() -> list[str]:
    """Where Nova's defaults, the table of them that our tests use, and our own are not one."""
    novas: dict[str, str] = ask("policies")
    table: dict[str, str] = json.loads(POLICY_TABLE.read_text())
    ours = policy_defaults(compute_routes())
    found = [
        f"`{rule}`: Nova {role}, our table {table.get(rule)}"
        for rule, role in novas.items()
        if table.get(rule) != role
    ]
    found += [
        f"`{rule}`: Nova {novas[rule]}, here {role}" for rule, role in ours.items() if novas.get(rule, role) != role
    ]
    return sorted(found)
