"""The functional tests that the clients bring along in their packages, unmodified, each by stestr."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.gaps import excused
from tests.conformance.judged_cloud import JudgedCloud, judges
from tests.conformance.outcomes import Outcome, of_every_test, run_bounded


@dataclass(frozen=True)
class Suite:
    """A package's functional tests: where they are, and which are about Compute."""

    title: str
    path: str
    chosen: str
    concurrency: int = 2


SUITES = {
    "sdk": Suite(
        "openstacksdk, compute layer",
        "openstack/tests/functional/compute",
        r"openstack\.tests\.functional\.compute\.",
    ),
    "sdk-cloud": Suite(
        "openstacksdk, cloud layer",
        "openstack/tests/functional/cloud",
        r"openstack\.tests\.functional\.cloud\.test_compute",
    ),
    "osc": Suite(
        "python-openstackclient, compute",
        "openstackclient/tests/functional",
        r"openstackclient\.tests\.functional\.compute\.",
    ),
    "novaclient": Suite(
        "python-novaclient",
        "novaclient/tests/functional",
        r"novaclient\.tests\.functional\.",
        concurrency=1,  # its tests look at all servers of the project
    ),
}


def run(cloud: JudgedCloud, name: str, only: str | None, seconds: float) -> list[Outcome]:
    """One suite; ``only`` is a further pattern of ids."""
    suite = SUITES[name]
    workspace = cloud.directory / name
    workspace.mkdir(exist_ok=True)
    top = next((judges() / "lib").glob("python3*/site-packages"))
    grouped = "group_regex=([^\\.]*\\.)*"  # a class in one worker, as its authors run it
    (workspace / ".stestr.conf").write_text(f"[DEFAULT]\ntest_path={top / suite.path}\ntop_dir={top}\n{grouped}\n")
    cloud.drop_flavors("m1.nano", "m1.micro")  # DevStack has these two only where Tempest is to run
    environment = _environment(cloud, workspace)
    stestr = str(judges() / "bin" / "stestr")
    subprocess.run([stestr, "init"], cwd=workspace, capture_output=True, check=False)
    pattern = suite.chosen if only is None else f"(?={suite.chosen}).*(?:{only})"
    listed = subprocess.run(
        [stestr, "list", pattern], cwd=workspace, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    command = [stestr, "run", "--concurrency", str(suite.concurrency), "--subunit", pattern]
    package = suite.path.partition("/")[0]
    outcomes = of_every_test(
        run_bounded(command, workspace, seconds, environment),
        [line for line in listed if line.startswith(f"{package}.")],
    )
    return [excused(outcome) for outcome in outcomes]


def _environment(cloud: JudgedCloud, workspace: Path) -> dict[str, str]:
    """What the suites' own readme files ask for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "NOVA", "PYTHON"))}
    programs = judges() / "bin"
    return {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "HOME": str(workspace),
        "NO_PROXY": "127.0.0.1",
        "OS_CLIENT_CONFIG_FILE": str(_clouds(cloud, workspace)),
        "TOX_ENV_DIR": str(judges()),
        "OS_NOVACLIENT_NETWORK": "private",
        "OS_TEST_TIMEOUT": "120",
        "OPENSTACKSDK_FUNC_TEST_TIMEOUT": "120",
    }


def _clouds(cloud: JudgedCloud, workspace: Path) -> Path:
    """The cloud's own ``clouds.yaml``, and the entry that novaclient's tests look for: an administrator."""
    file = workspace / ".config" / "openstack" / "clouds.yaml"  # where clients look that are given no OS_ variables
    file.parent.mkdir(parents=True, exist_ok=True)
    text = cloud.clouds_file.read_text()
    admin = text.partition("  devstack-admin:\n")[2].partition("\n  devstack")[0]
    file.write_text(f"{text}\n  functional_admin:\n{admin}\n")
    file.chmod(0o600)
    return file
