"""What the simulator has found, each told once more as the shortest story that shows it."""

import asyncio
from typing import Any

import pytest

from kilonova.messaging.bus import BusUnavailable
from kilonova.messaging.contract import FinishStep, Message, PerformStep
from kilonova.model.guest import GuestState
from tests.simulation.world import Client, World, until_running


async def test_a_confirmed_guest_outlives_the_lost_word_on_it(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 146: the answer to FinishStep is lost, the next heartbeat hears that the action is not ours any more.

    That was taken for a lost lease: the agent unmade a guest that the database had just confirmed.
    """
    call = world.bus.call
    deaf = True

    async def half_deaf(queue: str, message: Message, context: Any, *, timeout: float) -> Message:
        answer = await call(queue, message, context, timeout=timeout)
        if deaf and isinstance(message, FinishStep):
            raise BusUnavailable("the answer is lost")
        return answer

    monkeypatch.setattr(world.bus, "call", half_deaf)
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await asyncio.sleep(2 * world.config.membership.heartbeat)
    guest = await world.drivers[host].show_guest(server_id)
    assert guest is not None and guest.state is GuestState.PREPARED
    deaf = False
    await until_running(world, host, server_id)


async def test_a_cancelled_step_does_not_end_reconcile(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 1073: a step that reconcile had found was cancelled while it reported its failure, and reconcile with it.

    Nobody noticed: the host went on with its heartbeat, and was never compared with the database again.
    """
    agent = world.agents["host1"]
    found = PerformStep(action_id="a", kind="create", step="build", epoch=0, server_id="s")
    rounds = 0

    async def once(*, taking_over: bool) -> list[PerformStep]:
        nonlocal rounds
        rounds += 1
        return [found]

    async def cancelled(asked: PerformStep) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(agent._reconciler, "once", once)
    monkeypatch.setattr(agent, "_resume", cancelled)
    await asyncio.sleep(2.5 * world.config.compute.reconcile_interval)
    assert rounds == 2
