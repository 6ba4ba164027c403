"""``kilonova check`` and ``kilonova actions`` as an operator calls them: in processes of their own, beside a running cloud."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import BIN, Cloud, embedded


def kilonova(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "kilonova"), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def options_of(cloud: Cloud, program: str) -> list[str]:
    """The same options that one of its programs was started with."""
    command, _ = cloud._commands[program]
    return command[1:]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with embedded("compute.driver=fake") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def state(cloud: Cloud) -> Path:
    return cloud.directory / "all" / "state"


@pytest.fixture(scope="module")
def servers(cloud: Cloud) -> dict[str, Any]:
    """One that runs, and one that fits nowhere."""
    with cloud.client() as client:
        image = client.upload("empty", b"\0" * 512)
        body = {"flavor": {"id": "huge", "name": "huge", "vcpus": 100_000, "ram": 64, "disk": 1}}
        assert client.http.post("/compute/v2.1/flavors", json=body).status_code == 200
        small, huge = client.boot("small", image), client.boot("huge", image, flavor="huge")
        client.becomes(small, "ACTIVE")
        client.becomes(huge, "ERROR")
    return {"small": small, "huge": huge}


def test_a_sound_cloud_is_clean(state: Path, servers: dict[str, Any]) -> None:
    said = kilonova("check", "--state-dir", str(state))
    assert (said.returncode, said.stdout) == (0, "All is as it must be.\n"), said.stderr
    said = kilonova("check", "--state-dir", str(state), "--json")
    assert json.loads(said.stdout) == {"clean": True, "findings": []}


def test_a_breach_is_shown_and_is_the_exit_code(cloud: Cloud, state: Path, servers: dict[str, Any]) -> None:
    cloud.change("UPDATE quota_usages SET in_use = in_use + 7 WHERE resource = 'cores'")
    try:
        said = kilonova("check", "--state-dir", str(state))
        shown = kilonova("check", "--state-dir", str(state), "--json")
    finally:
        cloud.change("UPDATE quota_usages SET in_use = in_use - 7 WHERE resource = 'cores'")
    assert said.returncode == shown.returncode == 1
    assert "quota_usage" in said.stdout and "1 finding\n" in said.stdout
    [finding] = json.loads(shown.stdout)["findings"]
    assert finding["kind"] == "quota_usage" and "cores as used" in finding["message"]
    assert finding["host"] is None


def test_what_a_host_reported_is_shown(cloud: Cloud, state: Path, servers: dict[str, Any]) -> None:
    cloud.change("INSERT INTO findings VALUES ('guest_of_nobody', 'elsewhere', 'g1', 'a guest is here', 1, 2)")
    try:
        said = kilonova("check", "--state-dir", str(state))
    finally:
        cloud.change("DELETE FROM findings")
    assert said.returncode == 1
    assert "on elsewhere since 1970-01-01T00:00:00+00:00" in said.stdout


def test_actions_that_failed_say_why(state: Path, servers: dict[str, Any]) -> None:
    said = kilonova("actions", "--failed", "--state-dir", str(state), "--json")
    [failed] = json.loads(said.stdout)
    assert (failed["server"], failed["kind"], failed["state"]) == ("huge", "create", "failed")
    assert "CapacityFilter" in failed["message"] and failed["server_id"] == servers["huge"]
    said = kilonova("actions", "--state-dir", str(state))
    assert said.returncode == 0 and "huge" in said.stdout and "small" not in said.stdout


def test_late_actions(state: Path, servers: dict[str, Any]) -> None:
    assert kilonova("actions", "--late", "--state-dir", str(state)).stdout == "There are none.\n"


def test_no_cloud_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    said = kilonova("check", "--state-dir", str(tmp_path))
    assert said.returncode == 78
    assert said.stderr == (
        f"kilonova: there is no cloud in {tmp_path}; name its state directory with --state-dir, "
        "or its configuration file with --config\n"
    )


@pytest.mark.parametrize("command", ["check", "actions"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: kilonova {command}" in kilonova(command, "--help").stdout


@pytest.mark.distributed
def test_a_distributed_cloud_is_asked_at_its_database(distributed_cloud: Cloud) -> None:
    options = options_of(distributed_cloud, "nova-conductor")
    said = kilonova("check", *options)
    assert (said.returncode, said.stdout) == (0, "All is as it must be.\n"), said.stderr + said.stdout
    assert json.loads(kilonova("actions", "--late", "--json", *options).stdout) == []
