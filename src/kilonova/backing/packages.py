"""Installs the Debian packages of the private servers without letting them start a system-wide one."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kilonova.model.errors import KilonovaError, Misconfigured, Unavailable

_POLICY = Path("/usr/sbin/policy-rc.d")


def missing(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that are not installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}"]
    return [
        package
        for package in packages
        if subprocess.run([*query, package], capture_output=True, text=True, check=False).stdout != "installed"
    ]


def install(packages: Sequence[str], *, quiet: bool = False) -> list[str]:
    """Install what is missing and return its names; ``quiet``: apt-get is heard only if it fails.

    Raises ``Misconfigured`` with the command to give when we are not root, ``Unavailable`` if apt-get fails.
    """
    wanted = missing(packages)
    if not wanted:
        return []
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
    if os.geteuid() != 0:
        raise Misconfigured(f"Packages are missing and only root may install them: {' '.join(command)}")
    with services_forbidden(_POLICY):
        # An old package list is the usual reason for a first failure; fetching it always would cost every run.
        if _apt_get(command, quiet=quiet) is not None:
            _apt_get(["apt-get", "update"], quiet=quiet)
            said = _apt_get(command, quiet=quiet)
            if said is not None:
                raise Unavailable(f"{' '.join(command)} failed: {said or 'its output says why'}")
    return wanted


def _apt_get(command: Sequence[str], *, quiet: bool) -> str | None:
    """None if it went well, else what it said (when nobody saw it)."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(command, env=environment, stdout=output, stderr=output, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr or "").strip()[-500:]


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


def main() -> int:
    """``python -m kilonova.backing.packages PACKAGE…``."""
    try:
        wanted = missing(sys.argv[1:])
        if wanted:
            sys.stdout.write(f"Installing Debian packages: {' '.join(wanted)} …\n")
            sys.stdout.flush()
        install(wanted, quiet=True)
    except KilonovaError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
