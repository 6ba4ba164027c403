"""Addresses as numbers and back."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.model.clock import Ids
from kilonova.model.errors import Invalid, Misconfigured
from kilonova.network.addresses import (
    address_at,
    gateway,
    host_address,
    new_mac,
    parse_cidr,
    pool,
    pool_bounds,
    position_of,
)


def test_the_gateway_is_not_given_away() -> None:
    network = parse_cidr("10.0.0.0/29")
    first, last = pool_bounds(network)
    assert (str(gateway(network)), str(first), str(last)) == ("10.0.0.1", "10.0.0.2", "10.0.0.6")
    bounds = pool("10.0.0.0/29", str(first), str(last))
    assert [p in bounds for p in (0, 1, 2, 6, 7)] == [False, False, True, True, False]
    assert host_address("10.0.0.0/29", "10.0.0.1") == "10.0.0.1/29"


@pytest.mark.parametrize("cidr", ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.0/4", "fd00::/64", "x", ""])
def test_unusable_subnets_name_the_option(cidr: str) -> None:
    with pytest.raises(Misconfigured, match=r"network\.cidr"):
        parse_cidr(cidr)


@given(st.integers(0, 65_535))
def test_positions_and_addresses_are_the_same_thing(position: int) -> None:
    assert position_of("10.200.0.0/16", address_at("10.200.0.0/16", position)) == position


@pytest.mark.parametrize("address", ["10.201.0.1", "::1", "x", "10.200.0"])
def test_foreign_addresses_are_invalid(address: str) -> None:
    with pytest.raises(Invalid):
        position_of("10.200.0.0/16", address)


def test_mac_addresses() -> None:
    ids = Ids(Random(1))
    macs = {new_mac(ids) for _ in range(50)}
    assert len(macs) == 50 and all(mac.startswith("fa:16:3e:") and len(mac) == 17 for mac in macs)
