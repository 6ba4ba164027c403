"""Servers and the network service together: their networks, security groups, interfaces and floating addresses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import Connection

from kilonova import network
from kilonova.database import actions, engine
from kilonova.database.flavors import seed_flavors
from kilonova.hypervisor.fake.settings import Fault
from kilonova.messaging.contract import ListHostWork, Message
from kilonova.model.action import ActionState
from kilonova.model.errors import Unavailable
from kilonova.model.guest import Nic
from kilonova.network import SHARED_NETWORK_ID, EmbeddedNetworks, NetworkSettings
from tests.functional.network_api import Networking
from tests.simulation.world import CALLERS, IMAGE, Client, Tokens, World

UNKNOWN = "99999999-9999-4999-8999-999999999999"


class Networked(World):
    """A world with the embedded network service."""

    def make_networks(self) -> Any:
        return EmbeddedNetworks(self.database, self.clock, self.ids, NetworkSettings())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = Networked(tmp_path)
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    await world.networks.bootstrap("p0")
    yield world
    await world.stop()


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)


@pytest.fixture
async def net(world: World) -> AsyncIterator[Networking]:
    """The same user's view of the network service."""
    application: Any = network.application(world.networks, tokens=Tokens(CALLERS))
    transport = httpx.ASGITransport(application, root_path="/network")
    headers = {"x-auth-token": "member"}
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud", headers=headers) as http:
        yield Networking(http)


async def subnet_on(net: Networking, cidr: str = "10.1.0.0/24") -> str:
    made = (await net.make("network", name=f"n-{cidr}"))["id"]
    await net.make("subnet", network_id=made, ip_version=4, cidr=cidr)
    return str(made)


def plugged(world: World, server_id: str) -> list[str]:
    """The ports whose cards the guest has on its host."""
    for driver in world.drivers.values():
        if server_id in driver._guests:
            return [nic.port_id for nic in driver.nics(server_id)]
    return []


async def interfaces(client: Client, server_id: str) -> list[dict[str, Any]]:
    answer = await client("GET", f"/servers/{server_id}/os-interface")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["interfaceAttachments"]
    return found


async def until_plugged(world: World, client: Client, server_id: str, ports: list[str]) -> None:
    async with asyncio.timeout(60):
        while (
            plugged(world, server_id) != ports or [p["port_id"] for p in await interfaces(client, server_id)] != ports
        ):
            await asyncio.sleep(0.05)
    await client.until(server_id, "ACTIVE")


# --- creating ----------------------------------------------------------------------------------------------


async def test_networks_of_a_new_server(world: World, client: Client, net: Networking) -> None:
    own = await subnet_on(net)
    port = await net.make("port", network_id=SHARED_NETWORK_ID, security_groups=[])
    networks = [
        {"uuid": own, "fixed_ip": "10.1.0.77", "tag": "first"},
        {"port": port["id"]},
        {"uuid": SHARED_NETWORK_ID},
    ]
    server_id = await client.boot(networks=networks)
    server = await client.until(server_id, "ACTIVE")
    assert [entry["addr"] for entry in server["addresses"]["n-10.1.0.0/24"]] == ["10.1.0.77"]
    assert len(server["addresses"]["private"]) == 2
    found = await interfaces(client, server_id)
    assert [entry["net_id"] for entry in found] == [own, SHARED_NETWORK_ID, SHARED_NETWORK_ID]
    assert [entry["tag"] for entry in found] == ["first", None, None] and found[1]["port_id"] == port["id"]
    assert plugged(world, server_id) == [entry["port_id"] for entry in found]
    assert (await net(f"GET ports?device_id={server_id}"))["ports"][0]["status"] == "ACTIVE"
    await client("DELETE", f"/servers/{server_id}")
    await client.until_gone(server_id)
    assert [entry["id"] for entry in (await net("GET ports"))["ports"]] == [port["id"]]


async def test_auto_and_none(world: World, client: Client, net: Networking) -> None:
    shared = await client.boot("shared")
    assert list((await client.until(shared, "ACTIVE"))["addresses"]) == ["private"]
    none = await client.boot("none", networks="none")
    server = await client.until(none, "ACTIVE")
    assert server["addresses"] == {} and "security_groups" not in server
    await subnet_on(net)
    own = await client.boot("own")
    assert list((await client.until(own, "ACTIVE"))["addresses"]) == ["n-10.1.0.0/24"]
    await subnet_on(net, "10.2.0.0/24")
    body = {"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
    answer = await client("POST", "/servers", body)
    assert answer.status_code == 409 and "Multiple possible networks" in answer.text


async def test_what_a_create_may_not_ask_for(client: Client, net: Networking) -> None:
    own = await subnet_on(net)
    port = (await net.make("port", network_id=own))["id"]
    bare = (await net.make("port", network_id=own, fixed_ips=[]))["id"]
    used = (await net.make("port", network_id=own, device_id="something"))["id"]
    empty = (await net.make("network", name="empty"))["id"]
    public = (await net("GET networks?router:external=True"))["networks"][0]["id"]
    taken = (await net(f"GET ports/{port}"))["port"]["fixed_ips"][0]["ip_address"]
    cases: list[tuple[int, Any, dict[str, Any]]] = [
        (400, [{"uuid": UNKNOWN}], {}),
        (400, [{"port": UNKNOWN}], {}),
        (400, [{"port": port, "fixed_ip": "10.1.0.9"}], {}),
        (400, [{"port": port}, {"port": port}], {}),
        (400, [{"port": bare}], {}),
        (409, [{"port": used}], {}),
        (400, [{"uuid": empty}], {}),
        (403, [{"uuid": public}], {}),
        (400, [{"uuid": own, "fixed_ip": taken}], {}),
        (400, [{"uuid": own, "fixed_ip": "10.9.0.1"}], {}),
        (400, [{"uuid": own, "fixed_ip": "10.1.0.9"}], {"max_count": 2}),
        (400, [{"port": port}], {"max_count": 2}),
        (400, [{}], {}),
        (400, "auto", {"security_groups": [{"name": "nobody's"}]}),
    ]
    for status, networks, more in cases:
        body = {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": networks, **more}
        answer = await client("POST", "/servers", {"server": body})
        assert answer.status_code == status, (networks, more, answer.text)
    assert (await client("GET", "/servers")).json()["servers"] == []


# --- security groups ---------------------------------------------------------------------------------------


async def test_security_groups_of_a_server(client: Client, net: Networking) -> None:
    web = (await net.make("security_group", name="web"))["id"]
    other = (await net.make("security_group", name="other"))["id"]
    server_id = await client.boot(security_groups=[{"name": "web"}, {"name": other}])
    asked = (await client.show(server_id))["security_groups"]
    assert {group["name"] for group in asked} == {"web", other}  # as they were asked for, until the server has ports
    server = await client.until(server_id, "ACTIVE")
    assert [group["name"] for group in server["security_groups"]] == ["other", "web"]
    (port,) = (await net(f"GET ports?device_id={server_id}"))["ports"]
    assert set(port["security_groups"]) == {web, other}
    await net.refused("SecurityGroupInUse", f"DELETE security-groups/{web}")

    async def act(action: str, name: str) -> int:
        return (await client("POST", f"/servers/{server_id}/action", {action: {"name": name}})).status_code

    async def shown() -> list[str]:
        listed = (await client("GET", f"/servers/{server_id}/os-security-groups")).json()["security_groups"]
        names = [group["name"] for group in listed]
        assert names == [group["name"] for group in (await client.show(server_id)).get("security_groups", [])]
        return names

    assert await act("removeSecurityGroup", "web") == 202
    assert await shown() == ["other"]
    assert await act("removeSecurityGroup", "web") == 404
    assert await act("addSecurityGroup", "default") == 202
    assert await act("addSecurityGroup", "default") == 202
    assert await shown() == ["default", "other"]
    assert await act("addSecurityGroup", "nobody's") == 404
    assert await act("addSecurityGroup", " ") == 400
    await net.make("security_group", name="other")
    assert await act("addSecurityGroup", "other") == 409
    await net(f"PUT security-groups/{other}", {"security_group": {"name": "renamed"}})
    assert await shown() == ["default", "renamed"]
    await net(f"PUT ports/{port['id']}", {"port": {"security_groups": [web]}})
    assert await shown() == ["web"]
    await net.make("security_group_rule", security_group_id=web, direction="ingress", protocol="tcp")
    (group,) = (await client("GET", f"/servers/{server_id}/os-security-groups")).json()["security_groups"]
    (rule,) = group["rules"]
    assert (rule["from_port"], rule["to_port"], rule["ip_range"]) == (1, 65535, {"cidr": "0.0.0.0/0"})
    answer = await client("GET", f"/servers/{server_id}/os-security-groups", token="other")
    assert answer.status_code == 404


async def test_a_server_whose_ports_existed_has_their_groups(client: Client, net: Networking) -> None:
    web = (await net.make("security_group", name="web"))["id"]
    port = (await net.make("port", network_id=SHARED_NETWORK_ID, security_groups=[web]))["id"]
    server_id = await client.boot(networks=[{"port": port}], security_groups=[{"name": "default"}])
    server = await client.until(server_id, "ACTIVE")
    assert [group["name"] for group in server["security_groups"]] == ["web"]


# --- interfaces --------------------------------------------------------------------------------------------


async def test_attach_and_detach(world: World, client: Client, net: Networking) -> None:
    own = await subnet_on(net)
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    await client.until(server_id, "ACTIVE")
    (first,) = await interfaces(client, server_id)
    path = f"/servers/{server_id}/os-interface"
    wanted = {"net_id": own, "fixed_ips": [{"ip_address": "10.1.0.50"}], "tag": "t"}
    answer = await client("POST", path, {"interfaceAttachment": wanted})
    assert answer.status_code == 200, answer.text
    made = answer.json()["interfaceAttachment"]
    assert made["net_id"] == own and made["fixed_ips"][0]["ip_address"] == "10.1.0.50" and made["tag"] == "t"
    await until_plugged(world, client, server_id, [first["port_id"], made["port_id"]])
    assert (await client.show(server_id))["addresses"]["n-10.1.0.0/24"][0]["addr"] == "10.1.0.50"
    shown = await client("GET", f"{path}/{made['port_id']}", version="2.69")
    assert shown.status_code == 200 and "tag" not in shown.json()["interfaceAttachment"]
    existing = (await net.make("port", network_id=own, name="mine"))["id"]
    assert (await client("POST", path, {"interfaceAttachment": {"port_id": existing}})).status_code == 200
    await until_plugged(world, client, server_id, [first["port_id"], made["port_id"], existing])
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [action["action"] for action in actions] == ["attach_interface", "attach_interface", "create"]

    assert (await client("DELETE", f"{path}/{made['port_id']}")).status_code == 202
    await until_plugged(world, client, server_id, [first["port_id"], existing])
    assert [entry["id"] for entry in (await net(f"GET ports?network_id={own}"))["ports"]] == [existing]
    assert (await client("DELETE", f"{path}/{existing}")).status_code == 202
    await until_plugged(world, client, server_id, [first["port_id"]])
    assert (await net(f"GET ports/{existing}"))["port"]["device_id"] == ""  # it was there before, and still is
    assert list((await client.show(server_id))["addresses"]) == ["private"]
    assert (await client("DELETE", f"{path}/{existing}")).status_code == 404
    assert (await client("GET", f"{path}/{existing}")).status_code == 404
    await client("DELETE", f"/servers/{server_id}")
    await client.until_gone(server_id)
    assert [entry["id"] for entry in (await net("GET ports"))["ports"]] == [existing]


async def test_attach_what_cannot_be(client: Client, net: Networking) -> None:
    own = await subnet_on(net)
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    await client.until(server_id, "ACTIVE")
    used = (await net.make("port", network_id=own, device_id="something"))["id"]
    port = await net.make("port", network_id=own)
    public = (await net("GET networks?router:external=True"))["networks"][0]["id"]
    taken = [{"ip_address": port["fixed_ips"][0]["ip_address"]}]
    cases: list[tuple[int, dict[str, Any]]] = [
        (404, {"net_id": UNKNOWN}),
        (404, {"port_id": UNKNOWN}),
        (409, {"port_id": used}),
        (400, {"port_id": port["id"], "net_id": own}),
        (400, {"fixed_ips": [{"ip_address": "10.1.0.9"}]}),
        (400, {"net_id": own, "fixed_ips": [{"ip_address": "10.9.0.9"}]}),
        (409, {"net_id": own, "fixed_ips": taken}),
        (403, {"net_id": public}),
        (400, {"net_id": "nonsense"}),
        (400, {"surprise": 1}),
    ]
    before = await client.show(server_id)
    for status, wanted in cases:
        answer = await client("POST", f"/servers/{server_id}/os-interface", {"interfaceAttachment": wanted})
        assert answer.status_code == status, (wanted, answer.text)
    assert await client.show(server_id) == before
    tagged = {"interfaceAttachment": {"net_id": own, "tag": "t"}}
    assert (await client("POST", f"/servers/{server_id}/os-interface", tagged, version="2.48")).status_code == 400
    for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{port['id']}"), ("DELETE", f"/{port['id']}")):
        body = {"interfaceAttachment": {"net_id": SHARED_NETWORK_ID}} if method == "POST" else None
        answer = await client(method, f"/servers/{server_id}/os-interface{path}", body, token="other")
        assert answer.status_code == 404, answer.text


async def test_an_administrator_puts_a_card_on_an_external_network(
    world: World, client: Client, net: Networking
) -> None:
    server_id = await client.boot(networks="none")
    await client.until(server_id, "ACTIVE")
    public = (await net("GET networks?router:external=True"))["networks"][0]["id"]
    body = {"interfaceAttachment": {"net_id": public}}
    refused = await client("POST", f"/servers/{server_id}/os-interface", body)
    assert refused.status_code == 403
    made = await client("POST", f"/servers/{server_id}/os-interface", body, token="admin")
    assert made.status_code == 200, made.text
    await until_plugged(world, client, server_id, [made.json()["interfaceAttachment"]["port_id"]])
    assert list((await client.show(server_id))["addresses"]) == ["public"]


async def test_without_a_body_the_own_network_is_meant(world: World, client: Client, net: Networking) -> None:
    server_id = await client.boot(networks="none")
    await client.until(server_id, "ACTIVE")
    answer = await client("POST", f"/servers/{server_id}/os-interface", {"interfaceAttachment": {}})
    assert answer.json()["interfaceAttachment"]["net_id"] == SHARED_NETWORK_ID
    await until_plugged(world, client, server_id, [answer.json()["interfaceAttachment"]["port_id"]])
    server = await client.show(server_id)
    assert [group["name"] for group in server["security_groups"]] == ["default"]


async def test_a_host_that_cannot_plug(world: World, client: Client, net: Networking) -> None:
    """The port that the request made is given back, and the server is as it was."""
    own = await subnet_on(net)
    port = (await net.make("port", network_id=own))["id"]
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    before = await client.until(server_id, "ACTIVE")
    (first,) = await interfaces(client, server_id)
    for wanted in ({"net_id": own}, {"port_id": port}):
        for driver in world.drivers.values():
            driver._faults.clear()
            driver.inject(Fault(verb="change_nics", message="no slot", times=1))
        answer = await client("POST", f"/servers/{server_id}/os-interface", {"interfaceAttachment": wanted})
        assert answer.status_code == 200, answer.text
        await until_plugged(world, client, server_id, [first["port_id"]])
    assert (await client.show(server_id))["addresses"] == before["addresses"]
    assert [entry["id"] for entry in (await net(f"GET ports?network_id={own}"))["ports"]] == [port]
    assert (await net(f"GET ports/{port}"))["port"]["device_id"] == ""


async def test_a_card_that_was_attached_during_a_comparison_stays(
    world: World, client: Client, net: Networking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's list, and the conductor's answer, are older than the card."""
    own = await subnet_on(net)
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    (first,) = await interfaces(client, server_id)
    await until_plugged(world, client, server_id, [first["port_id"]])
    driver = world.drivers[host]
    await driver.change_nics(server_id, [])  # the comparison has something to mend
    conductor = world.agents[host]._conductor
    ask, attached = conductor.ask, []

    async def slow(question: Message, *more: Any, **options: Any) -> Any:
        answer = await ask(question, *more, **options)
        if isinstance(question, ListHostWork) and not attached:
            body = {"interfaceAttachment": {"net_id": own}}
            attached.append((await client("POST", f"/servers/{server_id}/os-interface", body)).json())
            await until_plugged(world, client, server_id, [first["port_id"], port_of(attached[0])])
        return answer

    monkeypatch.setattr(conductor, "ask", slow)
    await world.agents[host]._reconciler.once(taking_over=False)
    assert plugged(world, server_id) == [first["port_id"], port_of(attached[0])]


def port_of(answer: dict[str, Any]) -> str:
    return str(answer["interfaceAttachment"]["port_id"])


async def test_an_attach_that_a_delete_ended_is_not_there_after_a_restore(tmp_path: Path) -> None:
    world = Networked(tmp_path, actions={"reclaim_instance_interval": 3600})
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    await world.networks.bootstrap("p0")
    client = Client(world)
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    await client.until(server_id, "ACTIVE")
    (first,) = await interfaces(client, server_id)
    for driver in world.drivers.values():
        driver.inject(Fault(verb="change_nics", message="it takes for ever", hang=True, times=1))
    path = f"/servers/{server_id}"
    body = {"interfaceAttachment": {"net_id": SHARED_NETWORK_ID}}
    assert (await client("POST", f"{path}/os-interface", body)).status_code == 200
    assert len(await interfaces(client, server_id)) == 2
    assert (await client("DELETE", path)).status_code == 204
    await client.until(server_id, "SOFT_DELETED")
    assert (await client("POST", f"{path}/action", {"restore": None}, token="admin")).status_code == 202
    await until_plugged(world, client, server_id, [first["port_id"]])
    await world.stop()


async def test_one_change_at_a_time(world: World, client: Client, net: Networking) -> None:
    own = await subnet_on(net)
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    await client.until(server_id, "ACTIVE")
    body = {"interfaceAttachment": {"net_id": own}}
    answers = await asyncio.gather(*(client("POST", f"/servers/{server_id}/os-interface", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await interfaces(client, server_id)) == 2
    await client.until(server_id, "ACTIVE")


# --- floating addresses ------------------------------------------------------------------------------------


async def test_floating_addresses_show_at_the_server(client: Client, net: Networking) -> None:
    server_id = await client.boot(networks=[{"uuid": SHARED_NETWORK_ID}])
    await client.until(server_id, "ACTIVE")
    (port,) = await interfaces(client, server_id)
    public = (await net("GET networks?router:external=True"))["networks"][0]["id"]
    made = await net.make("floatingip", floating_network_id=public, port_id=port["port_id"])

    async def kinds() -> dict[str, str]:
        entries = (await client.show(server_id))["addresses"]["private"]
        return {entry["OS-EXT-IPS:type"]: entry["addr"] for entry in entries}

    fixed = port["fixed_ips"][0]["ip_address"]
    assert await kinds() == {"fixed": fixed, "floating": made["floating_ip_address"]}
    await net(f"PUT floatingips/{made['id']}", {"floatingip": {"port_id": None}})
    assert await kinds() == {"fixed": fixed}
    await net(f"PUT floatingips/{made['id']}", {"floatingip": {"port_id": port["port_id"]}})
    await client("POST", f"/servers/{server_id}/action", {"os-stop": None})
    await client.until(server_id, "SHUTOFF")
    await net(f"DELETE floatingips/{made['id']}", status=204)
    assert await kinds() == {"fixed": fixed}


async def test_a_server_on_a_full_subnet_fails_and_says_why(world: World, client: Client, net: Networking) -> None:
    """The lease and the ports are one transaction; where there are no ports, the step fails under a lease all the same."""
    network_id = await subnet_on(net, "10.9.0.0/30")  # the gateway and one more
    first = await client.boot("first", networks=[{"uuid": network_id}])
    await client.until(first, "ACTIVE")
    second = await client.boot("second", networks=[{"uuid": network_id}, {"uuid": SHARED_NETWORK_ID}])
    failed = await client.until(second, "ERROR")
    assert "No more IP addresses available" in failed["fault"]["message"]
    assert failed["addresses"] == {}
    ports = [port["device_id"] for port in (await net("GET ports"))["ports"]]
    assert first in ports and second not in ports
    [action] = (await client("GET", f"/servers/{second}/os-instance-actions")).json()["instanceActions"]
    assert "No more IP addresses available" in action["message"]


async def test_a_lease_without_its_ports_is_none(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conductor that dies before the addresses stand at the server has not begun the step either."""
    refused: list[tuple[str, int]] = []
    addressed = engine.addressed

    def dying(connection: Connection, action_id: str, server_id: str, nics: Sequence[Nic]) -> bool:
        if not refused:
            found = actions.find(connection, action_id)
            assert found is not None
            refused.append((found.state, len(nics)))
            raise Unavailable("the connection was lost")
        return addressed(connection, action_id, server_id, nics)

    monkeypatch.setattr(engine, "addressed", dying)
    server_id = await client.boot()
    async with asyncio.timeout(60):
        while not refused:
            await asyncio.sleep(0.01)
    [action] = await world.database.run(actions.of_server, server_id)
    assert refused == [(ActionState.RUNNING, 1)]  # within the transaction it had begun
    assert (action.state, action.epoch) == (ActionState.PENDING, 1)
    assert await world.networks.ports_of(server_id) == []
    await client.until(server_id, "ACTIVE")
    assert len(await world.networks.ports_of(server_id)) == 1
