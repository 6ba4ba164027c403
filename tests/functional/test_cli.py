"""The kilonova command on imitated hosts: start, status, trace, stop, and what it says when something is wrong."""

import re
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from kilonova.api.table import compute_routes
from kilonova.cli import api_report, start
from kilonova.cli.main import app
from kilonova.cli.options import rows
from kilonova.cli.terminal import Terminal
from kilonova.config import Config
from kilonova.hypervisor.qemu import machine
from tests.functional.kilonova_command import Command, free_port

SIX = ["nova-api", "messaging", "nova-scheduler", "messaging", "nova-compute", "nova-conductor"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Command, Any]]:
    """A running cloud and what its start reported."""
    command = Command(tmp_path_factory.mktemp("cloud"))
    report = command.json("start", "--driver", "fake", "--port", str(free_port()))
    yield command, report
    command.ok("stop")
    assert command.processes() == []


def test_start_reports_the_first_server_and_its_six_steps(cloud: tuple[Command, Any]) -> None:
    _, report = cloud
    assert report["server"]["status"] == "ACTIVE"
    assert report["server"]["ready"].startswith("kilonova-guest ready: hostname=first address=10.")
    assert [step["service"] for step in report["way"]["steps"]] == SIX
    assert all(step["result"] == "Success" for step in report["way"]["steps"])


def test_credentials_are_for_their_owner_alone(cloud: tuple[Command, Any]) -> None:
    command, report = cloud
    for name in ("openrc", "clouds.yaml", "admin-password", "kilonova.toml"):
        assert stat.S_IMODE((command.state / name).stat().st_mode) == 0o600, name
    assert f"export OS_AUTH_URL={report['url']}/identity/v3" in command.ok("openrc")
    assert "devstack-admin:" in (command.state / "clouds.yaml").read_text()


def test_what_was_made_for_devstack_finds_its_users(cloud: tuple[Command, Any]) -> None:
    """Each entry of ``clouds.yaml`` gets a token, for the project it says."""
    command, report = cloud
    scopes = {}
    for name, given in yaml.safe_load((command.state / "clouds.yaml").read_text())["clouds"].items():
        auth = given["auth"]
        user = {"name": auth["username"], "password": auth["password"], "domain": {"id": auth["user_domain_id"]}}
        if "system_scope" in auth:
            scope: dict[str, Any] = {"system": {"all": True}}
        else:
            scope = {"project": {"name": auth["project_name"], "domain": {"id": auth["project_domain_id"]}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = httpx.post(f"{report['url']}/identity/v3/auth/tokens", json=body, trust_env=False)
        assert answer.status_code == 201, name
        scopes[name] = answer.json()["token"].get("project", {}).get("name")
    assert scopes["devstack"] == "demo"
    assert scopes["devstack-alt"] == "alt_demo"
    assert scopes["devstack-system-admin"] is None


def test_the_api_report_is_the_route_table() -> None:
    reported = {(row["method"], row["path"], row["action"], row["rule"]) for row in api_report.rows()}
    assert reported == {(r.method, r.path, r.action, r.rule) for r in compute_routes().routes}
    printed = CliRunner().invoke(app, ["api-report"])
    assert re.search(r"^GET +/os-keypairs +2\.1-2\.104 +any +os_compute_api:os-keypairs:index$", printed.stdout, re.M)
    assert printed.stdout.count("\n") == len(compute_routes().routes) + 1


def test_a_second_start_shows_the_cloud_that_runs(cloud: tuple[Command, Any]) -> None:
    command, _ = cloud
    shown = command.ok("start", "--driver", "fake")
    assert "runs already" in shown
    assert "nova-scheduler" in shown


def test_status_counts_services_hosts_and_servers(cloud: tuple[Command, Any]) -> None:
    command, report = cloud
    found = command.json("status")
    assert {service["binary"] for service in found["services"]} == {
        "nova-api",
        "nova-scheduler",
        "nova-conductor",
        "nova-compute",
    }
    assert all(service["state"] == "up" for service in found["services"])
    assert found["servers"] == {"ACTIVE": 1}
    assert found["url"] == report["url"]
    assert "1 ACTIVE" in command.ok("status")


def test_trace_by_name_id_and_request(cloud: tuple[Command, Any]) -> None:
    command, report = cloud
    drawn = command.ok("trace", "first")
    assert "build.disk" in drawn
    assert "weighed 1 host" in drawn
    for what in (report["server"]["server_id"], report["server"]["request_id"]):
        (journey,) = command.json("trace", what)
        assert [step["service"] for step in journey["steps"]] == SIX


def test_trace_of_nothing_says_so_in_one_line(cloud: tuple[Command, Any]) -> None:
    command, _ = cloud
    done = command.run("trace", "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("kilonova: no server and no request is called nobody")
    assert done.stderr.count("\n") == 1


def test_a_taken_port_is_said_with_the_process_that_has_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = Command(tmp_path).run("start", "--driver", "fake", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 78
    assert "is taken by" in done.stderr
    assert "--port" in done.stderr


def test_servers_come_back_after_stop_and_after_a_crash(tmp_path: Path) -> None:
    command = Command(tmp_path)
    arguments = ("start", "--driver", "fake", "--hosts", "2", "--port", str(free_port()))
    try:
        command.ok(*arguments)
        command.kill_services()
        assert "ended by themselves" in command.run("status").stdout
        assert "first  ACTIVE" in command.ok(*arguments)
        command.ok("stop")
        assert command.processes() == []
        assert "does not run" in command.ok("stop")
        assert command.run("status").returncode == 3
        assert "first  ACTIVE" in command.ok(*arguments)
        assert len(command.json("status")["hosts"]) == 2
    finally:
        command.ok("stop")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "api.prt=1"], 78, "unknown option api.prt"),
        (["--set", "api.port=many"], 78, "option api.port"),
        (["--set", "messaging.url=http://x"], 78, "messaging.url must be"),
        (["--config", "/nowhere.toml"], 78, "cannot read the configuration file"),
        (["--set", "database.url=mysql+asyncmy://u:p@127.0.0.1:1/x"], 69, "database"),
        (["--set", "messaging.url=amqp://u:p@127.0.0.1:1/x"], 69, "127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = Command(tmp_path).run(
        "--set", "api.port=0", "--set", "compute.driver=fake", *arguments, program="nova-all-in-one"
    )
    last = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, words in last) == (code, True), done.stderr
    assert last.startswith("nova-all-in-one: ")
    assert "Traceback" not in done.stderr


def test_without_root_one_message_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "_capable", lambda capability: False)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    config = start._with_driver(Config(), Terminal())
    assert config.compute.driver == "fake"
    said = capsys.readouterr().err
    assert "run as root" in said
    assert "imitated hosts" in said


def test_options_lists_all_of_them_with_their_reasons(tmp_path: Path) -> None:
    listed = Command(tmp_path).json("options")
    assert {option["option"] for option in listed} == {name for name, _, _ in rows()}
    assert [
        option["option"] for option in listed if not option["for"] and not option["option"].startswith("quota.")
    ] in (
        [],
        ["log.level"],
    )


def test_help_is_fast_and_every_command_has_an_example(tmp_path: Path) -> None:
    command = Command(tmp_path)
    command.ok("--help")
    started = time.monotonic()
    command.ok("--help")
    assert time.monotonic() - started < 3
    for name in ("start", "stop", "status", "trace", "options", "openrc"):
        assert "Example: " in command.ok(name, "--help")
