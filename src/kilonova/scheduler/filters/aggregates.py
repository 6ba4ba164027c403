"""Filters about the aggregates a host is in: their metadata say which servers may come."""

from collections.abc import Mapping, Sequence

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.aggregate_words import Metadata, merged, tenants
from kilonova.scheduler.filters.operators import satisfies
from kilonova.scheduler.view import AggregateFacts, Bools, HostView


def _shown(metadata: Metadata, keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {' or '.join(sorted(metadata[key]))}" for key in keys if key in metadata) or "none"


class AggregateInstanceExtraSpecsFilter:
    """The flavor's extra specs, with the scope ``aggregate_instance_extra_specs`` or with none, match the metadata."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = self._wanted(request)
        if not wanted:
            return view.everywhere()
        return view.judge_aggregates(lambda aggregates: self._fit(merged(aggregates), wanted))

    def _wanted(self, request: ScheduleServer) -> dict[str, list[str]]:
        """By key: the same one may be asked for with and without the scope."""
        wanted: dict[str, list[str]] = {}
        for key, requirement in request.guest.extra_specs.items():
            scope, colon, name = key.partition(":")
            if not colon or scope == "aggregate_instance_extra_specs":
                wanted.setdefault(name if colon else key, []).append(requirement)
        return wanted

    def _fit(self, metadata: Metadata, wanted: Mapping[str, Sequence[str]]) -> bool:
        return all(
            any(satisfies(value, requirement) for value in metadata.get(key, ()))
            for key, requirements in wanted.items()
            for requirement in requirements
        )

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        wanted = self._wanted(request)
        needs = ", ".join(f"{key} {requirement}" for key, those in wanted.items() for requirement in those)
        return f"aggregate with {needs}", _shown(merged(view.aggregates(row)), list(wanted))


class AggregateImagePropertiesIsolation:
    """An image with a property that is also a key of the metadata has one of the values there.

    With a ``namespace`` only keys that begin with it, and the ``separator``, are looked at.
    """

    fixed = True

    def __init__(self, namespace: str | None = None, separator: str = ".") -> None:
        self._prefix = f"{namespace}{separator}" if namespace else ""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        properties = request.guest.properties
        if not properties:
            return view.everywhere()
        return view.judge_aggregates(lambda aggregates: not self._against(merged(aggregates), properties))

    def _against(self, metadata: Metadata, properties: Mapping[str, str]) -> list[str]:
        return [
            key
            for key, values in metadata.items()
            if key.startswith(self._prefix) and properties.get(key) and str(properties[key]) not in values
        ]

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        metadata, properties = merged(view.aggregates(row)), request.guest.properties
        against = self._against(metadata, properties)
        return ", ".join(f"{key} {properties[key]}" for key in against), _shown(metadata, against)


class AggregateMultiTenancyIsolation:
    """Hosts of aggregates with keys ``filter_tenant_id…`` take servers of those projects only."""

    fixed = True

    def personal(self, view: HostView) -> bool:
        """Only where there is an aggregate for somebody."""
        return bool(view.records.tenants)

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        project_id = request.guest.project_id
        return view.judge_aggregates(lambda aggregates: project_id in (tenants(aggregates) or {project_id}))

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"a host for project {request.guest.project_id}", "only for other projects"


class AggregateTypeAffinityFilter:
    """Hosts of aggregates with the key ``instance_type`` take servers of the flavors named there only."""

    fixed = True

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        return view.judge_aggregates(
            lambda aggregates: request.flavor in (self._flavors(aggregates) or {request.flavor})
        )

    def _flavors(self, aggregates: Sequence[AggregateFacts]) -> set[str]:
        return set(merged(aggregates).get("instance_type", ()))

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        return f"flavor {request.flavor}", f"only {', '.join(sorted(self._flavors(view.aggregates(row))))}"
