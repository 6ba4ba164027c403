"""Servers go where the zones that aggregates make say."""

from tests.simulation.world import IMAGE, Client, World


async def new_zone(client: Client, zone: str, host: str) -> None:
    body = {"aggregate": {"name": zone, "availability_zone": zone}}
    number = (await client("POST", "/os-aggregates", body, token="admin")).json()["aggregate"]["id"]
    answer = await client("POST", f"/os-aggregates/{number}/action", {"add_host": {"host": host}}, token="admin")
    assert answer.status_code == 200, answer.text


async def test_servers_go_to_their_zone(world: World, client: Client) -> None:
    await new_zone(client, "east", "host1")
    await world.clock.sleep(world.config.scheduler.refresh * 2)
    for zone, host in (("east", "host1"), ("nova", "host2")):
        for _ in range(3):
            server = await client.until(await client.boot(availability_zone=zone), "ACTIVE")
            assert (server["OS-EXT-SRV-ATTR:host"], server["OS-EXT-AZ:availability_zone"]) == (host, zone)
    body = {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto", "availability_zone": "west"}
    assert (await client("POST", "/servers", {"server": body})).status_code == 400


async def test_a_zone_that_changed_after_the_look(world: World, client: Client) -> None:
    """The scheduler's view may be a second old: it looks again before it says no, and the claim asks again."""
    first = await client.until(await client.boot(), "ACTIVE")  # so that it has a view
    home = first["OS-EXT-SRV-ATTR:host"]
    other = next(host for host in world.drivers if host != home)
    await new_zone(client, "east", other)
    ids = [await client.boot(availability_zone=zone) for zone in ("nova", "east", "nova", "east")]
    servers = [await client.until(server_id, "ACTIVE") for server_id in ids]
    assert [server["OS-EXT-SRV-ATTR:host"] for server in servers] == [home, other, home, other]
    assert [server["OS-EXT-AZ:availability_zone"] for server in servers] == ["nova", "east", "nova", "east"]
