"""A server's addresses, by the names of the networks they are on."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.api.compute.server_views import addresses
from kilonova.api.compute.submission import find
from kilonova.model.errors import NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def index(cloud: Deployment, call: Call) -> Reply:
    """On all networks."""
    return Reply(200, {"addresses": await _addresses(cloud, call)})


async def show(cloud: Deployment, call: Call) -> Reply:
    """On one network."""
    found, network = await _addresses(cloud, call), call.params["id"]
    if network not in found:
        raise NotFound("Instance is not a member of specified network")
    return Reply(200, {network: found[network]})


async def _addresses(cloud: Deployment, call: Call) -> dict[str, list[dict[str, Any]]]:
    server = await cloud.database.run(find, call, call.params["server_id"])
    return {
        network: [{"version": entry["version"], "addr": entry["addr"]} for entry in entries]
        for network, entries in addresses(server).items()
    }


_PATH = "/servers/{server_id}/ips"
ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=index,
        rule="os_compute_api:ips:index",
        role="reader",
        query=queries(102),
        summary="List a server's addresses",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        handler=show,
        rule="os_compute_api:ips:show",
        role="reader",
        query=queries(102),
        summary="List a server's addresses on one network",
    ),
]
