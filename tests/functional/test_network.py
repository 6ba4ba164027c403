"""The network service: allocation for servers, and the API over HTTP."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Invalid, Misconfigured, NotFound
from kilonova.network import SHARED_NETWORK_ID, SHARED_SUBNET_ID, EmbeddedNetworks, NetworkSettings
from kilonova.network.protocol import RequestedNic
from tests.functional.neighbours import Neighbours, start

DEFAULT = [RequestedNic(network_id=SHARED_NETWORK_ID)]


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Neighbours]:
    """Five addresses for guests."""
    neighbours = await start(tmp_path, cidr="10.0.0.0/29")
    yield neighbours
    await neighbours.close()


@pytest.fixture
async def admin(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token()) as client:
        yield client


@pytest.fixture
async def demo(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token("demo", "demo")) as client:
        yield client


# --- what compute asks -------------------------------------------------------------------------------------


async def test_allocation_is_idempotent_and_follows_the_host(cloud: Neighbours) -> None:
    (nic,) = await cloud.networks.allocate("s1", "p", "host1", DEFAULT)
    assert nic.address == "10.200.0.2" and nic.gateway == "10.200.0.1"
    assert nic.bridge == "knbr0" and nic.host_address == "10.200.0.1/16" and nic.mac.startswith("fa:16:3e:")
    assert nic.network_name == "private"
    assert await cloud.networks.allocate("s1", "p", "host2", DEFAULT) == [nic]
    both = await cloud.networks.allocate("s1", "p", "host2", [*DEFAULT, RequestedNic()])
    assert both[0] == nic and both[1].address == "10.200.0.3"
    await cloud.networks.release("s1")
    await cloud.networks.release("s1")
    (after,) = await cloud.networks.allocate("s1", "p", "host1", DEFAULT)
    assert after.address == "10.200.0.4"  # a freed address rests as long as possible


async def test_full_subnet_and_reuse(small: Neighbours) -> None:
    for number in range(5):
        await small.networks.allocate(f"s{number}", "p", "h", DEFAULT)
    with pytest.raises(Conflict, match="No more IP addresses"):
        await small.networks.allocate("more", "p", "h", DEFAULT)
    await small.networks.release("s2")
    (nic,) = await small.networks.allocate("more", "p", "h", DEFAULT)
    assert nic.address == "10.0.0.4"


async def test_a_failed_allocation_keeps_nothing(small: Neighbours) -> None:
    for number in range(4):
        await small.networks.allocate(f"s{number}", "p", "h", DEFAULT)
    with pytest.raises(Conflict):
        await small.networks.allocate("two", "p", "h", [*DEFAULT, *DEFAULT])
    assert len(await small.networks.allocate("one", "p", "h", DEFAULT)) == 1


async def test_fixed_ip(small: Neighbours) -> None:
    wanted = [RequestedNic(network_id=SHARED_NETWORK_ID, fixed_ip="10.0.0.5")]
    caller = Caller(user_id="u", project_id="p")
    await small.networks.check(caller, wanted)
    (nic,) = await small.networks.allocate("s", "p", "h", wanted)
    assert nic.address == "10.0.0.5"
    with pytest.raises(Invalid, match="in use"):
        await small.networks.check(caller, wanted)
    with pytest.raises(Conflict):
        await small.networks.allocate("t", "p", "h", wanted)
    for address in ("10.0.0.1", "10.0.0.7", "10.9.9.9", "x"):
        with pytest.raises(Invalid):
            await small.networks.check(caller, [RequestedNic(fixed_ip=address)])


async def test_existing_port_is_attached_and_given_back(cloud: Neighbours, demo: httpx.AsyncClient) -> None:
    made = (await demo.post("/network/v2.0/ports", json={"port": {"network_id": SHARED_NETWORK_ID}})).json()["port"]
    project = cloud.bootstrapped.demo_project_id
    wanted = [RequestedNic(port_id=made["id"])]
    await cloud.networks.check(Caller(user_id="u", project_id=project), wanted)
    for caller in (Caller(user_id="u", project_id="other"), Caller(user_id="u", project_id=None)):
        with pytest.raises(Invalid):
            await cloud.networks.check(caller, wanted)
    with pytest.raises(NotFound):
        await cloud.networks.allocate("s0", "other", "h", wanted)
    (nic,) = await cloud.networks.allocate("s1", project, "h", wanted)
    assert nic.mac == made["mac_address"] and nic.address == made["fixed_ips"][0]["ip_address"]
    assert await cloud.networks.allocate("s1", project, "h", wanted) == [nic]
    with pytest.raises(Conflict):
        await cloud.networks.allocate("s2", project, "h", wanted)
    url = f"/network/v2.0/ports/{made['id']}"
    shown = (await demo.get(url)).json()["port"]
    assert shown["device_id"] == "s1" and shown["device_owner"] == "compute:nova" and shown["status"] == "ACTIVE"
    assert "binding:host_id" not in shown
    assert (await demo.delete(url)).status_code == 409
    assert (await demo.put(url, json={"port": {"device_id": "x"}})).status_code == 409
    assert (await demo.put(url, json={"port": {"name": "x"}})).status_code == 200
    await cloud.networks.release("s1")
    shown = (await demo.get(url)).json()["port"]
    assert shown["device_id"] == "" and shown["status"] == "DOWN"
    assert (await demo.delete(url)).status_code == 204


async def test_check_and_defaults(cloud: Neighbours) -> None:
    caller = Caller(user_id="u", project_id="p")
    assert await cloud.networks.default_networks(caller) == DEFAULT
    for bad in (RequestedNic(network_id="nope"), RequestedNic(port_id="nope")):
        with pytest.raises(Invalid):
            await cloud.networks.check(caller, [bad])


async def concurrently(cloud: Neighbours) -> None:
    """Fifty servers at once, each asked for twice, from two services; then every address once."""
    other = EmbeddedNetworks(cloud.database, cloud.clock, cloud.ids, cloud.networks.settings)
    calls = [
        networks.allocate(f"s{number}", "p", "h", DEFAULT)
        for number in range(50)
        for networks in (cloud.networks, other)
    ]
    random.Random(3).shuffle(calls)
    found = await asyncio.gather(*calls)
    ports = {nics[0].port_id: nics[0] for nics in found}
    assert len(ports) == 50
    assert len({nic.address for nic in ports.values()}) == 50
    assert len({nic.mac for nic in ports.values()}) == 50


async def test_fifty_at_once(cloud: Neighbours) -> None:
    await concurrently(cloud)


@pytest.mark.distributed
@pytest.mark.parametrize("system", ["mariadb", "postgresql"])
async def test_fifty_at_once_on_a_server(request: pytest.FixtureRequest, tmp_path: Path, system: str) -> None:
    server = request.getfixturevalue(f"{system}_server")
    url = await asyncio.to_thread(server.create_database, f"fifty_{system}")
    cloud = await start(tmp_path, url)
    try:
        await concurrently(cloud)
    finally:
        await cloud.close()
        await asyncio.to_thread(server.drop_database, f"fifty_{system}")


async def test_bootstrap_follows_the_settings(cloud: Neighbours, admin: httpx.AsyncClient) -> None:
    async def again(**settings: Any) -> Any:
        networks = EmbeddedNetworks(cloud.database, cloud.clock, cloud.ids, NetworkSettings(**settings))
        await networks.bootstrap("p")
        return (await admin.get(f"/network/v2.0/subnets/{SHARED_SUBNET_ID}")).json()["subnet"]

    assert (await again(dns=("9.9.9.9",)))["dns_nameservers"] == ["9.9.9.9"]
    assert (await again(cidr="10.201.0.0/16"))["allocation_pools"] == [
        {"start": "10.201.0.2", "end": "10.201.255.254"}
    ]
    await cloud.networks.allocate("s", "p", "h", DEFAULT)
    with pytest.raises(Misconfigured):
        await again(cidr="10.202.0.0/16")


# --- the API -----------------------------------------------------------------------------------------------


async def test_versions_need_no_token(cloud: Neighbours) -> None:
    async with cloud.client() as client:
        found = (await client.get("/network/")).json()["versions"][0]
        assert found["links"][0]["href"] == "http://cloud.test:8774/network/v2.0/"
        assert (await client.get("/network/v2.0")).status_code == 200
        assert (await client.get("/network/v2.0/networks")).status_code == 401


async def test_networks_and_subnets(demo: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    (network,) = (await demo.get("/network/v2.0/networks", params={"name": "private"})).json()["networks"]
    assert network["shared"] is True and network["subnets"] == [SHARED_SUBNET_ID]
    assert "provider:network_type" not in network
    assert "provider:network_type" in (await admin.get(f"/network/v2.0/networks/{network['id']}")).json()["network"]
    for query in ("name=x", "router:external=True&shared=true", "shared=true&admin_state_up=false", "id=5"):
        assert (await demo.get(f"/network/v2.0/networks?{query}")).json() == {"networks": []}
    found = await demo.get("/network/v2.0/networks?shared=true&fields=id")
    assert found.json() == {"networks": [{"id": SHARED_NETWORK_ID}]}
    subnets = (await demo.get("/network/v2.0/subnets", params={"network_id": network["id"]})).json()["subnets"]
    assert subnets[0]["gateway_ip"] == "10.200.0.1"
    assert (await demo.get("/network/v2.0/networks/nope")).json()["NeutronError"]["type"] == "NetworkNotFound"


async def test_port_life_and_filters(cloud: Neighbours, demo: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    body = {"network_id": SHARED_NETWORK_ID, "name": "a", "fixed_ips": [{"ip_address": "10.200.9.9"}]}
    made = await demo.post("/network/v2.0/ports", json={"port": body})
    port = made.json()["port"]
    assert made.status_code == 201 and port["fixed_ips"][0]["ip_address"] == "10.200.9.9"
    assert (await demo.post("/network/v2.0/ports", json={"port": body})).status_code == 409
    await admin.post("/network/v2.0/ports", json={"port": {"network_id": SHARED_NETWORK_ID, "name": "b"}})

    async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
        answer = await client.get(f"/network/v2.0/ports?{query}")
        assert answer.status_code == 200, answer.text
        return sorted(entry["name"] for entry in answer.json()["ports"] if entry["name"])

    assert await names(demo) == ["a"] and await names(admin) == ["a", "b"]
    assert await names(admin, "fixed_ips=ip_address=10.200.9.9") == ["a"]
    assert await names(admin, f"fixed_ips=subnet_id={SHARED_SUBNET_ID}") == ["a", "b"]
    assert await names(admin, f"project_id={cloud.bootstrapped.demo_project_id}") == ["a"]
    assert await names(admin, f"mac_address={port['mac_address']}&device_id=") == ["a"]
    assert await names(admin, "name=a&name=b") == ["a", "b"]
    first = (await admin.get("/network/v2.0/ports?limit=1&fields=id")).json()
    second = (await admin.get(first["ports_links"][0]["href"])).json()
    assert len(first["ports"]) == len(second["ports"]) == 1 and first["ports"] != second["ports"]
    url = f"/network/v2.0/ports/{port['id']}"
    assert (await demo.put(url, json={"port": {"name": "c"}})).json()["port"]["name"] == "c"
    assert (await demo.delete(url)).status_code == 204
    assert (await demo.get(url)).status_code == 404


async def test_other_projects_ports_do_not_exist(demo: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    made = await admin.post("/network/v2.0/ports", json={"port": {"network_id": SHARED_NETWORK_ID}})
    url = f"/network/v2.0/ports/{made.json()['port']['id']}"
    assert (await demo.get(url)).status_code == 404
    assert (await demo.put(url, json={"port": {"name": "x"}})).status_code == 404
    assert (await demo.delete(url)).status_code == 404
    assert (await admin.get(url)).json()["port"]["name"] == ""


@pytest.mark.parametrize(
    ("status", "port"),
    [
        (400, {}),
        (400, {"network_id": 5}),
        (404, {"network_id": "nope"}),
        (400, {"network_id": SHARED_NETWORK_ID, "evil": 1}),
        (400, {"network_id": SHARED_NETWORK_ID, "name": "x" * 300}),
        (400, {"network_id": SHARED_NETWORK_ID, "mac_address": "x"}),
        (400, {"network_id": SHARED_NETWORK_ID, "fixed_ips": [{"ip_address": "1.1.1.1"}]}),
        (400, {"network_id": SHARED_NETWORK_ID, "fixed_ips": [{"ip_address": "10.200.0.1"}]}),
        (400, {"network_id": SHARED_NETWORK_ID, "fixed_ips": [{"subnet_id": "other"}]}),
        (403, {"network_id": SHARED_NETWORK_ID, "device_owner": "compute:nova"}),
        (403, {"network_id": SHARED_NETWORK_ID, "project_id": "other"}),
        (404, {"network_id": SHARED_NETWORK_ID, "security_groups": ["other"]}),
    ],
)
async def test_bad_ports(demo: httpx.AsyncClient, status: int, port: dict[str, Any]) -> None:
    answer = await demo.post("/network/v2.0/ports", json={"port": port})
    assert answer.status_code == status, answer.text
    assert "NeutronError" in answer.json()
    assert (await demo.get("/network/v2.0/ports")).json()["ports"] == []


async def test_port_quota(demo: httpx.AsyncClient) -> None:
    body = {"port": {"network_id": SHARED_NETWORK_ID}}
    answers = [(await demo.post("/network/v2.0/ports", json=body)).status_code for _ in range(6)]
    assert answers == [201] * 5 + [409]
