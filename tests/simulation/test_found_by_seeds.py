"""What the simulator has found, each told once more as the shortest story that shows it."""

import asyncio
from typing import Any

import pytest

from kilonova.hypervisor.fake.settings import Fault
from kilonova.messaging.bus import BusUnavailable
from kilonova.messaging.contract import FinishStep, Message, PerformStep
from kilonova.model.errors import Stale
from kilonova.model.guest import GuestState
from kilonova.network.protocol import RequestedNic
from kilonova.network.service import EmbeddedNetworks, NetworkSettings
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


async def test_a_build_begun_before_its_delete_leaves_no_ports(world: World, client: Client) -> None:
    """The conductor is slow between the lease and the ports; meanwhile the server is deleted and its ports given back."""
    networks = EmbeddedNetworks(world.database, world.clock, world.ids, NetworkSettings())
    await networks.bootstrap("p0")
    server_id = await client.boot()
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    for _ in range(2):  # while it is being deleted, and when it is gone
        with pytest.raises(Stale):
            await networks.allocate(server_id, "p1", "host1", [RequestedNic()])
        await client.until_gone(server_id)


async def test_a_build_that_moves_on_keeps_its_ports(world: World, client: Client) -> None:
    """A failed build's ports were given back after its rescheduling: late, they were those of the next host's guest."""
    released: list[str] = []
    release = world.networks.release

    async def noted(server_id: str) -> None:
        released.append(server_id)
        await release(server_id)

    world.networks.release = noted  # type: ignore[method-assign]
    world.drivers["host1"].inject(Fault(verb="prepare", times=-1))
    ids = [await client.boot(f"s{n}") for n in range(2)]
    for server_id in ids:
        await client.until(server_id, "ACTIVE")
    assert released == []
    assert sorted(world.networks.ports) == sorted(ids)
