"""Trunks over HTTP: a port that carries the networks of others."""

from pathlib import Path
from typing import Any

import pytest

from kilonova.network import SHARED_NETWORK_ID
from kilonova.network.protocol import RequestedNic
from tests.functional.neighbours import Neighbours, on_a_server
from tests.functional.network_api import Networking, networking

UNKNOWN = "99999999-9999-4999-8999-999999999999"


async def port(client: Networking, name: str = "p") -> str:
    return str((await client.make("port", network_id=SHARED_NETWORK_ID, name=name))["id"])


async def state(client: Networking, port_id: str) -> tuple[str, str, str]:
    shown = (await client(f"GET ports/{port_id}"))["port"]
    return shown["status"], shown["device_owner"], shown["device_id"]


def under(port_id: str, number: int | str = 42) -> dict[str, Any]:
    return {"port_id": port_id, "segmentation_type": "vlan", "segmentation_id": number}


async def test_life_of_a_trunk(demo: Networking) -> None:
    parent, one, two = await port(demo, "parent"), await port(demo), await port(demo)
    made = await demo.make("trunk", name="t", port_id=parent, sub_ports=[under(one)])
    url = f"trunks/{made['id']}"
    assert (made["port_id"], made["status"], made["sub_ports"]) == (parent, "DOWN", [under(one)])
    assert (await demo(f"GET {url}"))["trunk"] == made
    assert (await demo("GET trunks?name=t"))["trunks"] == [made]
    assert (await demo(f"GET trunks?port_id={one}"))["trunks"] == []
    assert await state(demo, one) == ("DOWN", "trunk:subport", made["id"])
    changed = (await demo(f"PUT {url}", {"trunk": {"name": "u", "description": "d"}}))["trunk"]
    assert (changed["name"], changed["description"], changed["revision_number"]) == ("u", "d", 1)
    more = await demo(f"PUT {url}/add_subports", {"sub_ports": [under(two, "7")]})
    assert more["sub_ports"] == [under(two, 7), under(one)] and more["id"] == made["id"]
    assert (await demo(f"GET {url}/get_subports"))["sub_ports"] == more["sub_ports"]
    less = await demo(f"PUT {url}/remove_subports", {"sub_ports": [{"port_id": one}]})
    assert less["sub_ports"] == [under(two, 7)]
    assert await state(demo, one) == ("DOWN", "", "")
    await demo(f"PUT {url}/tags/blue")
    assert (await demo("GET trunks?tags=blue"))["trunks"][0]["tags"] == ["blue"]
    await demo(f"DELETE {url}")
    await demo.refused("TrunkNotFound", f"GET {url}", status=404)
    assert await state(demo, two) == ("DOWN", "", "")
    for port_id in (parent, one, two):
        await demo(f"DELETE ports/{port_id}")


async def test_what_a_trunk_cannot_carry(demo: Networking, other: Networking, cloud: Neighbours) -> None:
    parent, one, theirs = await port(demo), await port(demo), await port(other)
    for fault, status, body in (
        ("PortNotFound", 404, {"port_id": UNKNOWN}),
        ("PortNotFound", 404, {"port_id": theirs}),
        ("PortNotFound", 404, {"port_id": parent, "sub_ports": [under(theirs)]}),
        ("ParentPortInUse", 409, {"port_id": parent, "sub_ports": [under(parent)]}),
        ("PortInUseAsSubPort", 409, {"port_id": parent, "sub_ports": [under(one), under(one, 43)]}),
        ("DuplicateSubPort", 409, {"port_id": parent, "sub_ports": [under(one), under(await port(demo))]}),
    ):
        await demo.refused(fault, "POST trunks", {"trunk": body}, status=status)
    for wrong in (
        {},
        {"port_id": parent, "sub_ports": [{"port_id": one}]},
        {"port_id": parent, "sub_ports": [under(one, 0)]},
        {"port_id": parent, "sub_ports": [under(one, "4095")]},
        {"port_id": parent, "sub_ports": [{**under(one), "segmentation_type": "vxlan"}]},
        {"port_id": parent, "name": "x" * 256},
    ):
        await demo("POST trunks", {"trunk": wrong}, status=400)
    assert (await demo("GET trunks"))["trunks"] == []
    assert await state(demo, one) == ("DOWN", "", "")
    trunk = await demo.make("trunk", port_id=parent)
    await demo.refused("PortInUseAsTrunkParent", "POST trunks", {"trunk": {"port_id": parent}})
    await demo.refused("PortInUseAsTrunkParent", f"DELETE ports/{parent}")
    project = cloud.bootstrapped.demo_project_id
    (nic,) = await cloud.networks.allocate("s1", project, "h", [RequestedNic(port_id=one)])
    assert nic.port_id == one
    await demo.refused("PortInUse", f"PUT trunks/{trunk['id']}/add_subports", {"sub_ports": [under(one)]})
    await demo.refused("ParentPortInUse", "POST trunks", {"trunk": {"port_id": one}})
    gone = {"sub_ports": [{"port_id": one}]}
    await demo.refused("SubPortNotFound", f"PUT trunks/{trunk['id']}/remove_subports", gone, status=404)
    await demo(f"PUT trunks/{trunk['id']}", {"trunk": {"admin_state_up": False}})
    await demo.refused("TrunkDisabled", f"PUT trunks/{trunk['id']}/add_subports", {"sub_ports": []})


async def test_a_subport_is_its_trunks(demo: Networking) -> None:
    parent, one = await port(demo), await port(demo)
    trunk = await demo.make("trunk", port_id=parent, sub_ports=[under(one)])
    await demo.refused("PortInUseAsSubPort", f"DELETE ports/{one}")
    await demo.refused("PortInUse", f"PUT ports/{one}", {"port": {"device_id": "mine"}})
    free = await port(demo)
    await demo(f"PUT ports/{free}", {"port": {"device_owner": "trunk:subport"}}, status=403)
    router = (await demo.make("router"))["id"]
    for port_id in (parent, one):
        await demo(f"PUT routers/{router}/add_router_interface", {"port_id": port_id}, status=409)
    assert await state(demo, one) == ("DOWN", "trunk:subport", trunk["id"])


async def test_others_see_no_trunk(demo: Networking, other: Networking) -> None:
    trunk = await demo.make("trunk", port_id=await port(demo))
    url = f"trunks/{trunk['id']}"
    assert (await other("GET trunks"))["trunks"] == []
    for call, body in (
        (f"GET {url}", None),
        (f"GET {url}/get_subports", None),
        (f"PUT {url}", {"trunk": {"name": "theirs"}}),
        (f"PUT {url}/add_subports", {"sub_ports": [under(await port(other))]}),
        (f"DELETE {url}", None),
    ):
        await other.refused("TrunkNotFound", call, body, status=404)
    assert (await demo(f"GET {url}"))["trunk"] == trunk


async def test_subports_follow_their_parent(cloud: Neighbours, demo: Networking) -> None:
    await following(cloud, demo)


@pytest.mark.distributed
@pytest.mark.parametrize("system", ["mariadb", "postgresql"])
async def test_subports_follow_on_a_server(request: pytest.FixtureRequest, tmp_path: Path, system: str) -> None:
    async with on_a_server(request, tmp_path, system) as cloud, networking(cloud) as demo:
        await following(cloud, demo)


async def following(cloud: Neighbours, demo: Networking) -> None:
    """Bound, moved and given back with the port that is the server's card."""
    parent, one, late = await port(demo), await port(demo), await port(demo)
    trunk = await demo.make("trunk", port_id=parent, sub_ports=[under(one)])
    project, url = cloud.bootstrapped.demo_project_id, f"trunks/{trunk['id']}"
    asked = [RequestedNic(port_id=parent)]
    await cloud.networks.allocate("s1", project, "h1", asked)
    assert (await demo(f"GET {url}"))["trunk"]["status"] == "ACTIVE"
    await demo(f"PUT {url}/add_subports", {"sub_ports": [under(late, 43)]})
    await demo.refused("TrunkInUse", f"DELETE {url}")
    await cloud.networks.allocate("s1", project, "h2", asked)  # moved
    async with networking(cloud, "admin") as admin:
        for port_id in (one, late):
            assert await state(demo, port_id) == ("ACTIVE", "trunk:subport", trunk["id"])
            assert (await admin(f"GET ports/{port_id}"))["port"]["binding:host_id"] == "h2"
    await cloud.networks.release("s1")
    for port_id in (one, late):
        assert await state(demo, port_id) == ("DOWN", "trunk:subport", trunk["id"])
    assert (await demo(f"GET {url}"))["trunk"]["status"] == "DOWN"
    await demo(f"DELETE {url}")
