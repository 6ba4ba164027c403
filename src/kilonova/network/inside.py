"""Network v2.0 from inside this process: the same operations and checks as over HTTP, on behalf of a caller.

Compute's old network API is a view of these. Who may ask at all, its own rules have decided by then; whose things are there,
these operations decide.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import NotFound
from kilonova.network.routes import routes
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call
from kilonova.web.policy import Policy
from kilonova.web.routes import RouteTable
from kilonova.web.schema import validate


@cache
def _table() -> tuple[RouteTable, Policy]:
    table = RouteTable(routes())
    return table, Policy({route.rule: route.role for route in table.routes})


async def ask(
    networks: EmbeddedNetworks,
    caller: Caller,
    method: str,
    path: str,
    *,
    body: Any = None,
    query: Mapping[str, list[str]] | None = None,
) -> Any:
    """The body of the answer. Raises what the operation raises; ``NotFound`` for a path that is none.

    ``path`` is below ``/v2.0/``.
    """
    table, policy = _table()
    match = table.find(f"/v2.0/{path}")
    found = None if match is None else match.route(method, None, 0)
    if found is None:
        raise NotFound("The resource could not be found.")
    route, params = found
    call = Call(
        method=method,
        path=f"/v2.0/{path}",
        headers={},
        base_url="",
        context=RequestContext(request_id="req-compute", caller=caller),
        started_at=networks.clock.now(),
    )
    call.params, call.body, call.query, call.policy = params, body, dict(query or {}), policy
    if route.body:
        validate(route.body, body, 0, "the request body")
    return (await route.handler(networks, call)).body
