"""``kilonova simulate fleet``: a workload on an imaginary fleet, decided by the shipped scheduler."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from kilonova.cli.terminal import Terminal
from kilonova.model.clock import Random
from kilonova.simulation.fleet.hosts import MACHINES, ZONES
from kilonova.simulation.fleet.play import Played, play
from kilonova.simulation.fleet.report import draw, figures, lines
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


def run(asked: Asked, terminal: Terminal, *, json_output: bool) -> None:
    """Play it and say what came of it."""
    total = None if asked.trace else asked.servers
    with terminal.step(f"{asked.hosts:,} hosts", timed=True) as step:

        def progress(done: int) -> None:
            step.update(f"{done:,} of {total:,} servers ({done / total:.0%})" if total else f"{done:,} servers")

        played = _play(asked, progress)
        step.result = f"{played.asked:,} servers asked of {played.hosts:,} hosts"
    if asked.plot is not None:
        draw(played, asked.plot)
        terminal.say(f"  ✓  picture in {asked.plot}")
    if json_output:
        print(json.dumps(figures(played), indent=2))
        return
    terminal.say("")
    for line in lines(played):
        terminal.say(line)


def _play(asked: Asked, progress: Callable[[int], None]) -> Played:
    return play(_wishes(asked), asked.hosts, asked.seed, progress=progress)


def _wishes(asked: Asked) -> Iterable[Wish]:
    if asked.trace is not None:
        return recorded(asked.trace)
    traits = sorted({trait for machine in MACHINES for trait in machine.traits})
    workload = Workload(
        servers=asked.servers, arrival=asked.arrival, lifetime=asked.lifetime, zones=ZONES, traits=traits
    )
    return workload.wishes(Random(f"{asked.seed} workload"))
