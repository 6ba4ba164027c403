"""Addresses as numbers and back."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.model.clock import Ids
from kilonova.model.errors import Invalid, Misconfigured
from kilonova.model.network import Subnet
from kilonova.network.addresses import (
    address_at,
    default_pools,
    gateway,
    host_address,
    new_mac,
    parse_cidr,
    pools,
    position_of,
    read_cidr,
)


def test_the_gateway_is_not_given_away() -> None:
    network = parse_cidr("10.0.0.0/29")
    assert str(gateway(network)) == "10.0.0.1"
    assert default_pools(network, "10.0.0.1") == [{"start": "10.0.0.2", "end": "10.0.0.6"}]
    subnet = Subnet(
        id="s",
        project_id="p",
        network_id="n",
        name="",
        ip_version=4,
        cidr="10.0.0.0/29",
        gateway_ip="10.0.0.1",
        enable_dhcp=False,
        allocation_pools=default_pools(network, "10.0.0.1"),
    )
    (bounds,) = pools(subnet)
    assert [p in bounds for p in (0, 1, 2, 6, 7)] == [False, False, True, True, False]
    assert host_address("10.0.0.0/29", "10.0.0.1") == "10.0.0.1/29"


@pytest.mark.parametrize(
    ("cidr", "gateway_ip", "expected"),
    [
        ("10.0.0.0/30", "10.0.0.2", [("10.0.0.1", "10.0.0.1")]),
        ("10.0.0.0/29", "10.0.0.3", [("10.0.0.1", "10.0.0.2"), ("10.0.0.4", "10.0.0.6")]),
        ("10.0.0.0/29", None, [("10.0.0.1", "10.0.0.6")]),
        ("10.0.0.0/29", "10.9.9.9", [("10.0.0.1", "10.0.0.6")]),
        ("10.0.0.0/31", None, [("10.0.0.0", "10.0.0.1")]),
        ("2001:db8::/126", "2001:db8::1", [("2001:db8::2", "2001:db8::3")]),
    ],
)
def test_pools_that_nobody_asked_for(cidr: str, gateway_ip: str | None, expected: list[tuple[str, str]]) -> None:
    network = read_cidr(cidr, 6 if ":" in cidr else 4)
    assert default_pools(network, gateway_ip) == [{"start": start, "end": end} for start, end in expected]


@pytest.mark.parametrize("cidr", ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.0/4", "fd00::/64", "x", ""])
def test_unusable_subnets_name_the_option(cidr: str) -> None:
    with pytest.raises(Misconfigured, match=r"network\.cidr"):
        parse_cidr(cidr)


@given(st.integers(1, 65_534))
def test_positions_and_addresses_are_the_same_thing(position: int) -> None:
    assert position_of("10.200.0.0/16", address_at("10.200.0.0/16", position)) == position


@pytest.mark.parametrize("address", ["10.201.0.1", "::1", "x", "10.200.0", "10.200.0.0", "10.200.255.255"])
def test_foreign_addresses_are_invalid(address: str) -> None:
    with pytest.raises(Invalid):
        position_of("10.200.0.0/16", address)


def test_mac_addresses() -> None:
    ids = Ids(Random(1))
    macs = {new_mac(ids) for _ in range(50)}
    assert len(macs) == 50 and all(mac.startswith("fa:16:3e:") and len(mac) == 17 for mac in macs)
