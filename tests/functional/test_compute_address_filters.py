"""Servers listed by a part of their addresses, and by nothing else that is kept with these."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from kilonova.api.compute import servers as routes
from tests.functional.compute_api import Api, compute_api
from tests.functional.compute_rows import insert_server


def _nic(address: str, *more: str) -> dict[str, Any]:
    return {
        "port_id": "10203040-0000-4000-8000-000000000001",
        "network_id": "20203040-0000-4000-8000-000000000001",
        "network_name": "10.9.9.9",
        "mac": "fa:16:3e:00:00:01",
        "address": address,
        "cidr": "10.0.0.0/8",
        "gateway": "10.0.0.1",
        "more_addresses": list(more),
        "floating": [["172.24.4.7", address]],
    }


def _world(connection: Connection) -> None:
    insert_server(connection, "s1", addresses=[_nic("10.100.0.4")])
    insert_server(connection, "s2", addresses=[_nic("10.100.0.40", "10.200.0.7", "2001:db8::7")])
    insert_server(connection, "s3", addresses=[_nic("10.100.1.3"), _nic("192.0.2.4")])
    insert_server(connection, "s4")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path, routes.ROUTES) as found:
        await found.database.run(_world)
        yield found


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("ip=10.100.0.", {"s1", "s2"}),
        ("ip=10.100.0.4", {"s1", "s2"}),
        ("ip=^10.100.0.4$", {"s1"}),
        ("ip=.4$", {"s1", "s3"}),
        ("ip=^10.200", {"s2"}),
        ("ip=100", {"s1", "s2", "s3"}),
        ("ip=^100", set()),
        ("ip=10.100.0.4|192.0", {"s1", "s2", "s3"}),
        ("ip6=2001:db8::7", {"s2"}),
        ("ip6=db8", {"s2"}),
        ("ip6=fa:16", set()),  # a card's
        ("ip=10.0.0", set()),  # the gateway's and the subnet's
        ("ip=10.9.9", set()),  # the network's name
        ("ip=10203040", set()),
        ("ip=172.24.4", set()),  # a floating one
    ],
)
async def test_servers_by_address(api: Api, query: str, names: set[str]) -> None:
    for path in ("/servers", "/servers/detail"):
        found = await api("member", f"GET {path}?{query}")
        assert found.status_code == 200, found.text
        assert {server["name"] for server in found.json()["servers"]} == names
