"""Operations that Nova once had and that answer 410 for ever: cells, cloudpipe, certificates, what nova-network did."""

from kilonova.api.compute.deployment import Deployment
from kilonova.model.errors import Gone, Invalid
from kilonova.web.call import Call, Reply
from kilonova.web.policy import ANY
from kilonova.web.routes import Route

_RULE = "os_compute_api:gone"
_PATHS = """
GET POST        /os-agents
PUT DELETE      /os-agents/{id}
GET POST        /os-cells
GET             /os-cells/capacities
GET             /os-cells/detail
GET             /os-cells/info
POST            /os-cells/sync_instances
GET PUT DELETE  /os-cells/{id}
GET             /os-cells/{id}/capacities
POST            /os-certificates
GET             /os-certificates/{id}
GET POST        /os-cloudpipe
PUT             /os-cloudpipe/{id}
GET             /os-fixed-ips/{id}
GET             /os-floating-ip-dns
PUT DELETE      /os-floating-ip-dns/{id}
GET PUT DELETE  /os-floating-ip-dns/{domain_id}/entries/{id}
GET POST        /os-floating-ips-bulk
GET PUT         /os-floating-ips-bulk/{id}
GET             /os-fping
GET             /os-fping/{id}
POST            /os-networks
POST            /os-networks/add
DELETE          /os-networks/{id}
GET POST        /os-security-group-default-rules
GET DELETE      /os-security-group-default-rules/{id}
POST            /os-tenant-networks
DELETE          /os-tenant-networks/{id}
GET POST        /servers/{server_id}/consoles
GET DELETE      /servers/{server_id}/consoles/{id}
GET             /servers/{server_id}/os-virtual-interfaces
"""
_ACTIONS = {
    "/os-fixed-ips/{id}/action": ("reserve", "unreserve"),
    "/os-networks/{id}/action": ("disassociate", "disassociate_host", "disassociate_project", "associate_host"),
    "/servers/{id}/action": ("resetNetwork",),
}


async def refuse(cloud: Deployment, call: Call) -> Reply:
    """410."""
    raise Gone("This resource is no longer available. No forwarding address is given.")


async def refuse_rdp(cloud: Deployment, call: Call) -> Reply:
    """400: the one console action whose hypervisor is gone."""
    raise Invalid("Unavailable console type rdp-html5.")


def _route(method: str, path: str, action: str | None = None) -> Route:
    return Route(
        method=method, path=path, action=action, handler=refuse, rule=_RULE, role=ANY, summary="Gone for ever"
    )


ROUTES = [
    *(_route(method, path) for *methods, path in map(str.split, _PATHS.strip().splitlines()) for method in methods),
    *(_route("POST", path, action) for path, actions in _ACTIONS.items() for action in actions),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="os-getRDPConsole",
        handler=refuse_rdp,
        rule="os_compute_api:os-remote-consoles",
        role="member",
        until=5,
        summary="Open an RDP console: gone",
    ),
]
