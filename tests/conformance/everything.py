"""All judges, one after the other, and the report of it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kilonova.api.table import compute_routes, policy_defaults
from kilonova.cli import api_report
from tests.conformance import kept, report, shapes, suites, tempest
from tests.conformance.coverage import MISSING, REFUSED, WORKS, compare, dead
from tests.conformance.judged_cloud import ROOT, JudgedCloud
from tests.conformance.judgement import ask, judge
from tests.conformance.kept import Suites
from tests.conformance.outcomes import Outcome

Show = Callable[[str, list[Outcome]], None]
POLICY_TABLE = ROOT / "tests" / "functional" / "policy_roles.json"
OWN = "own.jsonl"
_OWN_TESTS = ("tests/functional", "-k", "test_compute or test_server_networks")
_OWN_SIMULATED = ("tests/simulation", "-k", "not seeds and not teeth")


def run(directory: Path, bases: list[str], chosen: list[str], seconds: float, made_by: str, show: Show) -> bool:
    """Run, judge, print, write ``docs/conformance.md``; whether anything was found wrong.

    ``chosen`` are names of the clients' suites; ``made_by`` is told in the report.
    """
    found: Suites = []
    with JudgedCloud(directory / "suites").running() as cloud:
        for base in bases:
            found.append((tempest.title(base), tempest.run(cloud, base, None, seconds)))
            show(*found[-1])
        for name in chosen:
            suite = suites.SUITES[name]
            found.append((suite.title, suites.run(cloud, name, None, seconds)))
            show(*found[-1])
    with JudgedCloud(directory / "shapes").running() as cloud:  # its own: what these requests change is of no use
        answered = shapes.run(cloud)
        print(f"shapes: answers by status {answered}")
    record_own_tests(directory, seconds)
    recordings = ["suites/calls.jsonl", "shapes/calls.jsonl", OWN]
    kept.keep(directory, made_by, recordings, found, sum(answered.values()))
    return assemble([directory])


def assemble(directories: Sequence[Path]) -> bool:
    """Judge what finished runs have left, and write the report; whether anything was found wrong."""
    left = kept.read(directories)
    judgement = judge(*left.recordings)
    novas = ask("operations")
    operations = compare(novas, api_report.rows(), judgement)
    policy = policy_differences()
    report.write(
        report.Run(
            left=left,
            judgement=judgement,
            operations=operations,
            dead=dead(novas, judgement),
            policy=policy,
        )
    )
    for operation in operations:
        if operation.state not in (WORKS, REFUSED, MISSING):
            print(f"  {operation.state}: {operation.name}: {'; '.join(operation.reasons)}")
    print(f"{report.FILE.relative_to(ROOT)} is written")
    failed = any(one.state == "failed" for _, outcomes in left.suites for one in outcomes)
    return failed or bool(policy) or any(operation.state not in (WORKS, REFUSED) for operation in operations)


def record_own_tests(directory: Path, seconds: float) -> bool:
    """What our own tests of the API ask and are answered: they reach what no suite calls. Whether all of them passed."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / OWN).touch()
    environment = {**os.environ, "KILONOVA_RECORD": str(directory / OWN)}
    passed = True
    with (directory / "own.log").open("w") as log, contextlib.suppress(subprocess.TimeoutExpired):
        for tests in (_OWN_TESTS, _OWN_SIMULATED):
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                *tests,
                "-m",
                "not real and not distributed and not slow",
            ]
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False, timeout=seconds
            )
            passed = passed and done.returncode == 0
        return passed
    return False


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
