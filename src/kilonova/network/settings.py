"""What an operator may set of the embedded network service, and what every project may have."""

import msgspec

QUOTAS = {
    "network": 100,
    "subnet": 100,
    "subnetpool": -1,
    "port": 500,
    "router": 10,
    "floatingip": 50,
    "rbac_policy": 10,
    "security_group": 10,
    "security_group_rule": 100,
}
"""Neutron's defaults; -1 is no limit. Ports that Compute makes for servers are bounded by the servers' quota instead."""


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The shared network (see ``config.NetworkConfig``), and the default limits of a project."""

    cidr: str = "10.200.0.0/16"
    bridge: str = "knbr0"
    dns: tuple[str, ...] = ()
    mtu: int = 1500
    mount: str = "/network"
    zone: str = "nova"
    max_limit: int = 1000
    quotas: dict[str, int] = msgspec.field(default_factory=lambda: dict(QUOTAS))
