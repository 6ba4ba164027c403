"""Decisions are kept: those whose claim was lost as well, and none for longer than they are to be."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from kilonova.database.decisions import DecisionListing, listing, purge, record
from kilonova.database.placing import Outcome, Placement, Result
from kilonova.model.decision import DecisionRecord, KeptDecision
from tests.simulation.world import Client, World, opened


def made(number: int, at: int) -> DecisionRecord:
    return DecisionRecord(
        server_id="s",
        action_id="a",
        request_id="r",
        kind="create",
        outcome="placed",
        host=f"host{number}",
        zone="nova",
        decided_at=at,
        details={},
    )


async def kept(world: World, **wanted: Any) -> list[KeptDecision]:
    return await world.database.run(listing, DecisionListing(limit=1000, **wanted))


async def change(world: World, statement: str) -> None:
    await world.database.run(lambda connection: connection.execute(text(statement)))


async def test_a_lost_claim_is_kept_with_the_decision_that_held(world: World, client: Client) -> None:
    first = await client.until(await client.boot(), "ACTIVE")
    host = first["OS-EXT-SRV-ATTR:host"]
    other = next(name for name in world.drivers if name != host)
    await change(world, f"UPDATE services SET disabled = 1 WHERE host = '{other}'")  # behind the scheduler's back
    server = await client.boot()
    assert (await client.until(server, "ACTIVE"))["OS-EXT-SRV-ATTR:host"] == host
    placed, lost = await kept(world, server_id=server)
    assert (placed.outcome, placed.host) == ("placed", host)
    assert (lost.outcome, lost.host, lost.request_id) == ("lost", other, placed.request_id)
    assert lost.details["ranking"][0]["host"] == other
    assert [one.host for one in await kept(world, outcome="lost")] == [other]


async def test_a_failure_after_lost_claims_keeps_them_too(world: World, client: Client) -> None:
    await client.until(await client.boot(), "ACTIVE")
    await change(
        world, "UPDATE services SET disabled = 1, disabled_reason = 'new disks' WHERE binary = 'nova-compute'"
    )
    server = await client.boot()
    fault = (await client.until(server, "ERROR"))["fault"]
    failed, lost = await kept(world, server_id=server)
    assert (failed.outcome, failed.host, lost.outcome) == ("failed", None, "lost")
    assert "2 hosts that could take it are out of service now." in fault["message"]
    assert failed.details["nearest"][0]["have"] == ["disabled: new disks"]


async def test_claims_lost_again_and_again_are_kept_though_no_decision_held_yet(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(connection: Connection, placements: Sequence[Placement], **more: Any) -> list[Outcome]:
        return [Outcome(Result.LOST)] * len(placements)

    with monkeypatch.context() as patched:
        patched.setattr("kilonova.scheduler.service.place_all", lose)
        server = await client.boot()
        async with asyncio.timeout(60):
            while not await kept(world, server_id=server):
                await asyncio.sleep(0.1)
    await client.until(server, "ACTIVE")  # the sweep asked again
    newest, *others = await kept(world, server_id=server)
    assert newest.outcome == "placed"
    assert len(others) % 20 == 0 and {one.outcome for one in others} == {"lost"}


async def test_since_when_a_host_is_down_is_told(world: World, client: Client) -> None:
    await client.until(await client.boot(), "ACTIVE")
    for agent in world.agents.values():
        await agent.abandon()
    server = await client.boot()
    await client.until(server, "ERROR")
    failed = (await kept(world, server_id=server))[0]
    [have] = failed.details["nearest"][0]["have"]
    assert have.startswith("down, not heard of since 20")


async def test_the_oldest_are_forgotten_by_number_and_by_age(world: World) -> None:
    await world.database.run(record, [made(number, at=number * 10) for number in range(1, 11)])
    assert await world.database.run(purge, before=0, keep=10, most=100) == 0
    assert await world.database.run(purge, before=0, keep=8, most=1) == 1  # in small bites
    assert await world.database.run(purge, before=0, keep=8, most=1) == 1
    assert await world.database.run(purge, before=0, keep=8, most=1) == 0
    assert await world.database.run(purge, before=50, keep=8, most=100) == 2
    assert [one.decided_at for one in await kept(world)] == [100, 90, 80, 70, 60, 50]
    assert await world.database.run(purge, before=1000, keep=8, most=100) == 6
    assert await world.database.run(purge, before=1000, keep=8, most=100) == 0


async def test_the_sweep_forgets_them(tmp_path: Path) -> None:
    async with opened(tmp_path, scheduler={"keep_decisions": 3}) as (world, client):
        ids = [await client.boot() for _ in range(5)]
        for server in ids:
            await client.until(server, "ACTIVE")
        assert len(await kept(world)) == 5
        await asyncio.sleep(70)
        assert [one.server_id for one in await kept(world)] == ids[:1:-1]
