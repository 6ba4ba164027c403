"""Placement's route table and its application. Reference: Placement API 1.39. Rules have the names of Placement's."""

from kilonova.placement import (
    about,
    aggregates,
    allocations,
    candidates,
    classes,
    inventories,
    providers,
    traits,
    usages,
)
from kilonova.placement.microversion import answer_headers, negotiate, sign
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.application import Application, Family, TokenValidator
from kilonova.web.faults import placement_fault
from kilonova.web.policy import NOBODY_NEEDED, Policy
from kilonova.web.routes import Route, RouteTable

_ROOT = Route(
    method="GET",
    path="/",
    handler=about.show_version,
    rule="placement:versions",
    role=NOBODY_NEEDED,
    summary="Show the versions",
)


def routes() -> list[Route]:
    """Every operation of the embedded Placement."""
    modules = (providers, inventories, usages, aggregates, traits, classes, allocations, candidates)
    return [_ROOT, *(route for module in modules for route in module.ROUTES)]


def application(
    placement: EmbeddedPlacement, *, tokens: TokenValidator, overrides: dict[str, str] | None = None
) -> Application:
    """The HTTP API of ``placement``; mount it at ``/placement``. ``overrides`` are policy rules."""
    table = RouteTable(routes())
    return Application(
        Family(
            name="placement",
            fault=placement_fault,
            sign=sign,
            negotiate=negotiate,
            answer_headers=answer_headers,
        ),
        table,
        placement,
        tokens=tokens,
        policy=Policy({route.rule: route.role for route in table.routes}, overrides),
        clock=placement.clock,
        ids=placement.ids,
    )
