"""The two protocols of scheduling: filters drop hosts, weighers rank those that are left.

Both carry Nova's names and meaning, so operators can carry their configuration over.
"""

from typing import Protocol

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.hosts import Bools, Floats, HostView


class Filter(Protocol):
    """Says of each host whether the server may go there."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        """One truth value per row of the view."""
        ...

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        """Why the host of ``row`` was dropped: what was needed, what was there."""
        ...


class Weigher(Protocol):
    """Says of each host how much it is wanted."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats:
        """One number per row of the view, larger is better; the scale does not matter, it is normalised."""
        ...
