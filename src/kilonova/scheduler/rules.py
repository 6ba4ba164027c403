"""The two protocols of scheduling: filters drop hosts, weighers rank those that are left.

Both carry Nova's names and meaning, so operators can carry their configuration over. A rule judges every host of the
view it is given, which may be all of them or only a few that have changed: what it says of one host must not depend on the
others. A rule that needs a column which is read only on demand names it in a class attribute ``reads``. A filter that has a
method ``concerns`` is costly, as it looks at hosts one by one: it is asked last, only about requests that concern it and hosts
that no other filter drops. How rules of one's own are plugged in stands in ``docs/scheduling.md``.
"""

from collections.abc import Mapping
from typing import Protocol, TypeGuard

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, Floats, HostView, Ints


class Filter(Protocol):
    """Says of each host whether the server may go there.

    One with a class attribute ``fixed = True`` does not look at what is used of the hosts, nor at neighbours: its verdicts
    are kept until something else changes.
    """

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        """One truth value per row of the view."""
        ...

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        """Why the host of ``row`` was dropped: what was needed, what was there."""
        ...


class CostlyFilter(Filter, Protocol):
    """One that is asked last."""

    def concerns(self, request: ScheduleServer) -> bool:
        """Whether it could drop any host at all."""
        ...


class Weigher(Protocol):
    """Says of each host how much it is wanted."""

    def weigh(self, view: HostView, request: ScheduleServer) -> Floats | Ints:
        """One number per row of the view, larger is better; the scale does not matter, it is normalised."""
        ...


def columns_read(*rules: object) -> frozenset[str]:
    """The columns on demand that these rules look at: ``io_ops``, ``failed_builds``."""
    return frozenset().union(*(getattr(rule, "reads", ()) for rule in rules))


def is_personal(rule: object, view: HostView) -> bool:
    """Whether what the rule says of these hosts may depend on whose server it is. Only one with a method ``personal(view)`` that
    says so is shown a request's project and user."""
    asked = getattr(rule, "personal", None)
    return asked is not None and bool(asked(view))


def is_fixed(rule: Filter) -> bool:
    """Whether the filter's verdicts outlive a change of usage."""
    return bool(getattr(rule, "fixed", False))


def is_costly(rule: Filter) -> TypeGuard[CostlyFilter]:
    """Whether the filter is one of those that are asked last."""
    return hasattr(rule, "concerns")


Filters = Mapping[str, Filter]
Weighers = Mapping[str, tuple[Weigher, float]]
"""Each with its multiplier: below zero, less is better."""
