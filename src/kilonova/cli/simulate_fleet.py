"""``kilonova simulate fleet``: a workload on an imaginary fleet, decided by the shipped scheduler."""

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from kilonova.cli.terminal import Step, Terminal
from kilonova.model.clock import Random
from kilonova.simulation.fleet.full import play_in_full
from kilonova.simulation.fleet.hosts import MACHINES, ZONES
from kilonova.simulation.fleet.play import play
from kilonova.simulation.fleet.report import draw, figures, full_figures, full_lines, lines
from kilonova.simulation.fleet.workload import Wish, Workload, recorded


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for; ``trace`` instead of a drawn workload."""

    hosts: int
    servers: int
    arrival: float
    lifetime: float
    seed: int
    trace: Path | None
    plot: Path | None
    full: bool = False


def run(asked: Asked, terminal: Terminal, *, json_output: bool) -> int:
    """Play it and say what came of it. 1 if the whole control plane was played and a rule was broken."""
    if asked.full:
        return _run_in_full(asked, terminal, json_output=json_output)
    with terminal.step(f"{asked.hosts:,} hosts") as step:
        played = play(_wishes(asked), asked.hosts, asked.seed, progress=_progress(asked, step))
        step.result = f"{played.asked:,} servers asked of {played.hosts:,} hosts"
    if asked.plot is not None:
        draw(played, asked.plot)
        terminal.say(f"  ✓  picture in {asked.plot}")
    if json_output:
        print(json.dumps(figures(played), indent=2))
        return 0
    terminal.say("")
    for line in lines(played):
        terminal.say(line)
    return 0


def _run_in_full(asked: Asked, terminal: Terminal, *, json_output: bool) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with terminal.step(f"the whole control plane and {asked.hosts:,} hosts") as step:
        played = play_in_full(_wishes(asked), asked.hosts, asked.seed, progress=_progress(asked, step))
    if json_output:
        print(json.dumps(full_figures(played), indent=2))
    else:
        for line in full_lines(played):
            terminal.say(line)
    return 1 if played.breaches else 0


def _progress(asked: Asked, step: Step) -> Callable[[int], None]:
    total = None if asked.trace else asked.servers

    def progress(done: int) -> None:
        step.update(f"{done:,} of {total:,} servers ({done / total:.0%})" if total else f"{done:,} servers")

    return progress


def _wishes(asked: Asked) -> Iterable[Wish]:
    if asked.trace is not None:
        return recorded(asked.trace)
    traits = sorted({trait for machine in MACHINES for trait in machine.traits})
    workload = Workload(
        servers=asked.servers, arrival=asked.arrival, lifetime=asked.lifetime, zones=ZONES, traits=traits
    )
    return workload.wishes(Random(f"{asked.seed} workload"))
