"""The operations API: what an operator, or their tools, ask of a cloud that OpenStack's APIs have no word for.

Mounted at ``/kilonova``. For administrators: ``/kilonova/v1/findings`` tells what is not as it must be, ``/kilonova/v1/actions``
what is being done, late or failed, ``/kilonova/v1/decisions`` why servers are where they are, ``/kilonova/v1/what-if`` how many
more would fit. The decisions on one server are told to its owner as well, in a form that names no host.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from kilonova.api.compute.deployment import Deployment
from kilonova.api.operations import decisions, what_if
from kilonova.api.operations.what_if import Planner
from kilonova.database.operations import list_actions, list_findings
from kilonova.web.application import Application, Family, TokenValidator
from kilonova.web.call import Call, Reply
from kilonova.web.faults import compute_fault
from kilonova.web.policy import ANY, Policy
from kilonova.web.routes import Route, RouteTable
from kilonova.web.schema import Schema, always, query_schema

OPERATIONS = Family(name="kilonova", fault=compute_fault)

_TRUTH: Schema = {"type": "string", "enum": ["true", "false"]}


async def versions(cloud: Deployment, call: Call) -> Reply:
    """``GET /kilonova/v1``: what there is to ask."""
    lists = [row.path for row in ROUTES[1:] if "{" not in row.path]
    links = [{"rel": path.rsplit("/", 1)[1], "href": f"{call.base_url}{path}"} for path in lists]
    return Reply(200, {"version": {"id": "v1", "links": links}})


async def findings(cloud: Deployment, call: Call) -> Reply:
    """``GET /kilonova/v1/findings``; with ``rules=true`` the ledger's rules are checked as well, which looks at every row."""
    found = await cloud.database.run(list_findings, cloud.clock.now(), rules=_true(call, "rules"))
    return Reply(200, {"findings": _plain(found)})


async def actions(cloud: Deployment, call: Call) -> Reply:
    """``GET /kilonova/v1/actions``: the open and the failed ones; ``late=true`` or ``failed=true``: only these."""
    late, failed = _true(call, "late"), _true(call, "failed")
    found = await cloud.database.run(list_actions, cloud.clock.now(), late=late, failed=failed)
    return Reply(200, {"actions": _plain(found)})


def _true(call: Call, name: str) -> bool:
    return call.query.get(name, ["false"])[-1] == "true"


def _plain(lines: list[Any]) -> list[Any]:
    return [msgspec.to_builtins(line) for line in lines]


ROUTES = [
    Route(method="GET", path="/v1", handler=versions, rule="kilonova:versions", role=ANY, summary="What there is"),
    Route(
        method="GET",
        path="/v1/findings",
        handler=findings,
        rule="kilonova:findings",
        role="admin",
        query=always(query_schema(strict=True, rules=_TRUTH)),
        summary="What is not as it must be",
    ),
    Route(
        method="GET",
        path="/v1/actions",
        handler=actions,
        rule="kilonova:actions",
        role="admin",
        query=always(query_schema(strict=True, late=_TRUTH, failed=_TRUTH)),
        summary="What is being done, late or failed",
    ),
    *decisions.ROUTES,
]


def operations_application(
    cloud: Deployment,
    tokens: TokenValidator,
    planner: Callable[[], Planner],
    overrides: dict[str, str] | None = None,
) -> Application:
    """The operations API over ``cloud``; mount it at ``/kilonova``. ``planner`` makes who answers what-if questions."""
    table = RouteTable([*ROUTES, *what_if.routes(planner)])
    defaults = {route.rule: route.role for route in table.routes} | decisions.RULES
    policy = Policy(defaults, overrides)
    return Application(OPERATIONS, table, cloud, tokens=tokens, policy=policy, clock=cloud.clock, ids=cloud.ids)
