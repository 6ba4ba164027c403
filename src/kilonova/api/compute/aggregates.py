"""Host aggregates: none can be made yet, and clients that look at a hypervisor ask which it is in."""

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def index(cloud: Deployment, call: Call) -> Reply:
    """``GET /os-aggregates``: ``openstack hypervisor show`` fails where this is not found."""
    return Reply(200, {"aggregates": []})


ROUTES = [
    Route(
        method="GET",
        path="/os-aggregates",
        handler=index,
        rule="os_compute_api:os-aggregates:index",
        role="admin",
        query=queries(102),
        summary="List aggregates",
    ),
]
