"""A project's own network made at one word. Reference: Networking API v2.0, "Auto allocated topology".

Its ids are known from the project's, so asking twice finds what was made; what is missing of it is made again.
"""

from ipaddress import ip_network
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.model.clock import Ids
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, NotFound
from kilonova.model.network import Network, Port, Router, Subnet
from kilonova.network import quotas
from kilonova.network.addresses import default_pools
from kilonova.network.networks import bridge_name
from kilonova.network.quotas import own_project
from kilonova.network.router_interfaces import add_interface, remove_interface
from kilonova.network.routers import clear_gateway, ports_of, set_gateway
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.settings import NetworkSettings
from kilonova.web.call import Call, Reply

_NAMESPACE = UUID("a0f2f7a1-6d63-5b0e-9d2b-1c3f5e7b9d11")
_CIDR, _GATEWAY = "10.100.0.0/20", "10.100.0.1"


def _id(project_id: str, what: str) -> str:
    return str(uuid5(_NAMESPACE, f"{what}/{project_id}"))


async def show_auto_allocated_topology(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/auto-allocated-topology/{project}``: made if it is not there; ``fields=dry-run`` only asks"""
    project_id = own_project(call)
    if call.query.get("fields") == ["dry-run"]:
        await networks.database.run(_external)
        found = "dry-run=pass"
    elif project_id != call.caller.project_id:
        found = await networks.database.run(_existing, project_id)
    else:
        found = await networks.database.run(
            _provide, networks.ids, networks.settings, call.caller, project_id, networks.clock.now()
        )
    view = {"id": found, "tenant_id": project_id, "project_id": project_id}
    return Reply(200, {"auto_allocated_topology": view})


def _external(connection: Connection) -> Network:
    """The external network that is everybody's default. Raises ``Conflict`` if there is none."""
    found = queries.find(connection, Network, queries.Question(filters={"is_default": [True], "external": [True]}))
    if not found:
        raise Conflict("Deployment error: there is no default external network.", name="AutoAllocationFailure")
    return found[0]


def _existing(connection: Connection, project_id: str) -> str:
    network = queries.get(connection, Network, _id(project_id, "network"))
    if network is None:
        raise NotFound(f"Project {project_id[:64]} has no auto allocated topology.")
    return network.id


def _provide(
    connection: Connection, ids: Ids, settings: NetworkSettings, caller: Caller, project_id: str, now: int
) -> str:
    external = _external(connection)
    network, subnet, router = _wanted(settings, project_id, now)
    queries.lock_project(connection, project_id)  # who asks for it at the same moment finds it made
    for record in (network, subnet, router):
        if queries.get(connection, type(record), record.id) is None:
            quotas.admit(connection, settings.quotas, type(record), project_id)
            queries.insert(connection, record)
    found = queries.get(connection, Router, router.id, lock=True)
    assert found is not None
    if found.external_network_id is None:
        set_gateway(connection, ids, caller, found, {"network_id": external.id}, now)
    if not ports_of(connection, router.id):
        add_interface(connection, ids, caller, router.id, {"subnet_id": subnet.id}, now)
    return network.id


def _wanted(settings: NetworkSettings, project_id: str, now: int) -> tuple[Network, Subnet, Router]:
    own: dict[str, Any] = {"project_id": project_id, "created_at": now, "updated_at": now}
    network_id = _id(project_id, "network")
    network = Network(
        id=network_id, name="auto_allocated_network", mtu=settings.mtu, bridge=bridge_name(network_id), **own
    )
    subnet = Subnet(
        id=_id(project_id, "subnet"),
        network_id=network_id,
        name="auto_allocated_subnet_v4",
        ip_version=4,
        cidr=_CIDR,
        gateway_ip=_GATEWAY,
        enable_dhcp=True,
        allocation_pools=default_pools(ip_network(_CIDR), _GATEWAY),
        **own,
    )
    return network, subnet, Router(id=_id(project_id, "router"), name="auto_allocated_router", **own)


async def delete_auto_allocated_topology(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/auto-allocated-topology/{project}``"""
    await networks.database.run(_delete, call.caller, own_project(call), networks.clock.now())
    return Reply(204)


def _delete(connection: Connection, caller: Caller, project_id: str, now: int) -> None:
    network_id = _existing(connection, project_id)
    queries.get(connection, Network, network_id, lock=True)
    router = queries.get(connection, Router, _id(project_id, "router"), lock=True)
    mine = {port.id for port in ports_of(connection, router.id)} if router is not None else set()
    on_it = queries.find(connection, Port, queries.Question(filters={"network_id": [network_id]}))
    if any(port.id not in mine for port in on_it):
        raise Conflict(f"Network {network_id} is in use: there are ports on it.", name="NetworkInUse")
    if router is not None:
        for port_id in mine:
            remove_interface(connection, caller, router.id, {"port_id": port_id}, now)
        clear_gateway(connection, router, now)
        queries.remove(connection, Router, router.id)
    for subnet in held.subnets_of(connection, network_id):
        queries.remove(connection, Subnet, subnet.id)
    queries.remove(connection, Network, network_id)
