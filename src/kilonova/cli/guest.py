"""``kilonova guest build``: the small test guest, out of Debian packages."""

import os
import subprocess
import sys
from pathlib import Path

from kilonova.cli.checkout import guest_builder, guest_image
from kilonova.cli.terminal import Terminal
from kilonova.model.errors import KilonovaError, Misconfigured


def build(terminal: Terminal, *, refresh: bool = False) -> Path:
    """Build it if it is missing or older than what it is made of; where it lies."""
    builder = guest_builder()
    if builder is None:
        raise Misconfigured(
            "the test guest is built from a checkout of Kilonova (guest/build.py); there is none here"
        )
    if os.geteuid() != 0:
        raise Misconfigured("building the test guest needs root, since files inside it belong to root: use sudo")
    with terminal.step("Building the test guest from Debian packages (once; about a minute)") as step:
        command = [sys.executable, str(builder), *(["--refresh"] if refresh else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KilonovaError(f"{builder} failed: {done.stderr.strip() or done.stdout.strip()}")
        size = guest_image().stat().st_size / (1 << 20)
        step.result = f"Test guest built: {guest_image()} ({size:.0f} MiB)"
    return guest_image()
