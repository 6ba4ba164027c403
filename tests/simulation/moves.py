"""What tests of moves ask again and again: where guests are, what is claimed and charged, whether all rules hold."""

from typing import Any

from sqlalchemy import select

from kilonova.database.checks import check
from kilonova.database.tables import allocations, quota_usages
from kilonova.model.guest import GuestState
from tests.simulation.world import Client, World

SMALL, LARGE = "1", "2"  # m1.tiny (1 core, 512 MiB, 1 GiB) and m1.small (1 core, 2048 MiB, 20 GiB)


async def act(client: Client, server_id: str, action: str, body: Any = None, *, code: int = 202, **how: Any) -> Any:
    """Ask for an action; the answer's body, if there is one."""
    answer = await client("POST", f"/servers/{server_id}/action", {action: body}, **how)
    assert answer.status_code == code, answer.text
    return answer.json() if answer.content else None


async def guests(world: World, server_id: str) -> dict[str, GuestState]:
    """The server's guests, by host."""
    found = {host: await driver.show_guest(server_id) for host, driver in world.drivers.items()}
    return {host: guest.state for host, guest in found.items() if guest is not None}


async def claims(world: World, server_id: str) -> dict[str, bool]:
    """The hosts on which something is claimed for the server, and whether by the server itself."""

    def look(connection: Any) -> dict[str, bool]:
        rows = connection.execute(select(allocations).where(allocations.c.server_id == server_id))
        return {row.host: row.consumer == server_id for row in rows}

    return await world.database.run(look)


async def used(world: World) -> dict[str, int]:
    """What the project p1 is charged with."""

    def look(connection: Any) -> dict[str, int]:
        rows = connection.execute(select(quota_usages).where(quota_usages.c.project_id == "p1"))
        return {row.resource: int(row.in_use) for row in rows}

    return await world.database.run(look)


async def all_is_well(world: World) -> None:
    """No rule of the database is broken."""
    assert await world.database.run(check, world.clock.now(), 30_000_000) == []


async def comes_back(world: World, host: str) -> None:
    """A new agent on a host whose agent was abandoned, and whose guests are as that left them."""
    capabilities = world.agents[host]._capabilities
    world.agents[host] = world.agent(host)
    await world.agents[host].start(capabilities)


async def history(client: Client, server_id: str) -> list[tuple[str, str]]:
    """Type and status of the server's moves, the oldest first."""
    answer = await client("GET", f"/os-migrations?instance_uuid={server_id}", token="admin")
    assert answer.status_code == 200, answer.text
    return [(one["migration_type"], one["status"]) for one in reversed(answer.json()["migrations"])]
