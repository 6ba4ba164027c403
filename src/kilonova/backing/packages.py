"""Installs the Debian packages of the private servers without letting them start a system-wide one."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from kilonova.model.errors import Misconfigured, Unavailable

_POLICY = Path("/usr/sbin/policy-rc.d")


def missing(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that are not installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}"]
    return [
        package
        for package in packages
        if subprocess.run([*query, package], capture_output=True, text=True, check=False).stdout != "installed"
    ]


def install(packages: Sequence[str]) -> list[str]:
    """Install what is missing and return its names.

    Raises ``Misconfigured`` with the command to give when we are not root, ``Unavailable`` if apt-get fails.
    """
    wanted = missing(packages)
    if not wanted:
        return []
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
    if os.geteuid() != 0:
        raise Misconfigured(f"Packages are missing and only root may install them: {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_forbidden(_POLICY):
        # An old package list is the usual reason for a first failure; fetching it always would cost every run.
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            subprocess.run(["apt-get", "update"], env=environment, check=False)
            if subprocess.run(command, env=environment, check=False).returncode != 0:
                raise Unavailable(f"{' '.join(command)} failed; its output says why")
    return wanted


@contextlib.contextmanager
def services_forbidden(policy: Path) -> Iterator[None]:
    """Within it, Debian's invoke-rc.d starts nothing: ``policy`` (see its manual) answers 101, "not allowed".

    A policy that the operator has already is kept aside and comes back.
    """
    kept = policy.with_name(policy.name + ".kilonova-kept")
    if policy.exists() or policy.is_symlink():
        policy.rename(kept)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
        if kept.exists() or kept.is_symlink():
            kept.rename(policy)
