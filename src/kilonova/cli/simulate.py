"""``kilonova simulate``: many worlds on all cores, or one of them told line by line."""

import gc
import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kilonova.simulation.report import finding_lines, schedule_lines, story_lines
from kilonova.simulation.run import Simulator
from kilonova.simulation.shrink import shrink

if TYPE_CHECKING:
    from kilonova.cli.terminal import Terminal

_CHUNK = 10
_STOP_AFTER = 5  # failing seeds that are shrunk and shown; more would say the same

_simulator: Simulator | None = None


def show_one(seed: int, terminal: "Terminal", *, trace: bool) -> int:
    """Run one seed; with ``trace`` print all that happened. 1 if a rule was broken."""
    outcome = Simulator().seed(seed)
    for line in schedule_lines(outcome):
        terminal.say(line)
    if trace:
        for line in outcome.trace.lines():
            terminal.say(line)
    for line in finding_lines(outcome):
        terminal.say(line)
    terminal.say(
        f"{outcome.promises} requests accepted, {len(outcome.findings)} rules broken, {outcome.turns} turns, "
        f"{outcome.seconds:.1f} virtual seconds; trace {outcome.trace.digest()}"
    )
    return 1 if outcome.findings else 0


def run_many(first: int, seeds: int, jobs: int | None, terminal: "Terminal") -> int:
    """Run ``seeds`` seeds from ``first``; failures are shrunk and shown. 1 if there were any."""
    began = shown = time.monotonic()
    done = 0
    failing: list[int] = []
    for seed, wrong in _outcomes(range(first, first + seeds), jobs or os.cpu_count() or 1):
        done += 1
        if wrong:
            failing.append(seed)
            if len(failing) <= _STOP_AFTER:
                _show_failure(seed, terminal)
        if time.monotonic() - shown > 5.0:
            shown = time.monotonic()
            terminal.say(f"{done} of {seeds} seeds, {len(failing)} failing, {_rate(done, began)} seeds per minute")
    terminal.say(f"{done} seeds, {len(failing)} failing, {_rate(done, began)} seeds per minute")
    if failing:
        terminal.say("failing: " + " ".join(map(str, failing[:50])))
    return 1 if failing else 0


def _rate(done: int, began: float) -> int:
    return round(done / max(time.monotonic() - began, 0.001) * 60)


def _outcomes(seeds: range, jobs: int) -> Iterator[tuple[int, bool]]:
    if jobs == 1:
        yield from map(_run, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_run, seeds, chunksize=_CHUNK)


def _run(seed: int) -> tuple[int, bool]:
    global _simulator  # noqa: PLW0603 -- one for each worker process: it keeps the schema
    if _simulator is None:
        _simulator = Simulator()
        # The simulator buries its worlds itself; what is there before the first one stays, and need not be looked at again.
        gc.disable()
        gc.freeze()
    return seed, bool(_simulator.seed(seed).findings)


def _show_failure(seed: int, terminal: "Terminal") -> None:
    simulator = Simulator()
    failed = simulator.seed(seed)
    smallest = shrink(failed, simulator.schedule)
    terminal.say(f"\nseed {seed} breaks a rule; the smallest part of it that does:")
    for line in (*schedule_lines(smallest), *finding_lines(smallest), *story_lines(smallest)):
        terminal.say(line)
    terminal.say(f"again: kilonova simulate --seed {seed} --trace\n")
