"""Arithmetic on addresses: the pools of a subnet, and places in it as numbers. No I/O."""

import itertools
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

from kilonova.model.clock import Ids
from kilonova.model.errors import Conflict, Invalid, Misconfigured
from kilonova.model.network import Subnet

Address = IPv4Address | IPv6Address
AddressRange = IPv4Network | IPv6Network
FARTHEST = (1 << 63) - 1
"""The last position that a column can hold. An IPv6 subnet has more; what lies beyond is only given to who asks for it."""


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


def read_cidr(cidr: str, ip_version: int) -> AddressRange:
    """The addresses a user asked for; bits behind the prefix are cleared. Raises ``Invalid``."""
    try:
        found = ip_network(cidr, strict=False)
    except ValueError:
        raise Invalid(f"Invalid input for cidr. '{cidr[:64]}' is not a valid IP subnet.") from None
    if found.version != ip_version:
        raise Invalid(f"Invalid input for operation: cidr '{found}' does not match the ip_version '{ip_version}'.")
    if found.prefixlen == 0 or found.is_multicast or found.is_loopback:
        raise Invalid(f"Invalid input for operation: '{found}' cannot be the addresses of a subnet.")
    return found


def read_address(text: str, what: str = "ip_address") -> Address:
    """An address a user wrote. Raises ``Invalid``."""
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"Invalid input for {what}. '{text[:64]}' is not a valid IP address.") from None


def read_prefix(text: str, what: str) -> AddressRange:
    """An address or a subnet a user wrote. Raises ``Invalid``."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f"Invalid input for {what}. '{text[:64]}' is neither an IP address nor an IP subnet.") from None


def gateway(network: AddressRange) -> Address:
    """The first host address."""
    return network.network_address + (1 if network.num_addresses > 2 else 0)


def host_bounds(network: AddressRange) -> tuple[Address, Address]:
    """First and last address that a port can have: neither the subnet's own nor the one of all."""
    if network.num_addresses <= 2:
        return network.network_address, network.broadcast_address
    last = network.broadcast_address - 1 if network.version == 4 else network.broadcast_address
    return network.network_address + 1, last


def default_pools(network: AddressRange, gateway_ip: str | None) -> list[dict[str, str]]:
    """All host addresses but the gateway's."""
    first, last = host_bounds(network)
    taken = None if gateway_ip is None else ip_address(gateway_ip)
    if taken is None or taken.version != network.version or not int(first) <= int(taken) <= int(last):
        return [{"start": str(first), "end": str(last)}]
    found = []
    if taken != first:
        found.append({"start": str(first), "end": str(taken - 1)})
    if taken != last:
        found.append({"start": str(taken + 1), "end": str(last)})
    return found


def read_pools(
    network: AddressRange, wanted: Sequence[dict[str, str]], gateway_ip: str | None
) -> list[dict[str, str]]:
    """The pools a user asked for, in order. Raises ``Invalid`` or ``Conflict``, named as Neutron names them."""
    first, last = host_bounds(network)
    found: list[tuple[int, int, dict[str, str]]] = []
    for pool in wanted:
        start, end = read_address(pool["start"], "allocation_pools"), read_address(pool["end"], "allocation_pools")
        said = f"{start}-{end}"
        if start.version != network.version or end.version != network.version or int(start) > int(end):
            raise Invalid(f"The allocation pool {said} is not valid.", name="InvalidAllocationPool")
        if int(start) < int(first) or int(end) > int(last):
            raise Invalid(
                f"The allocation pool {said} spans beyond the subnet cidr {network}.",
                name="OutOfBoundsAllocationPool",
            )
        if gateway_ip is not None and int(start) <= int(ip_address(gateway_ip)) <= int(end):
            raise Conflict(
                f"Gateway ip {gateway_ip} conflicts with allocation pool {said}.",
                name="GatewayConflictWithAllocationPools",
            )
        found.append((int(start), int(end), {"start": str(start), "end": str(end)}))
    found.sort(key=lambda entry: entry[0])
    for before, after in itertools.pairwise(found):
        if after[0] <= before[1]:
            raise Conflict(
                f"Found overlapping allocation pools for subnet {network}.", name="OverlappingAllocationPools"
            )
    return [pool for _, _, pool in found]


def pools(subnet: Subnet) -> list[Pool]:
    """The pools of a stored subnet, as far as positions reach."""
    base = int(ip_address(subnet.cidr.partition("/")[0]))
    bounds = [(int(ip_address(p["start"])) - base, int(ip_address(p["end"])) - base) for p in subnet.allocation_pools]
    return [Pool(first, min(last, FARTHEST - 1)) for first, last in bounds if first < FARTHEST]


def position_of(cidr: str, address: str) -> int:
    """How far an address is from the subnet's first one. Raises ``Invalid`` if it is none that a port can have."""
    wanted = read_address(address)
    network = ip_network(cidr)
    first, last = host_bounds(network)
    if wanted.version != network.version or not int(first) <= int(wanted) <= int(last):
        raise Invalid(f"IP address {wanted} is not a valid IP for the specified subnet.", name="InvalidIpForSubnet")
    return min(int(wanted) - int(network.network_address), FARTHEST)


def holds(cidr: str, address: str) -> bool:
    """Whether the address is one of the subnet's."""
    return read_address(address) in ip_network(cidr)


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
