"""``addFixedIp`` and ``removeFixedIp``: a server's addresses on the networks it has ports on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.front_door import UNKNOWN, Door, front_door
from tests.functional.test_compute_images import ask
from tests.functional.test_compute_networks import body, networked, networked_address, neutron, routed


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with front_door(tmp_path) as opened:
        yield opened


class OnServer:
    """A server with one port, and the two actions."""

    def __init__(self, door: Door, network: str, server_id: str) -> None:
        self.door, self.network, self.id = door, network, server_id

    @classmethod
    async def make(cls, door: Door, network: str | None = None) -> "OnServer":
        network = network or (await routed(door)).network
        return cls(door, network, await networked(door, network))

    async def act(self, action: str, value: Any, who: str = "member", version: int = 43) -> int:
        answer = await ask(self.door, who, f"POST /servers/{self.id}/action", version, {action: value})
        return answer.status_code

    async def addresses(self) -> list[str]:
        found = (await body(self.door, "reader", f"GET /servers/{self.id}/ips"))["addresses"]
        return [entry["addr"] for entry in found.get("n", [])]

    async def port(self) -> dict[str, Any]:
        (port,) = (await neutron(self.door)(f"GET ports?device_id={self.id}"))["ports"]
        return dict(port)


async def test_one_address_more_and_one_less(door: Door) -> None:
    server = await OnServer.make(door)
    (first,) = await server.addresses()
    assert await server.act("addFixedIp", {"networkId": server.network}) == 202
    both = await server.addresses()
    assert both[0] == first and len(set(both)) == 2 and both[1].startswith("10.1.0.")
    assert sorted(entry["ip_address"] for entry in (await server.port())["fixed_ips"]) == sorted(both)
    assert await server.act("removeFixedIp", {"address": first}) == 202
    assert await server.addresses() == both[1:]
    assert await server.act("removeFixedIp", {"address": both[1]}) == 202
    assert await server.addresses() == []
    assert (await server.port())["fixed_ips"] == []
    assert await server.act("addFixedIp", {"networkId": server.network}) == 202
    assert len(await server.addresses()) == 1


async def test_who_may_and_until_when(door: Door) -> None:
    server = await OnServer.make(door)
    for action, value in (
        ("addFixedIp", {"networkId": server.network}),
        ("removeFixedIp", {"address": await networked_address(door, server.id)}),
    ):
        assert await server.act(action, value, "reader") == 403
        assert await server.act(action, value, "stranger") == 404
        assert await server.act(action, value, version=44) == 404
    assert len(await server.addresses()) == 1


@pytest.mark.parametrize(
    ("action", "value", "status"),
    [
        ("addFixedIp", {"networkId": UNKNOWN}, 404),
        ("addFixedIp", {"networkId": 7}, 404),
        ("addFixedIp", {"networkId": ""}, 400),
        ("addFixedIp", {"networkId": "x" * 37}, 400),
        ("addFixedIp", {}, 400),
        ("removeFixedIp", {"address": "192.0.2.1"}, 400),
        ("removeFixedIp", {"address": "x"}, 400),
        ("removeFixedIp", {"address": "10.1.0.300"}, 400),
    ],
)
async def test_what_changes_nothing(door: Door, action: str, value: Any, status: int) -> None:
    server = await OnServer.make(door)
    before = await server.addresses()
    assert await server.act(action, value) == status
    assert await server.addresses() == before


async def test_an_address_that_a_floating_one_stands_for_stays(door: Door) -> None:
    server = await OnServer.make(door)
    (fixed,) = await server.addresses()
    floating = (await body(door, "member", "POST /os-floating-ips"))["floating_ip"]
    assert await server.act("addFloatingIp", {"address": floating["ip"]}) == 202
    assert await server.act("removeFixedIp", {"address": fixed}) == 400
    assert await server.act("removeFloatingIp", {"address": floating["ip"]}) == 202
    assert await server.act("removeFixedIp", {"address": fixed}) == 202


async def test_no_address_is_left(door: Door) -> None:
    net = neutron(door)
    network = (await net.make("network", name="n"))["id"]
    pools = [{"start": "10.1.0.2", "end": "10.1.0.3"}]
    await net.make("subnet", network_id=network, ip_version=4, cidr="10.1.0.0/24", allocation_pools=pools)
    small = await OnServer.make(door, network)
    assert await small.act("addFixedIp", {"networkId": network}) == 202
    before = await small.addresses()
    assert await small.act("addFixedIp", {"networkId": network}) == 400
    assert await small.addresses() == before
    await net.make("subnet", network_id=network, ip_version=4, cidr="10.9.0.0/24")
    assert await small.act("addFixedIp", {"networkId": network}) == 202
    assert (await small.addresses())[-1].startswith("10.9.0.")


async def test_a_locked_server_keeps_its_addresses(door: Door) -> None:
    server = await OnServer.make(door)
    assert await server.act("lock", None) == 202
    assert await server.act("addFixedIp", {"networkId": server.network}) == 409
    assert len(await server.addresses()) == 1
