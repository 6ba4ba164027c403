"""Networks through Compute, up to 2.35: of all that an old network had, only its id and its name are left."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.model.errors import NotFound, Unsupported
from kilonova.network.inside import ask
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import is_uuid

UNTIL = 35
_FIELDS = """
    cidr netmask gateway broadcast dns1 dns2 cidr_v6 gateway_v6 netmask_v6
""".split()  # noqa: SIM905
_ADMIN_FIELDS = """
    created_at updated_at deleted_at deleted injected bridge vlan vpn_public_address vpn_public_port vpn_private_address
    dhcp_start project_id host bridge_interface multi_host priority rxtx_base mtu dhcp_server enable_dhcp share_address
""".split()  # noqa: SIM905


def networks_of(cloud: Deployment) -> EmbeddedNetworks:
    """The network service, if it can be reached through Compute. Raises ``Unsupported``."""
    if not isinstance(cloud.networks, EmbeddedNetworks):
        raise Unsupported("The network service of this cloud is not reached through Compute; use its own API.")
    return cloud.networks


async def _list(cloud: Deployment, call: Call) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(networks_of(cloud), call.caller, "GET", "networks"))["networks"]
    return found


async def _one(cloud: Deployment, call: Call) -> dict[str, Any]:
    network_id = call.params["id"]
    if not is_uuid(network_id):
        raise NotFound("Network not found")
    try:
        found: dict[str, Any] = await ask(networks_of(cloud), call.caller, "GET", f"networks/{network_id}")
    except NotFound:
        raise NotFound("Network not found") from None
    return dict(found["network"])


async def index(cloud: Deployment, call: Call) -> Reply:
    """``GET /os-networks``."""
    return Reply(200, {"networks": [_view(call, network) for network in await _list(cloud, call)]})


async def show(cloud: Deployment, call: Call) -> Reply:
    """``GET /os-networks/{id}``."""
    return Reply(200, {"network": _view(call, await _one(cloud, call))})


def _view(call: Call, network: dict[str, Any]) -> dict[str, Any]:
    names = [*_FIELDS, *(_ADMIN_FIELDS if call.caller.is_admin else [])]
    return {"id": network["id"], "label": network["name"], **dict.fromkeys(names)}


async def index_of_tenant(cloud: Deployment, call: Call) -> Reply:
    """``GET /os-tenant-networks``."""
    return Reply(200, {"networks": [_brief(network) for network in await _list(cloud, call)]})


async def show_of_tenant(cloud: Deployment, call: Call) -> Reply:
    """``GET /os-tenant-networks/{id}``."""
    return Reply(200, {"network": _brief(await _one(cloud, call))})


def _brief(network: dict[str, Any]) -> dict[str, Any]:
    return {"id": network["id"], "label": network["name"], "cidr": "None"}  # the word, as Nova says it


def _route(path: str, name: str, handler: Handler, summary: str) -> Route:
    return Route(
        method="GET",
        path=f"/{path}",
        handler=handler,
        rule=f"os_compute_api:{path.partition('/')[0]}:{name}",
        role="reader",
        until=UNTIL,
        summary=summary,
    )


ROUTES = [
    _route("os-networks", "list", index, "List networks"),
    _route("os-networks/{id}", "show", show, "Show a network"),
    _route("os-tenant-networks", "list", index_of_tenant, "List networks of a project"),
    _route("os-tenant-networks/{id}", "show", show_of_tenant, "Show a network of a project"),
]
