"""Arithmetic on addresses: the pool of a subnet, and places in it as numbers. No I/O."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import msgspec

from kilonova.model.clock import Ids
from kilonova.model.errors import Invalid, Misconfigured


class Pool(msgspec.Struct, frozen=True):
    """What a subnet gives away: positions are distances from its first address. Both ends are included."""

    first: int
    last: int

    def __contains__(self, position: int) -> bool:
        return self.first <= position <= self.last


def parse_cidr(cidr: str) -> IPv4Network:
    """The subnet an operator configured. Raises ``Misconfigured``: IPv4, room for a gateway and a guest."""
    try:
        network = ip_network(cidr)
    except ValueError as error:
        raise Misconfigured(f"option network.cidr: {error}") from None
    if not isinstance(network, IPv4Network) or network.prefixlen > 30 or network.prefixlen < 8:
        raise Misconfigured("option network.cidr: an IPv4 network between /8 and /30 is needed")
    return network


def gateway(network: IPv4Network) -> IPv4Address:
    """The first host address, which is the bridge's own on every host."""
    return network.network_address + 1


def pool_bounds(network: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    """First and last address for guests: all hosts but the gateway."""
    return network.network_address + 2, network.broadcast_address - 1


def pool(cidr: str, start: str, end: str) -> Pool:
    """The pool of a stored subnet."""
    return Pool(position_of(cidr, start), position_of(cidr, end))


def position_of(cidr: str, address: str) -> int:
    """How far an address is from the subnet's first one. Raises ``Invalid`` if it is none of the subnet's."""
    try:
        wanted = ip_address(address)
    except ValueError:
        raise Invalid(f"'{address[:64]}' is not a valid IP address.") from None
    network = ip_network(cidr)
    if wanted not in network:
        raise Invalid(f"IP address {wanted} is not a valid IP for the specified subnet.")
    return int(wanted) - int(network.network_address)


def address_at(cidr: str, position: int) -> str:
    """The address at a position."""
    base, _, _ = cidr.partition("/")
    return str(ip_address(int(ip_address(base)) + position))


def host_address(cidr: str, gateway_ip: str | None) -> str:
    """The bridge's own address with its prefix length; empty where there is no gateway."""
    return f"{gateway_ip}/{cidr.partition('/')[2]}" if gateway_ip else ""


def new_mac(ids: Ids) -> str:
    """A locally administered address under ``fa:16:3e``, the prefix that OpenStack's guests are known by."""
    tail = ids.hex()[:6]
    return f"fa:16:3e:{tail[:2]}:{tail[2:4]}:{tail[4:]}"
