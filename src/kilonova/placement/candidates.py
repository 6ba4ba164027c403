"""Allocation candidates: the hosts that could take a request now, by the numbers that a claim is made with.

Every provider is a tree of its own and shares nothing, so one host gives all that is asked for, or it is no candidate. Reference:
Placement API, "Allocation candidates".
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kilonova.model.provider import Group, Provider
from kilonova.placement import schemas
from kilonova.placement.answers import answered
from kilonova.placement.known import check_groups
from kilonova.placement.microversion import V
from kilonova.placement.providers import family
from kilonova.placement.questions import Wanted, wanted
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def list_candidates(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /allocation_candidates``"""
    asked = wanted(call)
    found = await _find(placement, asked, call.version >= V(17))
    resources = _sum(asked.groups.values())
    body = {
        "allocation_requests": [_request(call, one, resources, asked.groups) for one in found],
        "provider_summaries": {one.uuid: _summary(call, one, resources) for one in found},
    }
    return answered(call, body)


async def _find(placement: EmbeddedPlacement, asked: Wanted, with_traits: bool) -> Sequence[Provider]:
    groups = [*asked.groups.values(), asked.root]
    if asked.isolated:  # groups that no provider may serve together, and no tree has two providers
        await placement.database.run(check_groups, groups)
        return []
    return await placement.find(groups, limit=asked.limit, with_traits=with_traits)


def _sum(groups: Iterable[Group]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for group in groups:
        total.update(group.resources)
    return dict(total)


def _request(
    call: Call, provider: Provider, resources: Mapping[str, int], groups: Mapping[str, Group]
) -> dict[str, Any]:
    if call.version < V(12):
        return {"allocations": [{"resource_provider": {"uuid": provider.uuid}, "resources": resources}]}
    request: dict[str, Any] = {"allocations": {provider.uuid: {"resources": resources}}}
    if call.version >= V(34):
        request["mappings"] = {suffix: [provider.uuid] for suffix in groups}
    return request


def _summary(call: Call, provider: Provider, resources: Mapping[str, int]) -> dict[str, Any]:
    """What the provider has: of the classes asked for, and of all since 1.27."""
    summary: dict[str, Any] = {
        "resources": {
            name: {"capacity": inventory.capacity, "used": inventory.used}
            for name, inventory in provider.inventories.items()
            if name in resources or call.version >= V(27)
        }
    }
    if call.version >= V(17):
        summary["traits"] = sorted(provider.traits)
    return summary | family(call, provider, V(29))


ROUTES = [
    Route(
        method="GET",
        path="/allocation_candidates",
        handler=list_candidates,
        rule="placement:allocation_candidates:list",
        role="service",
        since=V(10),
        query=schemas.CANDIDATES,
        summary="List the providers that could take a request",
    )
]
