"""Networks. Reference: Networking API v2.0, "Networks".

A network of a project has a bridge of its own on each host, named after it. Guests on one host reach each other over it; between
hosts, and out of the cloud, nothing leads.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.network import Network, Port, Subnet
from kilonova.network import quotas
from kilonova.network.resource import Resource, View, only_admins, owner_of, written
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.shared import SHARED_NETWORK_ID
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z

_ADMINS = ("shared", "router:external", "is_default") + (
    _PROVIDER := ("provider:network_type", "provider:physical_network", "provider:segmentation_id")
)
_COLUMNS = {
    "name": "name",
    "description": "description",
    "admin_state_up": "admin_state_up",
    "shared": "shared",
    "router:external": "external",
    "is_default": "is_default",
    "mtu": "mtu",
    "port_security_enabled": "port_security_enabled",
    "dns_domain": "dns_domain",
}
"""What may be written, and where it is kept."""


def _views(connection: Connection, found: Sequence[Network], admin: bool) -> list[View]:
    ids = [network.id for network in found]
    subnets: dict[str, list[str]] = {network_id: [] for network_id in ids}
    if ids:
        for subnet in queries.find(connection, Subnet, queries.Question(filters={"network_id": ids}, limit=100_000)):
            subnets[subnet.network_id].append(subnet.id)
    tags = queries.tags_of(connection, ids)
    return [_view(network, subnets[network.id], tags[network.id], admin) for network in found]


def _view(network: Network, subnets: list[str], tags: list[str], admin: bool) -> View:
    view: View = {
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE" if network.admin_state_up else "DOWN",
        "shared": network.shared,
        "router:external": network.external,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security_enabled,
        "dns_domain": network.dns_domain,
        "subnets": subnets,
        "availability_zone_hints": [],
        "availability_zones": ["nova"],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "description": network.description,
        "tags": tags,
        "revision_number": network.revision,
        "created_at": iso_z(network.created_at),
        "updated_at": iso_z(network.updated_at),
    }
    if network.external:
        view["is_default"] = network.is_default
    if admin:
        view["provider:network_type"] = network.network_type
        view["provider:physical_network"] = network.physical_network
        view["provider:segmentation_id"] = network.segmentation_id
    return view


NETWORKS = Resource(kind=Network, name="network", title="Network", missing="NetworkNotFound", views=_views)


async def create_network(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``POST /v2.0/networks``"""
    body = written(call, "network")
    project_id = owner_of(call, body)
    only_admins(call.caller, "network", body, _ADMINS)
    network_id, now = networks.ids.uuid(), networks.clock.now()
    kept: dict[str, Any] = {"name": "", "mtu": networks.settings.mtu, **_kept(body), **_provider(body)}
    network = Network(
        id=network_id,
        project_id=project_id,
        bridge=bridge_name(network_id),
        created_at=now,
        updated_at=now,
        **kept,
    )
    view = await networks.database.run(_create, call.caller, network, networks.settings.quotas)
    return Reply(201, {"network": view})


def bridge_name(network_id: str) -> str:
    """What the network's bridge is called on every host: as much of its id as the kernel's 15 letters allow."""
    return f"kn-{network_id.replace('-', '')[:12]}"


def _create(connection: Connection, caller: Caller, network: Network, limits: dict[str, int]) -> View:
    quotas.admit(connection, limits, Network, network.project_id)
    if network.is_default:
        _check_only_default(connection, network.id)
    queries.insert(connection, network)
    return NETWORKS.view(connection, caller, network)


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    return {_COLUMNS[name]: value for name, value in body.items() if name in _COLUMNS}


def _provider(body: dict[str, Any]) -> dict[str, Any]:
    """What an administrator says of the wire below: a network without tags is all that the hosts can do."""
    kind = body.get("provider:network_type")
    if kind is None:
        return {}
    if kind not in ("flat", "local"):
        raise Invalid(f"Network type value '{kind[:64]}' not supported: this cloud has flat and local networks.")
    if body.get("provider:segmentation_id") is not None:
        raise Invalid(f"A segmentation id is prohibited for a {kind} provider network.")
    physical = body.get("provider:physical_network")
    if (physical is None) is (kind == "flat"):
        raise Invalid(f"A physical network is {'required' if kind == 'flat' else 'prohibited'} for a {kind} network.")
    return {"network_type": kind, "physical_network": physical}


async def update_network(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/networks/{id}``"""
    body = written(call, "network")
    only_admins(call.caller, "network", body, _ADMINS)
    view = await networks.database.run(_update, call.caller, call.params["id"], body, networks.clock.now())
    return Reply(200, {"network": view})


def _update(connection: Connection, caller: Caller, network_id: str, body: dict[str, Any], now: int) -> View:
    network = NETWORKS.owned(connection, caller, network_id)
    changes = _kept(body)
    if any(name in body for name in _PROVIDER):
        raise Invalid("Invalid input for operation: Plugin does not support updating provider attributes.")
    if network.shared and changes.get("shared") is False and _used_by_others(connection, network):
        raise Conflict(
            f"Unable to reconfigure sharing settings for network {network.name}: other projects use it.",
            name="InvalidSharedSetting",
        )
    if (
        network.external
        and changes.get("external") is False
        and queries.exists(connection, Port, network_id=network.id, project_id="")
    ):
        raise Conflict(
            f"External network {network.id} cannot be updated to be made non-external, since it has existing gateway ports.",
            name="ExternalNetworkInUse",
        )
    if changes.get("is_default"):
        _check_only_default(connection, network.id)
    return NETWORKS.view(connection, caller, queries.revise(connection, network, changes, now))


def _used_by_others(connection: Connection, network: Network) -> bool:
    on_it = queries.find(connection, Port, queries.Question(filters={"network_id": [network.id]}, limit=100_000))
    return network.id == SHARED_NETWORK_ID or any(port.project_id not in ("", network.project_id) for port in on_it)


def _check_only_default(connection: Connection, network_id: str) -> None:
    queries.lock_project(connection, "")  # nobody's: who makes another one the default at the same moment waits here
    defaults = queries.find(connection, Network, queries.Question(filters={"is_default": [True]}))
    if any(network.id != network_id for network in defaults):
        raise Conflict(
            f"A default external network already exists: {defaults[0].id}.", name="DefaultExternalNetworkExists"
        )


async def delete_network(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/networks/{id}``: with its subnets, if nothing is on them."""
    await networks.database.run(_delete, call.caller, call.params["id"])
    return Reply(204)


def _delete(connection: Connection, caller: Caller, network_id: str) -> None:
    network = NETWORKS.owned(connection, caller, network_id)
    if network.id == SHARED_NETWORK_ID:
        raise Conflict("This network is made by the cloud's configuration (section network).", name="NetworkInUse")
    if queries.exists(connection, Port, network_id=network.id):
        raise Conflict(
            f"Unable to complete operation on network {network.id}. There are one or more ports still in use on it.",
            name="NetworkInUse",
        )
    for subnet in queries.find(connection, Subnet, queries.Question(filters={"network_id": [network.id]})):
        queries.remove(connection, Subnet, subnet.id)
    queries.remove(connection, Network, network.id)
