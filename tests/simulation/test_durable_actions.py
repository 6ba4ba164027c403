"""Create, delete, start, stop and reboot through every sub-service."""

import asyncio

from tests.simulation.world import Client, World, nothing_left, until_running


async def test_a_server_lives_and_dies(world: World, client: Client) -> None:
    server_id = await client.boot()
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] in world.drivers
    assert server["addresses"]["private"][0]["addr"] == "10.0.0.5"
    await until_running(world, server["OS-EXT-SRV-ATTR:host"], server_id)
    for action, body, status in (
        ("os-stop", None, "SHUTOFF"),
        ("os-start", None, "ACTIVE"),
        ("reboot", {"type": "SOFT"}, "ACTIVE"),
        ("reboot", {"type": "HARD"}, "ACTIVE"),
    ):
        answer = await client("POST", f"/servers/{server_id}/action", {action: body})
        assert answer.status_code == 202, answer.text
        await client.until(server_id, status)
    console = await client("POST", f"/servers/{server_id}/action", {"os-getConsoleOutput": {"length": 5}})
    assert console.status_code == 200 and console.json()["output"]
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await nothing_left(world)


async def test_servers_spread_over_the_hosts(world: World, client: Client) -> None:
    ids = [await client.boot(f"s{n}") for n in range(6)]
    hosts = [(await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] for server_id in ids]
    assert sorted(hosts) == ["host1"] * 3 + ["host2"] * 3


async def test_a_delete_preempts_a_build(world: World, client: Client) -> None:
    server_id = await client.boot()
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)
    await asyncio.gather(*(agent.drain(1.0) for agent in world.agents.values()))
    await nothing_left(world)
    world.agents.clear()
