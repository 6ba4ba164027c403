"""Networks as the embedded network service stores them. Addresses are texts, moments microseconds.

``revision`` counts the changes a user asked for, ``updated_at`` is the last one's moment.
"""

from typing import Any

import msgspec


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What all nouns of the Networking API share."""

    id: str
    project_id: str
    description: str = ""
    revision: int = 0
    created_at: int = 0
    updated_at: int = 0


class Network(Described, frozen=True, kw_only=True):
    """A layer-2 network; ``bridge`` is the name of its bridge on every host. ``network_type``, ``physical_network`` and
    ``segmentation_id`` are what an administrator wrote of it."""

    name: str
    shared: bool = False
    external: bool = False
    is_default: bool = False
    admin_state_up: bool = True
    port_security_enabled: bool = True
    mtu: int = 1500
    bridge: str = ""
    network_type: str = "local"
    physical_network: str | None = None
    segmentation_id: int | None = None
    dns_domain: str = ""


class Subnet(Described, frozen=True, kw_only=True):
    """Addresses of a network. ``allocation_pools`` are pairs ``start``, ``end``, both included; ``cursor`` is the distance
    from the subnet's first address at which the search for a free one goes on."""

    network_id: str
    name: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    allocation_pools: list[dict[str, str]]
    dns_nameservers: list[str] = []
    host_routes: list[dict[str, str]] = []
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None
    cursor: int = 0


class Port(Described, frozen=True, kw_only=True):
    """A network card's place on a network. ``binding`` is empty, or says that Compute ``created`` it for its server
    (and deletes it) or ``attached`` one that existed (and gives it back)."""

    network_id: str
    name: str = ""
    mac_address: str
    device_id: str = ""
    device_owner: str = ""
    device_index: int = 0
    binding: str = ""
    host: str = ""
    status: str = "DOWN"
    admin_state_up: bool = True
    port_security_enabled: bool = True
    vnic_type: str = "normal"
    binding_profile: dict[str, Any] = {}
    allowed_address_pairs: list[dict[str, str]] = []
    extra_dhcp_opts: list[dict[str, Any]] = []
    dns_name: str = ""


class FixedIp(msgspec.Struct, frozen=True, kw_only=True):
    """One address of one port; ``position`` is its distance from the subnet's first address."""

    subnet_id: str
    ip_address: str
    position: int
    port_id: str


class SecurityGroup(Described, frozen=True, kw_only=True):
    """A named set of rules that ports carry."""

    name: str
    stateful: bool = True


class SecurityGroupRule(Described, frozen=True, kw_only=True):
    """What a group lets pass. None: any."""

    security_group_id: str
    direction: str
    ethertype: str
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None


class Router(Described, frozen=True, kw_only=True):
    """Joins subnets, and with ``external_network_id`` the world. Its places on networks are ports with its id as device."""

    name: str
    admin_state_up: bool = True
    external_network_id: str | None = None
    enable_snat: bool = True
    distributed: bool = False
    ha: bool = False
    routes: list[dict[str, str]] = []


class FloatingIp(Described, frozen=True, kw_only=True):
    """An address of an external network that stands for ``fixed_ip_address`` of a port; ``floating_port_id`` holds it."""

    floating_network_id: str
    floating_ip_address: str
    floating_port_id: str
    port_id: str | None = None
    fixed_ip_address: str | None = None
    router_id: str | None = None
    status: str = "DOWN"
    dns_name: str = ""
    dns_domain: str = ""


class Trunk(Described, frozen=True, kw_only=True):
    """A parent port that carries the networks of other ports, each under a VLAN number of its own."""

    name: str
    port_id: str
    admin_state_up: bool = True


class SubPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port that a trunk carries; ``segmentation_id`` is how the guest behind the parent port knows it."""

    port_id: str
    trunk_id: str
    segmentation_type: str
    segmentation_id: int
