"""Runs worlds: one of a schedule, one of a seed, many of many seeds. Nothing here knows what they do."""

import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Iterator

import structlog

from kilonova.model.clock import Random
from kilonova.model.finding import Finding
from kilonova.simulation.database import Storage
from kilonova.simulation.loop import Livelock, SimulatedLoop
from kilonova.simulation.schedule import Schedule, draw
from kilonova.simulation.world import Outcome, World

_GARBAGE_EVERY = 20


class Simulator:
    """Worlds one after the other, in this process. Reuses the database's schema and compiled statements."""

    def __init__(self) -> None:
        self._storage = Storage()
        self._past: list[object] = []

    def seed(self, seed: int) -> Outcome:
        """The world of a seed."""
        return self.schedule(draw(seed))

    def schedule(self, schedule: Schedule) -> Outcome:
        """The world of a schedule."""
        loop = SimulatedLoop(Random(f"{schedule.seed} turns"))
        with _silence():
            world = World(schedule, self._storage, loop)
            try:
                loop.run_until_complete(world.run())
            except Livelock as livelock:
                world.findings.append(Finding(kind="livelock", subject="world", message=str(livelock)))
            finally:
                loop.over = True
            outcome = Outcome(
                schedule=schedule,
                findings=list(world.findings),
                promises=len(world.clients.promises),
                servers=len({promise.server_id for promise in world.clients.promises}),
                turns=loop.turns,
                seconds=loop.time(),
                trace=world.trace,
            )
            self._past.append(world)
        if len(self._past) >= _GARBAGE_EVERY:
            self.bury()
        return outcome

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.bury()

    def bury(self) -> None:
        """Collect what is left of killed tasks. Their ``finally`` runs only now, when their world is over."""
        self._past.clear()
        _collect()


def _collect() -> None:
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The services' own log is of no use here (the trace is), and would cost more than the work."""
    before = structlog.get_config()
    logger = logging.getLogger("kilonova")
    level, structured = logger.level, structlog.is_configured()
    logger.setLevel(logging.CRITICAL + 1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # killed tasks that never had their first turn
            yield
    finally:
        if collecting:
            gc.enable()
        logger.setLevel(level)
        if structured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
