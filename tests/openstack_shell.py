"""Runs many commands of the unmodified ``openstack`` or ``nova`` client in one process: starting one takes seconds.

Started with the clients' own Python. Reads lines of JSON, ``["openstack", "server", "list"]``, and answers each with one:
``{"code": 0, "out": "…", "err": "…"}``. Each command runs as the program itself would run it.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from importlib import import_module

MODULES = {"openstack": "openstackclient.shell", "nova": "novaclient.shell"}


def run(command: list[str]) -> dict[str, object]:
    """One command, from its arguments to its exit code."""
    main: Callable[..., object] = import_module(MODULES[command[0]]).main
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command[1:])
        except SystemExit as ended:
            code = ended.code
    return {
        "code": code if isinstance(code, int) else 0 if code is None else 1,
        "out": out.getvalue(),
        "err": err.getvalue(),
    }


def converse() -> None:
    """Answer until the input ends."""
    answers = sys.stdout
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    converse()
