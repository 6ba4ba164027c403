"""Filters for what Nova asks Placement before it filters: traits, and aggregates that are for some servers alone."""

from collections.abc import Sequence

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.resource_request import TraitRequest, requested_traits
from kilonova.scheduler.view import AggregateFacts, Bools, HostView


def _asked(request: ScheduleServer) -> TraitRequest:
    return requested_traits(request.guest.extra_specs, request.guest.properties)


class TraitsFilter:
    """The host has the traits that flavor and image require, and none that they forbid."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        asked = _asked(request)
        if not (asked.required or asked.forbidden):
            return view.everywhere()
        return view.judge_traits(lambda traits: asked.required <= traits and not asked.forbidden & traits)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        asked, traits = _asked(request), view.traits(row)
        missing, unwanted = sorted(asked.required - traits), sorted(asked.forbidden & traits)
        need = [*missing, *(f"no {trait}" for trait in unwanted)]
        have = [*(f"no {trait}" for trait in missing), *unwanted]
        return ", ".join(need), ", ".join(have)


class IsolatedAggregatesFilter:
    """Hosts of aggregates with ``trait:NAME=required`` take only servers that require that trait themselves."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        required = _asked(request).required
        return view.judge_aggregates(lambda aggregates: self._demanded(aggregates) <= required)

    def _demanded(self, aggregates: Sequence[AggregateFacts]) -> set[str]:
        return {
            key.removeprefix("trait:")
            for aggregate in aggregates
            for key, value in aggregate.metadata.items()
            if key.startswith("trait:") and value == "required"
        }

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        demanded = sorted(self._demanded(view.aggregates(row)) - _asked(request).required)
        return "a host for any server", f"only for servers that require {', '.join(demanded)}"


class TenantAggregatesFilter:
    """A project with aggregates of its own (``filter_tenant_id…``) gets hosts of those; one without any host, unless
    an aggregate is ``required``.
    """

    fixed = True

    def __init__(self, *, required: bool = False) -> None:
        self._required = required

    def personal(self, view: HostView) -> bool:
        """Only where there is an aggregate for somebody."""
        return bool(view.records.tenants)

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        own = view.records.tenants.get(request.guest.project_id)
        if not own:
            return view.nowhere() if self._required else view.everywhere()
        return view.judge_aggregates(lambda aggregates: any(aggregate.id in own for aggregate in aggregates))

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"an aggregate of project {request.guest.project_id}", "none"
