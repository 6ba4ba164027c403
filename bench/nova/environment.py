"""The virtual environment that real Nova, Placement and Keystone run in, apart from ours."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nova", "openstack-placement", "keystone", "PyMySQL", "pymemcache", "python-memcached", "pyuwsgi")
"""pyuwsgi is uWSGI as a wheel: nothing has to be compiled."""


def prepare(directory: Path, say: Callable[[str], None]) -> Path:
    """Install what is missing, with the pinned versions, and return ``directory``. Raises ``CalledProcessError``."""
    constraints = ROOT / "constraints-nova.txt"
    installed = directory / "installed"
    if installed.exists() and installed.read_text() == constraints.read_text():
        return directory
    say(f"installing Nova, Placement and Keystone into {directory} (a minute or two)")
    subprocess.run([str(ROOT / "tools" / "python-environment"), str(directory)], check=True)
    options = ["--disable-pip-version-check", "--quiet", "--only-binary", ":all:", "-c", str(constraints)]
    subprocess.run([str(directory / "bin" / "pip"), "install", *options, *PACKAGES], check=True)
    shutil.copy(constraints, installed)
    return directory
