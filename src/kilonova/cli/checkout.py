"""What lies around the package when it runs from a checkout: the guest's build, the clients' environment."""

from pathlib import Path

import kilonova

ROOT = Path(kilonova.__file__ or ".").resolve().parents[2]
GUEST_NAME = "cirros-kilonova-0.1-x86_64-disk"


def guest_builder() -> Path | None:
    """The program that builds the test guest; None outside a checkout."""
    builder = ROOT / "guest" / "build.py"
    return builder if builder.exists() else None


def guest_image() -> Path:
    """Where it leaves the image."""
    return ROOT / "guest" / "build" / f"{GUEST_NAME}.qcow2"


def clients_directory() -> Path | None:
    """Where ``make clients`` puts the OpenStack clients; None outside a checkout."""
    return ROOT / ".venv-clients" / "bin" if (ROOT / "Makefile").exists() else None
