"""Tempest, the released package, against the judged cloud: its configuration, its run, its results."""

import configparser
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.gaps import excused
from tests.conformance.judged_cloud import HOSTS, JudgedCloud, judges
from tests.conformance.outcomes import Outcome, of_every_test, run_bounded

BASES = ("2.1", "2.53", "2.75", "2.90", "2.104")
"""The lowest microversion of a sweep: each class runs at the greater of this and its own."""

CHOSEN = r"^tempest\.(api\.compute|serial_tests)\."
"""Everything about Compute that the package has. What needs volumes, or a login to the guest, skips itself by the
configuration below, and stands in the report with that reason."""

_FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "SameHostFilter",
    "DifferentHostFilter",
)


def configuration(cloud: JudgedCloud, base: str, workspace: Path) -> configparser.ConfigParser:
    """``tempest.conf``, every id looked up through the API. Features are on because we offer them, or mean to."""
    settings = {
        "DEFAULT": {"log_dir": workspace, "log_file": "tempest.log", "use_stderr": "false"},
        "auth": {
            "use_dynamic_credentials": "true",
            "admin_username": "admin",
            "admin_password": cloud.password,
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
        },
        "identity": {"uri_v3": f"{cloud.url}/identity/v3", "region": "RegionOne", "auth_version": "v3"},
        "identity-feature-enabled": {"api_v2": "false"},
        "service_available": {
            "nova": "true",
            "neutron": "true",
            "glance": "true",
            "cinder": "false",
            "swift": "false",
            "horizon": "false",
        },
        "enforce_scope": {"nova": "true"},
        "compute": {
            "image_ref": cloud.image(),
            "image_ref_alt": cloud.second_image(),
            "flavor_ref": cloud.flavor("m1.nano"),
            "flavor_ref_alt": cloud.flavor("m1.micro"),
            "min_compute_nodes": HOSTS,
            "min_microversion": base,
            "max_microversion": "latest",
            "build_interval": 1,
            "build_timeout": 60,
        },
        "compute-feature-enabled": {
            "resize": "true",
            "change_password": "true",
            "vnc_console": "false",  # its tests talk to a console proxy, and there is none yet
            "stable_rescue": "true",
            "hostname_fqdn_sanitization": "true",
            "block_migration_for_live_migration": "true",
            "serial_console": "false",  # likewise
            "personality": "true",
            "nova_policy_roles": "admin,manager,member,reader",
            "scheduler_enabled_filters": ",".join(_FILTERS),
        },
        "network": {
            "public_network_id": cloud.network("public") or "",
            "floating_network_name": "public",
        },
        "network-feature-enabled": {
            "ipv6": "true",
            "floating_ips": "true",
            "api_extensions": ",".join(cloud.network_extensions()),
        },
        "image-feature-enabled": {"import_image": "false"},
        "validation": {"run_validation": "false"},
        "oslo_concurrency": {"lock_path": workspace / "locks"},
    }
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(
        {section: {key: str(value) for key, value in pairs.items()} for section, pairs in settings.items()}
    )
    return parser


def title(base: str) -> str:
    """A sweep as reports call it."""
    return f"Tempest from {base}"


def run(
    cloud: JudgedCloud, base: str, only: str | None, seconds: float, changes: Sequence[str] = ()
) -> list[Outcome]:
    """One sweep from microversion ``base`` up; ``only`` is a further pattern of ids, ``changes`` are options to try
    out (section.option=value)."""
    workspace = cloud.directory / f"tempest-{base}"
    (workspace / "etc").mkdir(parents=True, exist_ok=True)
    with (workspace / "etc" / "tempest.conf").open("w") as file:
        settings = configuration(cloud, base, workspace)
        for change in changes:
            name, _, value = change.partition("=")
            settings.set(*name.split(".", 1), value)
        settings.write(file)
    top = next((judges() / "lib").glob("python3*/site-packages"))
    discover = f"test_path={top}/tempest/test_discover\ntop_dir={top}\ngroup_regex=([^\\.]*\\.)*\n"
    (workspace / ".stestr.conf").write_text(f"[DEFAULT]\n{discover}")
    pattern = CHOSEN if only is None else f"(?={CHOSEN}).*(?:{only})"
    subprocess.run([judges() / "bin" / "stestr", "init"], cwd=workspace, capture_output=True, check=False)
    program = str(judges() / "bin" / "tempest")
    listed = subprocess.run(
        [program, "run", "--regex", pattern, "--list-tests"],
        cwd=workspace,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    command = [program, "run", "--regex", pattern, "--concurrency", "2", "--subunit"]
    outcomes = of_every_test(
        run_bounded(command, workspace, seconds), [line for line in listed if line.startswith("tempest.")]
    )
    return [excused(outcome, base) for outcome in outcomes]
