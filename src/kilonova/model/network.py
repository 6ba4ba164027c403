"""Networks as the embedded network service stores them. Addresses are texts, moments microseconds."""

import msgspec


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A layer-2 network; ``bridge`` is the name of its bridge on every host."""

    id: str
    project_id: str
    name: str
    shared: bool = False
    external: bool = False
    admin_state_up: bool = True
    mtu: int = 1500
    bridge: str = ""
    description: str = ""
    created_at: int = 0


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of a network. The pool is ``pool_start`` to ``pool_end``, both included; ``cursor`` is the distance
    from the subnet's first address at which the search for a free one goes on."""

    id: str
    network_id: str
    project_id: str
    name: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    pool_start: str
    pool_end: str
    dns_nameservers: list[str] = []
    cursor: int = 0
    created_at: int = 0


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A network card's place on a network. ``binding`` is empty, or says that Compute ``created`` it for its server
    (and deletes it) or ``attached`` one that existed (and gives it back)."""

    id: str
    network_id: str
    project_id: str
    name: str = ""
    mac_address: str
    device_id: str = ""
    device_owner: str = ""
    device_index: int = 0
    binding: str = ""
    host: str = ""
    status: str = "DOWN"
    admin_state_up: bool = True
    created_at: int = 0


class FixedIp(msgspec.Struct, frozen=True, kw_only=True):
    """One address of one port."""

    subnet_id: str
    ip_address: str
    position: int
    port_id: str
