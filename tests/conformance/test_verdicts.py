"""How the parts of a run become a verdict: outcomes for every test, states for every operation, values for every schema."""

from pathlib import Path
from typing import Any

from tests.conformance import report
from tests.conformance.coverage import DIFFERS, MISSING, REFUSED, UNTRIED, WORKS, compare, dead, missing
from tests.conformance.gaps import DECIDED, excused
from tests.conformance.judgement import Judgement
from tests.conformance.kept import Kept, fingerprint, keep, read
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


def test_a_failure_that_is_meant_says_why(tmp_path: Path) -> None:
    ((test, why),) = DECIDED.items()
    suites = [
        ("novaclient", [Outcome(f"a.{test}", "failed", "128 == 128", 1.0), Outcome("a.B.c", "failed", "x", 1.0)])
    ]
    judgement = Judgement(calls={}, good={}, violations=[], known=0)
    left = Kept(made_by=[("run a", "one"), ("run b", "two")], recordings=[], suites=suites)
    report.write(report.Run(left=left, judgement=judgement, operations=[], dead=(0, 0), policy=[]), tmp_path / "r.md")
    written = (tmp_path / "r.md").read_text()
    assert f"- 1: 128 == 128: `{test}` -- meant: {why}" in written
    assert "- 1: x: `B.c`\n" in written
    assert "    run a  # source one\n    run b  # source two\n\nNot all on one state of the source" in written


def test_an_operation_that_nova_refuses_too() -> None:
    novas = [_nova("/os-hosts/{id}/reboot"), _nova("/os-hosts/{id}/startup"), _nova("/untried")]
    ours = [_ours("/os-hosts/{id}/reboot"), _ours("/os-hosts/{id}/startup"), _ours("/untried")]
    refusals = {"GET /os-hosts/{id}/reboot 501": 1, "GET /os-hosts/{id}/startup 403": 1, "GET /untried 501": 1}
    judgement = Judgement(calls={}, good={}, violations=[], known=0, refusals=refusals)
    found = compare(novas, ours, judgement)
    assert [operation.state for operation in found] == [REFUSED, UNTRIED, UNTRIED]
    assert found[0].reasons[0].startswith("501: ")


def test_the_report_reads_the_same_after_each_run(tmp_path: Path) -> None:
    def written(port: int, server: str) -> str:
        reason = f"http://127.0.0.1:{port}/servers/{server} for tempest-X-{port}99999 is not there"
        judgement = Judgement(calls={}, good={}, violations=[], known=0)
        suites = [("Tempest", [Outcome("a.B.test_one[id-1]", "failed", reason, 1.0)])]
        run = report.Run(
            left=Kept(made_by=[("make conformance", "abc")], recordings=[], suites=suites),
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
    assert "    make conformance\n" in first and "one state of the source: abc" in first
    assert "| `GET /x` | from 2.1 | missing | not built yet |" in first


def test_what_several_runs_have_left_is_one(tmp_path: Path) -> None:
    kept = Outcome("c", "passed", "", 1.0)
    sweeps = [("Tempest from 2.1", [Outcome("a", "failed", "x", 1.0), kept]), ("osc", [kept])]
    again = [("Tempest from 2.1", [Outcome("a", "passed", "", 1.0)])]
    for name, suites, shapes in (("one", sweeps, 0), ("two", again, 7)):
        (tmp_path / name).mkdir()
        keep(tmp_path / name, f"run {name}", ["calls.jsonl"], suites, shapes)
    left = read([tmp_path / "one", tmp_path / "two"])
    assert left.made_by == [("run one", fingerprint()), ("run two", fingerprint())] and left.shapes == 7
    assert left.recordings == [tmp_path / "one" / "calls.jsonl", tmp_path / "two" / "calls.jsonl"]
    assert left.suites == [("Tempest from 2.1", [again[0][1][0], kept]), sweeps[1]]
    assert left.sources == [fingerprint()]


def test_a_source_is_known_again(tmp_path: Path) -> None:
    file = tmp_path / "src" / "a.py"
    file.parent.mkdir()
    file.write_text("one")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    file.write_text("two")
    assert fingerprint(tmp_path) != before


def test_only_what_says_nothing_about_us_is_excused() -> None:
    gone = "Details: {'code': 404, 'message': 'The resource could not be found.'}"
    new = "HTTP response body is invalid (Additional properties are not allowed ('uptime' was unexpected)"
    admin = "tempest.api.compute.admin.test_hypervisor.HypervisorAdminTestJSON"

    def state(base: str, test: str, details: str, given: str = "failed") -> str:
        return excused(Outcome(test, given, "On instance: {}", 1.0, details), base).state

    assert state("2.90", f"{admin}.test_get_hypervisor_list_details[id-1]", new) == "skipped"
    assert state("2.75", f"{admin}.test_get_hypervisor_list_details[id-1]", new) == "failed"
    assert state("2.104", f"{admin}.test_get_hypervisor_stats[id-1]", gone) == "skipped"
    assert state("2.104", f"{admin}.test_get_hypervisor_list[id-1]", gone) == "failed"
    assert state("2.90", f"{admin}.test_get_hypervisor_list_details[id-1]", "('id' was unexpected)") == "failed"
    assert state("2.90", "tempest.api.compute.test_servers.A.test_b[id-1]", new) == "failed"
    assert state("2.90", f"{admin}.test_get_hypervisor_list_details[id-1]", new, "passed") == "passed"
    keys = "tempest.api.compute.keypairs.test_keypairs_v22.KeyPairsV22TestJSON.test_with_type"
    required = 'Invalid input for field/attribute keypair. "public_key" is a required property'
    assert [state(base, keys, required) for base in ("2.90", "2.104")] == ["failed", "skipped"]
    assert state("2.104", keys, "KeyError: 'public_key'") == "failed"
    flavors = "tempest.api.compute.admin.test_flavors.FlavorsAdminTestJSON.test_create"
    assert [state(base, flavors, "KeyError: 'rxtx_factor'") for base in ("2.90", "2.104")] == ["failed", "skipped"]
    volumes = "openstack.exceptions.ServiceDisabledException: Service 'block-storage' is disabled because"
    sdk = "openstack.tests.functional.cloud.test_compute.TestCompute.test_list_all_servers"
    assert excused(Outcome(sdk, "failed", volumes, 1.0)).state == "skipped"
    assert excused(Outcome(sdk, "failed", "Service 'image' is disabled", 1.0)).state == "failed"


def test_what_we_lack_is_told_from_what_is_wrong() -> None:
    novas = [_nova("/works/{id}"), _nova("/os-volumes"), _nova("/buried", removed=True)]
    assert missing(novas, [_ours("/works/{server_id}")]) == {"GET /os-volumes"}


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
