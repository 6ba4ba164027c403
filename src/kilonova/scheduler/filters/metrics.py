"""Hosts whose monitors measure what the metrics weigher needs."""

from collections.abc import Collection

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, HostView


class MetricsFilter:
    """The host has all of the ``needed`` metrics."""

    reads = ("metrics",)

    def __init__(self, needed: Collection[str]) -> None:
        self._needed = sorted(needed)

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        if not self._needed:
            return view.everywhere()
        return view.judge(
            view.columns.metrics, view.records.metrics, lambda there: all(name in there for name in self._needed)
        )

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        there = view.records.metrics[int(view.columns.metrics[row])]
        return f"metrics {', '.join(self._needed)}", ", ".join(sorted(there)) or "none"
