"""The metadata of aggregates as rules read them: a value is a list with commas, and a host has those of all its aggregates."""

from collections.abc import Iterable, Mapping

from kilonova.scheduler.view import AggregateFacts

Metadata = Mapping[str, set[str]]

_TENANT = "filter_tenant_id"
"""How the keys begin that say whose servers an aggregate is for; their values are projects."""


def merged(aggregates: Iterable[AggregateFacts]) -> Metadata:
    """The metadata of all of them."""
    found: dict[str, set[str]] = {}
    for aggregate in aggregates:
        for key, value in aggregate.metadata.items():
            found.setdefault(key, set()).update(word.strip() for word in value.split(","))
    return found


def tenants(aggregates: Iterable[AggregateFacts]) -> set[str]:
    """The projects they are for; none: for all."""
    metadata = merged(aggregates)
    return {project for key, projects in metadata.items() if key.startswith(_TENANT) for project in projects}


def by_tenant(aggregates: Iterable[AggregateFacts]) -> dict[str, frozenset[int]]:
    """The numbers of each project's own aggregates."""
    found: dict[str, set[int]] = {}
    for aggregate in aggregates:
        for project in tenants([aggregate]):
            found.setdefault(project, set()).add(aggregate.id)
    return {project: frozenset(numbers) for project, numbers in found.items()}
