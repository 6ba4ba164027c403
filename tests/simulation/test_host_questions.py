"""What hosts are asked beside their steps: diagnostics, and images they may fetch early."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import console_tokens, server_passwords
from kilonova.hypervisor.fake.settings import Fault
from tests.functional.compute_rows import stands_for
from tests.simulation.world import IMAGE, Client, World, until_running


async def diagnostics(client: Client, server_id: str, version: str, token: str = "admin") -> tuple[int, Any]:
    answer = await client("GET", f"/servers/{server_id}/diagnostics", token=token, version=version)
    return answer.status_code, answer.json()


async def test_diagnostics(world: World, client: Client) -> None:
    server_id = await client.boot()
    server = await client.until(server_id, "ACTIVE")
    await until_running(world, server["OS-EXT-SRV-ATTR:host"], server_id)
    await world.clock.sleep(5)
    status, found = await diagnostics(client, server_id, "2.48")
    assert status == 200
    assert (found["state"], found["driver"], found["hypervisor"], found["uptime"] >= 5) == (
        "running",
        "libvirt",
        "fake",
        True,
    )
    assert (found["num_cpus"], found["num_disks"], found["num_nics"], found["config_drive"]) == (1, 2, 1, True)
    assert found["memory_details"] == {"maximum": 512, "used": 512}
    assert found["nic_details"][0]["mac_address"] == "fa:16:3e:00:00:01"
    status, found = await diagnostics(client, server_id, "2.47")
    assert (status, found["memory"], found["cpu0_time"], found["vda_read"]) == (200, 512 << 10, 0, 0)
    assert (await diagnostics(client, server_id, "2.48", "member"))[0] == 403
    await client("POST", f"/servers/{server_id}/action", {"os-stop": None})
    await client.until(server_id, "SHUTOFF")
    assert (await diagnostics(client, server_id, "2.48"))[0] == 409
    await world.agents[server["OS-EXT-SRV-ATTR:host"]].drain(1.0)
    assert (await diagnostics(client, server_id, "2.48"))[0] == 409


async def test_a_server_on_no_host_is_not_ready(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1))
    server_id = await client.boot()
    await client.until(server_id, "ERROR")
    assert (await diagnostics(client, server_id, "2.48"))[0] == 409


async def test_images_are_fetched_onto_an_aggregates_hosts(world: World, client: Client) -> None:
    answer = await client("POST", "/os-aggregates", {"aggregate": {"name": "a"}}, token="admin")
    path = f"/os-aggregates/{answer.json()['aggregate']['id']}"
    await client("POST", f"{path}/action", {"add_host": {"host": "host1"}}, token="admin")

    async def cache(*ids: str, token: str = "admin", version: str = "2.81") -> int:
        body = {"cache": [{"id": image_id} for image_id in ids]}
        return (await client("POST", f"{path}/images", body, token=token, version=version)).status_code

    unknown = "99999999-9999-4999-8999-999999999999"
    assert await cache(IMAGE, token="member") == 403
    assert await cache(IMAGE, version="2.80") == 404
    assert [await cache(), await cache(IMAGE, IMAGE), await cache(unknown), await cache("x")] == [400] * 4
    assert world.drivers["host1"].cached_images == set()
    world.drivers["host1"].inject(Fault(verb="cache_image", times=1))
    assert await cache(IMAGE) == 202
    await world.clock.sleep(1)
    assert world.drivers["host1"].cached_images == set()
    assert await cache(IMAGE) == 202
    await world.clock.sleep(1)
    assert world.drivers["host1"].cached_images == {IMAGE}
    assert world.drivers["host2"].cached_images == set()


async def test_a_deleted_server_leaves_neither_tokens_nor_a_password(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")

    def write(connection: Connection) -> None:
        token = stands_for(server_id, 1 << 60)
        console_tokens.insert(connection, "token", token, 0)
        server_passwords.put(connection, server_id, "secret")

    await world.database.run(write)
    assert await world.database.run(console_tokens.find, "token", 0)
    await client("DELETE", f"/servers/{server_id}")
    await client.until_gone(server_id)
    assert await world.database.run(console_tokens.find, "token", 0) is None
    assert await world.database.run(server_passwords.find, server_id) == ""
