"""A server's NUMA topology, since 2.78. No guest here has one: its processors and memory are one node that nobody pins."""

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.api.compute.submission import find
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def show(cloud: Deployment, call: Call) -> Reply:
    """As Nova answers for a guest without a topology."""
    await cloud.database.run(find, call, call.params["server_id"])
    return Reply(200, {"nodes": [], "pagesize_kb": None})


ROUTES = [
    Route(
        method="GET",
        path="/servers/{server_id}/topology",
        handler=show,
        rule="compute:server:topology:index",
        role="reader",
        since=78,
        query=queries(102),
        summary="Show a server's NUMA topology",
    ),
]
