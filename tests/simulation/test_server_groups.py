"""Where servers with a group, or with hints that name other servers, come to be."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from kilonova.database.flavors import seed_flavors
from kilonova.scheduler.service import Scheduler
from tests.simulation.world import ADMIN, IMAGE, Client, World


async def new_group(client: Client, policy: str, **rules: int) -> str:
    body: dict[str, Any] = {"name": policy, "policy": policy}
    if rules:
        body["rules"] = rules
    answer = await client("POST", "/os-server-groups", {"server_group": body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["server_group"]["id"])


async def boot(client: Client, hints: dict[str, Any], **more: Any) -> str:
    server = {"name": "web", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto", **more}
    answer = await client("POST", "/servers", {"server": server, "os:scheduler_hints": hints})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["server"]["id"])


async def host_of(client: Client, server_id: str, status: str = "ACTIVE") -> str | None:
    host: str | None = (await client.until(server_id, status))["OS-EXT-SRV-ATTR:host"]
    return host


async def test_anti_affinity_holds_and_says_why(world: World, client: Client) -> None:
    group = await new_group(client, "anti-affinity")
    ids = [await boot(client, {"group": group}) for _ in range(3)]
    ended = [await client.ended(server_id) for server_id in ids]
    assert Counter(server["status"] for server in ended) == {"ACTIVE": 2, "ERROR": 1}
    assert {s["OS-EXT-SRV-ATTR:host"] for s in ended if s["status"] == "ACTIVE"} == {"host1", "host2"}
    (failed,) = [server for server in ended if server["status"] == "ERROR"]
    assert "ServerGroupAntiAffinityFilter dropped 2" in failed["fault"]["message"]
    assert failed["server_groups"] == [group]
    members = (await client("GET", f"/os-server-groups/{group}")).json()["server_group"]["members"]
    assert members == ids
    assert (await client("DELETE", f"/servers/{ids[0]}")).status_code == 204
    await client.until_gone(ids[0])
    members = (await client("GET", f"/os-server-groups/{group}")).json()["server_group"]["members"]
    assert members == ids[1:]
    assert await host_of(client, await boot(client, {"group": [group]}))


async def test_rules_allow_some_on_one_host(world: World, client: Client) -> None:
    group = await new_group(client, "anti-affinity", max_server_per_host=2)
    ids = [await boot(client, {"group": group}) for _ in range(5)]
    ended = [await client.ended(server_id) for server_id in ids]
    assert Counter(s["OS-EXT-SRV-ATTR:host"] for s in ended) == {"host1": 2, "host2": 2, None: 1}


async def test_several_schedulers_keep_the_policy(tmp_path: Path) -> None:
    world = World(tmp_path, hosts=8)
    others = [
        Scheduler(
            world.database,
            world.bus,
            world.clock,
            world.random,
            host=f"control{number}",
            scheduler=world.config.scheduler,
            membership=world.config.membership,
            dispatch=world.config.actions.dispatch,
        )
        for number in range(3)
    ]
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    for other in others:
        await other.start()
    client = Client(world)
    group = await new_group(client, "anti-affinity")
    await boot(client, {"group": group}, max_count=8, min_count=8)
    await boot(client, {"group": await new_group(client, "affinity")}, max_count=2, min_count=2)
    listed = (await client("GET", "/servers?all_tenants=1", token="admin")).json()["servers"]
    hosts = {server["id"]: await host_of(client, server["id"]) for server in listed}
    members = (await client("GET", f"/os-server-groups/{group}")).json()["server_group"]["members"]
    assert len(members) == 8 and len({hosts[member] for member in members}) == 8
    assert len({host for server_id, host in hosts.items() if server_id not in members}) == 1
    for other in others:
        await other.drain(1.0)
    await world.stop()


async def test_affinity_goes_where_the_first_is(world: World, client: Client) -> None:
    group = await new_group(client, "affinity")
    ids = [await boot(client, {"group": group}) for _ in range(4)]
    assert len({await host_of(client, server_id) for server_id in ids}) == 1


async def test_soft_policies_are_wishes(world: World, client: Client) -> None:
    together = await new_group(client, "soft-affinity")
    assert len({await host_of(client, await boot(client, {"group": together})) for _ in range(3)}) == 1
    apart = await new_group(client, "soft-anti-affinity")
    hosts = [await host_of(client, await boot(client, {"group": apart})) for _ in range(4)]
    assert Counter(hosts) == {"host1": 2, "host2": 2}


async def test_hints_that_name_servers(world: World, client: Client) -> None:
    first = await client.boot()
    home = await host_of(client, first)
    for _ in range(2):
        assert await host_of(client, await boot(client, {"same_host": [first]})) == home
        assert await host_of(client, await boot(client, {"different_host": first})) != home
    theirs = "99999999-9999-4999-8999-999999999999"
    failed = await client.until(await boot(client, {"same_host": [theirs]}), "ERROR")
    assert "SameHostFilter dropped 2" in failed["fault"]["message"]
    assert await host_of(client, await boot(client, {"different_host": [theirs]}))


async def test_who_may_join(world: World, client: Client) -> None:
    group = await new_group(client, "soft-affinity")
    body = {"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
    for hints, token, status in (
        ({"group": group}, "other", 400),
        ({"group": "99999999-9999-4999-8999-999999999999"}, "member", 400),
        ({"group": "my-group"}, "member", 400),
        ({"different_host": "some-server"}, "member", 400),
        ({"same_host": ["some-server"]}, "member", 400),
        ({"group": group}, "member", 202),
    ):
        answer = await client("POST", "/servers", body | {"os:scheduler_hints": hints}, token=token)
        assert answer.status_code == status, (hints, token, answer.text)


async def test_a_group_takes_so_many(world: World, client: Client) -> None:
    group = await new_group(client, "soft-affinity")
    quota = {"quota_set": {"server_group_members": 3}}
    assert (await client("PUT", "/os-quota-sets/p1", quota, token="admin")).status_code == 200
    body = {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}
    hints = {"os:scheduler_hints": {"group": group}}
    answers = await asyncio.gather(*(client("POST", "/servers", {"server": body, **hints}) for _ in range(5)))
    assert Counter(answer.status_code for answer in answers) == {202: 3, 403: 2}
    assert len((await client("GET", "/servers")).json()["servers"]) == 3
    usage = (await client("GET", "/os-quota-sets/p1/detail")).json()["quota_set"]
    assert usage["instances"]["in_use"] == 3


async def test_nobody_names_a_host_by_a_hint(world: World, client: Client) -> None:
    assert (
        not {"kilonova:host"}
        & (await client.show(await boot(client, {"kilonova:host": "none"})))["scheduler_hints"].keys()
    )
    answer = await client(
        "POST",
        "/servers",
        {"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto", "host": "host2"}},
        token="admin",
    )
    server = await client.until(answer.json()["server"]["id"], "ACTIVE")
    assert server["tenant_id"] == ADMIN.project_id
    assert (server["OS-EXT-SRV-ATTR:host"], server["scheduler_hints"]) == ("host2", {})


async def test_a_user_may_have_less_than_the_project(world: World, client: Client) -> None:
    quota = {"quota_set": {"instances": 2}}
    path = "/os-quota-sets/p1?user_id=u1"
    assert (await client("PUT", path, quota, token="admin", version="2.57")).status_code == 200
    body = {"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
    answers = await asyncio.gather(*(client("POST", "/servers", body) for _ in range(5)))
    assert Counter(answer.status_code for answer in answers) == {202: 2, 403: 3}
    usage = (await client("GET", "/os-quota-sets/p1/detail")).json()["quota_set"]
    assert usage["instances"]["in_use"] == 2
