"""All judges, one after the other, and the report of it."""

import json
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


def run(directory: Path, bases: list[str], seconds: float, options: str, show: Show) -> bool:
    """Judge, print, write ``docs/conformance.md``; whether anything was found wrong. ``options`` are told in it."""
    found: list[tuple[str, list[Outcome]]] = []
    recordings = []

    def done(title: str, outcomes: list[Outcome]) -> None:
        show(title, outcomes)
        found.append((title, outcomes))

    with JudgedCloud(directory / "suites").running() as cloud:
        recordings.append(cloud.recording)
        for base in bases:
            done(f"Tempest from {base}", tempest.run(cloud, base, None, seconds))
        for name, suite in suites.SUITES.items():
            done(suite.title, suites.run(cloud, name, None, seconds))
    with JudgedCloud(directory / "shapes").running() as cloud:  # its own: what these requests change is of no use
        recordings.append(cloud.recording)
        answered = shapes.run(cloud)
        print(f"shapes: answers by status {answered}")
    judgement = judge(*recordings)
    novas = ask("operations")
    operations = compare(novas, api_report.rows(), judgement)
    policy = policy_differences()
    report.write(
        report.Run(
            options=options,
            suites=found,
            shapes=answered,
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
