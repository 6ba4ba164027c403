"""What a fresh cloud's network service holds, as DevStack leaves one: ``private``, which everybody may use and whose bridge is on
every host; ``public``, which floating addresses come from; and ``router1`` between them."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.engine import Connection

from kilonova.database import addresses as held
from kilonova.database import networks as queries
from kilonova.model.errors import Misconfigured
from kilonova.model.network import FixedIp, Network, Port, Router, Subnet
from kilonova.network.addresses import default_pools, gateway, parse_cidr
from kilonova.network.settings import NetworkSettings

_NAMESPACE = UUID("3f3c1c4e-09a5-5c3b-8a55-6f6f4a6f2b10")
SHARED = "private"
"""Name of the shared network: what DevStack's scripts look for."""

SHARED_NETWORK_ID = str(uuid5(_NAMESPACE, "network"))
SHARED_SUBNET_ID = str(uuid5(_NAMESPACE, "subnet"))
PUBLIC_NETWORK_ID = str(uuid5(_NAMESPACE, "public network"))
_PUBLIC_SUBNET_ID = str(uuid5(_NAMESPACE, "public subnet"))
_PUBLIC_CIDR = "172.24.4.0/24"
_ROUTER_ID = str(uuid5(_NAMESPACE, "router"))
_INSIDE, _OUTSIDE = (str(uuid5(_NAMESPACE, f"router port/{side}")) for side in ("inside", "outside"))


def bootstrap(connection: Connection, settings: NetworkSettings, project_id: str, now: int) -> None:
    """Make the shared network, owned by ``project_id``, or bring it in line with the settings.

    Raises ``Misconfigured`` if the addresses were changed while some are in use.
    """
    cidr = parse_cidr(settings.cidr)
    network = Network(
        id=SHARED_NETWORK_ID,
        project_id=project_id,
        name=SHARED,
        shared=True,
        mtu=settings.mtu,
        bridge=settings.bridge,
        network_type="flat",
        physical_network=settings.bridge,
        description="The network every project may use.",
        created_at=now,
        updated_at=now,
    )
    first = str(gateway(cidr))
    subnet = Subnet(
        id=SHARED_SUBNET_ID,
        network_id=network.id,
        project_id=project_id,
        name=f"{SHARED}-subnet",
        ip_version=4,
        cidr=str(cidr),
        gateway_ip=first,
        enable_dhcp=False,
        allocation_pools=default_pools(cidr, first),
        dns_nameservers=list(settings.dns),
        cursor=2,
        created_at=now,
        updated_at=now,
    )
    if queries.get(connection, Network, network.id) is None:
        queries.insert(connection, network)
        queries.insert(connection, subnet)
        return
    _follow_settings(connection, network, subnet)


def _follow_settings(connection: Connection, network: Network, subnet: Subnet) -> None:
    stored = queries.get(connection, Subnet, subnet.id)
    followed = {"mtu": network.mtu, "bridge": network.bridge, "physical_network": network.physical_network}
    queries.update(connection, Network, network.id, followed)
    if stored is not None and stored.cidr == subnet.cidr:
        queries.update(connection, Subnet, subnet.id, {"dns_nameservers": subnet.dns_nameservers})
        return
    if any(port.id != _INSIDE for port in held.ports_on(connection, subnet.id)):
        was = "another" if stored is None else stored.cidr
        raise Misconfigured(
            f"option network.cidr: addresses of {was} are in use; delete their servers and ports first"
        )
    moved = ("cidr", "gateway_ip", "allocation_pools", "dns_nameservers", "cursor")
    queries.update(connection, Subnet, subnet.id, {name: getattr(subnet, name) for name in moved})
    if queries.get(connection, Port, _INSIDE) is not None and stored is not None and stored.gateway_ip is not None:
        held.free(connection, _INSIDE, stored.gateway_ip)
        queries.insert(connection, _gateway_of(subnet))


def _gateway_of(subnet: Subnet) -> FixedIp:
    """The router's own address on the shared subnet, which on each host is the bridge's."""
    assert subnet.gateway_ip is not None
    return FixedIp(subnet_id=subnet.id, ip_address=subnet.gateway_ip, position=1, port_id=_INSIDE)


def bootstrap_public(connection: Connection, project_id: str, now: int) -> None:
    """Make the external network and the router, if they were never made; whoever deleted one does not get it back."""
    if queries.get(connection, Network, PUBLIC_NETWORK_ID) is not None:
        return
    if queries.find(connection, Network, queries.Question(filters={"external": [True]}, limit=1)):
        return
    own: dict[str, Any] = {"project_id": project_id, "created_at": now, "updated_at": now}
    network = Network(
        id=PUBLIC_NETWORK_ID,
        name="public",
        external=True,
        is_default=True,
        bridge="",
        network_type="flat",
        physical_network="public",
        description="Where floating addresses come from.",
        **own,
    )
    cidr = parse_cidr(_PUBLIC_CIDR)
    first = str(gateway(cidr))
    subnet = Subnet(
        id=_PUBLIC_SUBNET_ID,
        network_id=network.id,
        name="public-subnet",
        ip_version=4,
        cidr=_PUBLIC_CIDR,
        gateway_ip=first,
        enable_dhcp=False,
        allocation_pools=default_pools(cidr, first),
        cursor=3,
        **own,
    )
    for record in (network, subnet, Router(id=_ROUTER_ID, name="router1", external_network_id=network.id, **own)):
        queries.insert(connection, record)
    _join(connection, own, subnet)


def _join(connection: Connection, own: dict[str, Any], public: Subnet) -> None:
    """The router's two ports."""
    private = queries.get(connection, Subnet, SHARED_SUBNET_ID)
    assert private is not None
    sides = (
        (_OUTSIDE, public.network_id, "network:router_gateway", "fa:16:3e:00:00:02"),
        (_INSIDE, private.network_id, "network:router_interface", "fa:16:3e:00:00:01"),
    )
    for port_id, network_id, device_owner, mac in sides:
        port = Port(
            id=port_id,
            network_id=network_id,
            mac_address=mac,
            device_id=_ROUTER_ID,
            device_owner=device_owner,
            status="ACTIVE",
            port_security_enabled=False,
            **(own if port_id == _INSIDE else {**own, "project_id": ""}),
        )
        queries.insert(connection, port)
    outside = FixedIp(subnet_id=public.id, ip_address="172.24.4.2", position=2, port_id=_OUTSIDE)
    for address in (outside, _gateway_of(private)):
        queries.insert(connection, address)
