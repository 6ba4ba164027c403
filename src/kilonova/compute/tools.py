"""What the operations of a host work with."""

from collections.abc import Awaitable, Callable

import msgspec

from kilonova.compute.step import StepRun
from kilonova.hypervisor.driver import Driver
from kilonova.model.clock import Clock


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """One host's own. ``grace``: seconds a guest gets to shut down before its power is cut."""

    driver: Driver
    clock: Clock
    grace: float


Operation = Callable[[StepRun, Tools], Awaitable[None]]
"""Performs a step and reports its end through the run; what it raises, the agent reports."""
