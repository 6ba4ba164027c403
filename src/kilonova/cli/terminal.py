"""What the ``kilonova`` command says: one line for each step, with a spinner where somebody watches.

Everything goes to standard output; with ``--json`` the steps go to standard error, so that the output stays JSON.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Terminal:
    """One command's output. ``quiet`` leaves only warnings and errors."""

    def __init__(self, *, json_output: bool = False, quiet: bool = False) -> None:
        self._stream = sys.stderr if json_output else sys.stdout
        self._quiet = quiet
        self._watched = self._stream.isatty() and not quiet

    def say(self, text: str = "") -> None:
        """One line."""
        if not self._quiet:
            print(text, file=self._stream, flush=True)

    def warn(self, text: str) -> None:
        """One line that must not be overlooked."""
        print(f"  !  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def step(self, doing: str, *, timed: bool = True) -> Iterator["Step"]:
        """Around one step of work; it ends with a line that tells how it ended and how long it took."""
        step = Step(doing)
        started = time.monotonic()
        if self._watched:
            from rich.console import Console

            with Console(file=self._stream).status(doing, spinner="dots") as status:
                step.show = status.update
                yield step
        else:
            yield step
        took = time.monotonic() - started
        self.say(f"  ✓  {step.result or doing}" + (f"  ({took:.1f} s)" if timed and took >= 0.5 else ""))


class Step:
    """A step under way: ``update`` while it runs, ``result`` for its last line."""

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.result = ""
        self.show: Callable[[str], Any] = lambda text: None

    def update(self, more: str) -> None:
        """How far it is."""
        self.show(f"{self.doing}: {more}")
