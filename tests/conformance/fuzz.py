"""Thousands of requests that schemathesis makes out of our OpenAPI document, sent by three people.

An administrator may change anything: whatever is sent, no answer is a 5xx (but 501), and a refusal has changed nothing. A reader
of a project and a member of another one may change nothing of it: not a byte of it is different afterwards, and the other
project's member never reads any of it (``fuzz_checks.py`` looks at every answer).
"""

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.clouds import eventually
from tests.conformance.judged_cloud import ROOT, JudgedCloud
from tests.conformance.outcomes import Outcome

CHECKS = ("server_never_fails", "refusals_change_nothing", "nothing_of_others_is_told")
MARK = "belongs-to-the-victim"
_OF_PROJECT = ("servers", "server_groups")


def fuzzer() -> Path:
    """The program. Raises ``SystemExit`` if its environment is not there."""
    program = ROOT / ".venv-fuzz" / "bin" / "schemathesis"
    if not program.exists():
        raise SystemExit(f"{program} does not exist: run make fuzzer")
    return program


def run(cloud: JudgedCloud, seconds: float) -> list[Outcome]:
    """One outcome for each person; ``seconds`` are shared by them."""
    victim, outcomes = _victim(cloud), []
    for who, project, role in (("reader", "admin", "reader"), ("member of another project", "demo", "member")):
        token = _somebody(cloud, project, role)
        before = _rows(cloud, victim["project"])
        outcome = _as(cloud, who, token, victim, [MARK, victim["server"]] if project == "demo" else [], seconds / 3)
        after = _rows(cloud, victim["project"])
        if before != after:
            outcome = Outcome(
                outcome.test, "failed", f"changed: {_difference(before, after)[:2000]}", outcome.seconds
            )
        outcomes.append(outcome)
    outcomes.append(_as(cloud, "administrator", cloud.token, victim, [], seconds / 3))
    return outcomes


def _as(
    cloud: JudgedCloud, who: str, token: str, victim: dict[str, str], forbidden: list[str], seconds: float
) -> Outcome:
    workspace = cloud.directory / f"fuzz-{who.replace(' ', '-')}"
    workspace.mkdir(parents=True)
    known = {"servers": victim["server"], "os-server-groups": victim["group"], "flavors": "1", "os-keypairs": MARK}
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.conformance.fuzz_checks",
        "PYTHONPATH": str(ROOT),
        "KILONOVA_FUZZ": json.dumps(
            {"database": str(cloud.state / "kilonova.db"), "known": known, "forbidden": forbidden}
        ),
    }
    command = [str(fuzzer()), "run", f"{cloud.url}/openapi.json", "--url", f"{cloud.url}/compute"]
    command += ["--header", f"X-Auth-Token: {token}", "--checks", ",".join(CHECKS), "--continue-on-failure"]
    command += ["--max-time", str(int(seconds)), "--phases", "coverage,fuzzing,stateful", "--seed", "1", "--no-color"]
    done = subprocess.run(
        command, cwd=workspace, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 300
    )
    (workspace / "schemathesis.log").write_text(done.stdout + done.stderr)
    said = done.stdout.splitlines()
    count = next((line.strip() for line in said if " generated" in line), "")
    if done.returncode == 0 and count:
        return Outcome(f"schemathesis as {who}: {count}", "passed", "", seconds)
    at = next((number for number, line in enumerate(said) if "FAILURES" in line), max(len(said) - 40, 0))
    reason = "\n".join(said[at : at + 40]) or done.stderr[-2000:]
    return Outcome(f"schemathesis as {who}: {count}", "failed", reason, seconds)


def _victim(cloud: JudgedCloud) -> dict[str, str]:
    """What somebody else may neither see nor change: a server, a group and a keypair of the project ``admin``."""
    headers = {"x-auth-token": cloud.token, "openstack-api-version": "compute 2.96"}
    with httpx.Client(base_url=f"{cloud.url}/compute/v2.1", headers=headers, timeout=60.0, trust_env=False) as http:
        image = cloud.get("/image/v2/images")["images"][0]["id"]
        group = {"server_group": {"name": MARK, "policy": "soft-affinity"}}
        made = http.post("/os-server-groups", json=group).raise_for_status().json()["server_group"]
        body = {"name": MARK, "imageRef": image, "flavorRef": "1", "networks": "none", "metadata": {"of": MARK}}
        server = http.post("/servers", json={"server": body}).raise_for_status().json()["server"]["id"]

        def project_once_built() -> str:
            shown = http.get(f"/servers/{server}").raise_for_status().json()["server"]
            return "" if shown["status"] == "BUILD" else str(shown["tenant_id"])

        project = eventually(project_once_built, "a server that is built")
        return {"server": server, "group": made["id"], "project": project}


def _somebody(cloud: JudgedCloud, project: str, role: str) -> str:
    """A new user with one role on a project; a token of theirs."""
    headers = {"x-auth-token": cloud.token}
    with httpx.Client(base_url=f"{cloud.url}/identity/v3", headers=headers, timeout=60.0, trust_env=False) as http:
        domain, name = {"id": "default"}, f"fuzz-{role}"
        user = http.post("/users", json={"user": {"name": name, "password": name, "domain_id": "default"}})
        user_id = user.raise_for_status().json()["user"]["id"]
        project_id = http.get("/projects", params={"name": project}).json()["projects"][0]["id"]
        role_id = http.get("/roles", params={"name": role}).json()["roles"][0]["id"]
        http.put(f"/projects/{project_id}/users/{user_id}/roles/{role_id}").raise_for_status()
        identity = {"methods": ["password"], "password": {"user": {"name": name, "password": name, "domain": domain}}}
        auth = {"identity": identity, "scope": {"project": {"id": project_id}}}
        answer = http.post("/auth/tokens", json={"auth": auth}, headers={"x-auth-token": ""})
        return answer.raise_for_status().headers["x-subject-token"]


def _rows(cloud: JudgedCloud, project: str) -> dict[str, list[Any]]:
    """All that a project has, as the database keeps it."""
    with closing(sqlite3.connect(f"file:{cloud.state / 'kilonova.db'}?mode=ro", uri=True, timeout=30)) as database:
        return {
            table: database.execute(f"select * from {table} where project_id = ? order by id", (project,)).fetchall()
            for table in _OF_PROJECT
        }


def _difference(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> str:
    return "; ".join(
        f"{table}: {set(map(str, before[table])) ^ set(map(str, after[table]))}"
        for table in before
        if before[table] != after[table]
    )
