"""How the parts of a run become a verdict: outcomes for every test, states for every operation, values for every schema."""

from pathlib import Path
from typing import Any

from tests.conformance import report
from tests.conformance.coverage import DIFFERS, MISSING, UNTRIED, WORKS, compare, dead
from tests.conformance.judgement import Judgement
from tests.conformance.oracle.samples import fitting, wronged
from tests.conformance.outcomes import Outcome, of_every_test, plainly, summary


def test_a_class_that_could_not_be_set_up_speaks_for_its_tests() -> None:
    seen = [
        Outcome("a.B.test_one[id-1]", "passed", "", 1.0),
        Outcome("setUpClass (a.C)", "failed", "no network", 0.0),
        Outcome("setUpClass (a.D)", "skipped", "no volumes", 0.0),
    ]
    listed = ["a.B.test_one[id-1]", "a.C.test_x[id-2,slow]", "a.C.test_y", "a.D.test_z", "a.E.test_lost"]
    outcomes = of_every_test(seen, listed)
    assert [outcome.test for outcome in outcomes] == listed
    assert [outcome.reason for outcome in outcomes][1:4] == ["no network", "no network", "no volumes"]
    assert summary(outcomes) == {"passed": 1, "failed": 3, "skipped": 1}


def test_a_failure_is_one_also_where_its_test_is_known_as_unstable() -> None:
    def state(reason: str, given: str = "skipped") -> str:
        return plainly(Outcome("a.B.test_one", given, reason, 0.0)).state

    unstable = "Marked as unstable and skipped because of bug: 1, failure was: "
    assert state(f"{unstable}{unstable}Unexpected response code received") == "failed"
    assert state(f"{unstable}Skipped because the volume service is not available") == "skipped"
    assert state("Cinder is not available") == "skipped"
    assert state("", "passed") == "passed"


def _nova(path: str, since: int = 1, until: int = 104, **more: Any) -> dict[str, Any]:
    row = {"method": "GET", "path": path, "action": None, "name": f"GET {path}", "removed": False}
    return row | {"since": since, "until": until} | more


def _ours(path: str, since: str = "2.1", until: str = "2.104") -> dict[str, Any]:
    return {"method": "GET", "path": path, "action": None, "since": since, "until": until, "versioned": True}


def _violation(name: str, text: str) -> dict[str, Any]:
    return {"operation": name, "kind": "answer", "text": text, "version": 1, "call": ""}


def test_what_becomes_of_operations() -> None:
    novas = [
        _nova("/works/{id}"),
        _nova("/wrong"),
        _nova("/shorter", 1, 35),
        _nova("/untried"),
        _nova("/os-volumes"),
        _nova("/buried", removed=True),
        _nova("/living", removed=True),
    ]
    ours = [_ours("/works/{server_id}"), _ours("/wrong"), _ours("/shorter"), _ours("/untried")]
    calls = {"GET /works/{id}": 2, "GET /wrong": 2, "GET /buried": 1, "GET /living": 1}
    violations = [_violation("GET /wrong", "'a' is odd"), _violation("GET /wrong", "'b' is odd")]
    violations.append(_violation("GET /living", "the operation is dead"))
    judgement = Judgement(calls=calls, good={"GET /works/{id}": 1, "GET /wrong": 2}, violations=violations, known=0)
    found = compare(novas, ours, judgement)
    assert [operation.state for operation in found] == [WORKS, DIFFERS, DIFFERS, UNTRIED, MISSING]
    assert found[1].reasons == ["answer: '…' is odd"]
    assert found[2].reasons == ["here it is there from 2.1 to 2.104"]
    assert found[4].reasons == ["there are no volumes yet"]
    assert dead(novas, judgement) == (2, 1)


def test_the_report_reads_the_same_after_each_run(tmp_path: Path) -> None:
    def written(port: int, server: str) -> str:
        reason = f"http://127.0.0.1:{port}/servers/{server} for tempest-X-{port}99999 is not there"
        judgement = Judgement(calls={}, good={}, violations=[], known=0)
        run = report.Run(
            options="",
            suites=[("Tempest", [Outcome("a.B.test_one[id-1]", "failed", reason, 1.0)])],
            shapes=0,
            judgement=judgement,
            operations=compare([_nova("/x")], [], judgement),
            dead=(0, 0),
            policy=[],
        )
        report.write(run, tmp_path / "report.md")
        return (tmp_path / "report.md").read_text()

    first = written(20001, "6b5d4c5e-8a3c-4a49-b04c-5be0b2c4c1a7")
    assert first == written(20002, "7b5d4c5e-8a3c-4a49-b04c-5be0b2c4c1a8")
    assert "| Tempest | 0 | 1 | 0 |" in first
    assert "| `GET /x` | from 2.1 | missing | not built yet |" in first


SCHEMA = {
    "type": "object",
    "properties": {
        "keypair": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1}, "type": {"type": "string", "enum": ["ssh"]}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "required": ["keypair"],
}


def _fits(schema: dict[str, Any], value: Any) -> bool:
    """A validator for these tests only."""
    kinds = {"object": dict, "string": str}
    if not isinstance(value, kinds[schema["type"]]):
        return False
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0) and value in schema.get("enum", [value])
    known = schema["properties"]
    if not set(schema["required"]) <= set(value) or (
        schema.get("additionalProperties") is False and set(value) - set(known)
    ):
        return False
    return all(_fits(known[name], inner) for name, inner in value.items() if name in known)


def test_values_are_found_that_fit_and_wrongs_that_do_not() -> None:
    good = fitting(SCHEMA, _fits)
    assert {"keypair": {"name": "x"}} in good
    assert {"keypair": {"name": "x", "type": "ssh"}} in good
    assert all(_fits(SCHEMA, value) for value in good)
    wrongs = [value for value in wronged(good[0]) if not _fits(SCHEMA, value)]
    assert {"keypair": {}} in wrongs
    assert {"keypair": {"name": ""}} in wrongs
    assert {"keypair": {"name": "x", "nobody_knows_this": "x"}} in wrongs
    assert {"keypair": None} in wrongs
