"""What goes wrong: failing hosts, dying agents, lost messages, races. Each accepted operation ends, and nothing leaks."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from kilonova.hypervisor.fake.settings import Fault
from kilonova.messaging.bus import BusUnavailable
from kilonova.messaging.contract import FinishStep, Message, PerformStep
from kilonova.model.guest import GuestState
from tests.simulation.world import Client, World, nothing_left, until_running


async def delete(client: Client, server_id: str) -> None:
    assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    await client.until_gone(server_id)


async def test_a_build_that_fails_everywhere_ends_in_error_with_the_reason(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1))
    server_id = await client.boot()
    server = await client.until(server_id, "ERROR")
    assert server["OS-EXT-SRV-ATTR:host"] is None
    assert "told to fail" in server["fault"]["message"]
    await delete(client, server_id)
    await nothing_left(world)


async def test_one_bad_host_is_left_for_a_good_one(world: World, client: Client) -> None:
    world.drivers["host1"].inject(Fault(verb="prepare", times=-1))
    ids = [await client.boot(f"s{n}") for n in range(4)]
    for server_id in ids:
        server = await client.until(server_id, "ACTIVE")
        assert server["OS-EXT-SRV-ATTR:host"] == "host2"
    assert await world.drivers["host1"].list_guests() == []
    for server_id in ids:
        await delete(client, server_id)
    await nothing_left(world)


async def test_a_broken_image_is_not_tried_elsewhere(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1, retry=False, message="the image is broken; upload it again"))
    server_id = await client.boot()
    server = await client.until(server_id, "ERROR")
    assert "upload it again" in server["fault"]["message"]
    await delete(client, server_id)
    await nothing_left(world)


async def test_a_server_that_fits_nowhere_says_why(world: World, client: Client) -> None:
    body = {"flavor": {"name": "huge", "vcpus": 100000, "ram": 64, "disk": 1, "id": "huge"}}
    assert (await client("POST", "/flavors", body, token="admin")).status_code == 200
    answer = await client(
        "PUT", "/os-quota-sets/p1", {"quota_set": {"cores": -1, "instances": -1}}, token="admin", version="2.1"
    )
    assert answer.status_code == 200, answer.text
    server_id = await client.boot(flavorRef="huge")
    server = await client.until(server_id, "ERROR")
    assert "CapacityFilter dropped 2" in server["fault"]["message"]
    assert "100000 VCPU" in server["fault"]["details"]
    await delete(client, server_id)
    await nothing_left(world)


async def test_an_agent_killed_in_a_build_is_succeeded_by_its_next_incarnation(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=-1, hang=True))
    server_id = await client.boot()
    host = await host_at_work(world, client, server_id)
    await world.agents[host].abandon()
    for driver in world.drivers.values():
        driver._faults.clear()
    world.agents[host] = world.agent(host)
    await world.agents[host].start()
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == host
    await until_running(world, host, server_id)
    await delete(client, server_id)
    await nothing_left(world)


async def test_a_host_that_dies_in_a_build_is_replaced(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1, hang=True))
    server_id = await client.boot()
    host = await host_at_work(world, client, server_id)
    await world.agents[host].abandon()
    other = next(name for name in world.drivers if name != host)
    world.drivers[other]._faults.clear()
    server = await client.until(server_id, "ACTIVE")
    assert server["OS-EXT-SRV-ATTR:host"] == other
    world.agents[host] = world.agent(host)
    await world.agents[host].start()
    assert await world.drivers[host].list_guests() == []
    await delete(client, server_id)
    await nothing_left(world)


async def host_at_work(world: World, client: Client, server_id: str) -> str:
    """The host that prepares the server now."""
    async with asyncio.timeout(60):
        while True:
            for name, agent in world.agents.items():
                if agent._workplace.running():
                    return name
            await asyncio.sleep(0.1)


async def test_lost_messages_are_sent_again(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two messages of every kind vanish between the commit and the bus."""
    lost: Counter[str] = Counter()
    cast = world.bus.cast

    async def lossy(queue: str, message: Message, context: Any) -> None:
        kind = f"{type(message).__name__} {getattr(message, 'step', '')}"
        lost[kind] += 1
        if lost[kind] > 2:
            await cast(queue, message, context)

    monkeypatch.setattr(world.bus, "cast", lossy)
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    await delete(client, server_id)
    assert lost["ScheduleServer "] > 2  # the build itself is found by reconcile or by the sweep
    await nothing_left(world)


async def test_a_broker_that_is_away_refuses_nothing(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = True
    cast = world.bus.cast

    async def broken(queue: str, message: Message, context: Any) -> None:
        if away:
            raise BusUnavailable("the broker is away")
        await cast(queue, message, context)

    monkeypatch.setattr(world.bus, "cast", broken)
    server_id = await client.boot()
    assert (await client.show(server_id))["status"] == "BUILD"
    away = False
    await client.until(server_id, "ACTIVE")


async def test_an_unconfirmed_guest_does_not_run(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conductor's word on a finished build is lost: the guest waits, prepared, until reconcile hears the word."""
    call = world.bus.call
    deaf = True

    async def half_deaf(queue: str, message: Message, context: Any, *, timeout: float) -> Message:
        answer = await call(queue, message, context, timeout=timeout)
        if deaf and isinstance(message, FinishStep):
            raise BusUnavailable("the answer is lost")
        return answer

    monkeypatch.setattr(world.bus, "call", half_deaf)
    server_id = await client.boot()
    server = await client.until(server_id, "ACTIVE")
    driver = world.drivers[server["OS-EXT-SRV-ATTR:host"]]
    guest = await driver.show_guest(server_id)
    assert guest is not None and guest.state is GuestState.PREPARED
    deaf = False
    await until_running(world, server["OS-EXT-SRV-ATTR:host"], server_id)


async def test_a_zombie_cannot_finish_what_its_successor_took_over(world: World, client: Client) -> None:
    from kilonova.database import actions, engine

    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    [action] = [a for a in await world.database.run(actions.of_server, server_id) if a.kind == "create"]
    late = await world.database.run(
        engine.finish,
        action_id=action.id,
        step="build",
        epoch=action.epoch - 1,
        power_state=1,
        now=world.clock.now(),
        lease=1,
        dispatch=1,
        owner="zombie",
        events=[],
    )
    assert not late.accepted


async def test_a_repeated_report_gets_the_same_answer(world: World, client: Client) -> None:
    from kilonova.database import actions, engine

    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    [action] = await world.database.run(actions.of_server, server_id)
    again = await world.database.run(
        engine.finish,
        action_id=action.id,
        step="build",
        epoch=action.epoch,
        power_state=1,
        now=world.clock.now(),
        lease=1,
        dispatch=1,
        owner="host1",
        events=[],
    )
    assert again.accepted


async def test_a_duplicated_build_builds_once(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = world.bus.cast

    async def twice(queue: str, message: Message, context: Any) -> None:
        await cast(queue, message, context)
        if isinstance(message, PerformStep):
            await cast(queue, message, context)

    monkeypatch.setattr(world.bus, "cast", twice)
    ids = [await client.boot(f"s{n}") for n in range(4)]
    for server_id in ids:
        server = await client.until(server_id, "ACTIVE")
        await until_running(world, server["OS-EXT-SRV-ATTR:host"], server_id)
    guests = [guest.server_id for driver in world.drivers.values() for guest in await driver.list_guests()]
    assert sorted(guests) == sorted(ids)


async def test_fifty_at_once_against_a_quota_of_ten(world: World, client: Client) -> None:
    from tests.simulation.world import IMAGE

    body = {"server": {"name": "s", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
    answers = await asyncio.gather(*(client("POST", "/servers", body) for _ in range(50)))
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {202: 10, 403: 40}
    refused = next(answer for answer in answers if answer.status_code == 403)
    assert "Quota exceeded for instances" in refused.json()["forbidden"]["message"]


async def test_of_two_requests_at_once_one_wins(world: World, client: Client) -> None:
    server_id = await client.boot()
    await client.until(server_id, "ACTIVE")
    path = f"/servers/{server_id}/action"
    answers = await asyncio.gather(*(client("POST", path, {"os-stop": None}) for _ in range(5)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 4}
    await client.until(server_id, "SHUTOFF")


async def test_delete_on_a_dead_host_ends_and_the_copy_goes_when_the_host_is_back(
    world: World, client: Client
) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    await world.agents[host].abandon()
    await delete(client, server_id)
    assert [guest.server_id for guest in await world.drivers[host].list_guests()] == [server_id]
    world.agents[host] = world.agent(host)
    await world.agents[host].start()
    await nothing_left(world)


async def test_a_guest_that_shuts_itself_down_is_shown_so(world: World, client: Client) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    world.drivers[host].end_guest(server_id, GuestState.OFF)
    server = await client.until(server_id, "SHUTOFF")
    assert server["OS-EXT-STS:power_state"] == 4


async def test_a_failing_start_says_so_and_goes_back(world: World, client: Client) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await client("POST", f"/servers/{server_id}/action", {"os-stop": None})
    await client.until(server_id, "SHUTOFF")
    world.drivers[host].inject(Fault(verb="power_on", times=1))
    await client("POST", f"/servers/{server_id}/action", {"os-start": None})
    await client.until(server_id, "SHUTOFF")
    actions = (await client("GET", f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert actions[0]["action"] == "start" and "told to fail" in (actions[0]["message"] or "")
    await client("POST", f"/servers/{server_id}/action", {"os-start": None})
    await client.until(server_id, "ACTIVE")


async def test_a_delete_that_the_host_cannot_do_still_ends(world: World, client: Client) -> None:
    server_id = await client.boot()
    host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    await until_running(world, host, server_id)
    world.drivers[host].inject(Fault(verb="destroy", times=-1))
    await delete(client, server_id)
    world.drivers[host]._faults.clear()
    async with asyncio.timeout(300):  # reconcile finds the guest of a deleted server
        while await world.drivers[host].list_guests():
            await asyncio.sleep(1.0)
    await nothing_left(world)


async def test_a_create_before_any_host_has_reported_waits_for_one(world: World, client: Client) -> None:
    from sqlalchemy import text

    for agent in world.agents.values():
        await agent.drain(1.0)
    await world.database.run(lambda connection: connection.execute(text("DELETE FROM hosts")))
    await world.database.run(lambda connection: connection.execute(text("DELETE FROM services")))
    server_id = await client.boot()
    await asyncio.sleep(1.0)
    assert (await client.show(server_id))["status"] == "BUILD"
    world.agents = {name: world.agent(name) for name in world.drivers}
    for agent in world.agents.values():
        await agent.start()
    await client.until(server_id, "ACTIVE")


async def test_the_whole_way_of_a_request_is_recorded(world: World, client: Client) -> None:
    server_id = await client.boot()
    server = await client.until(server_id, "ACTIVE")
    path = f"/servers/{server_id}/os-instance-actions"
    [action] = (await client("GET", path, token="admin")).json()["instanceActions"]
    shown = (await client("GET", f"{path}/{action['request_id']}", token="admin")).json()["instanceAction"]
    names = [event["event"] for event in shown["events"]]
    way = ["api.request", "message.schedule", "schedule", "message.build", "message.finish", "conductor.record"]
    assert [name for name in names if name in way] == way
    schedule = next(event for event in shown["events"] if event["event"] == "schedule")
    assert server["OS-EXT-SRV-ATTR:host"] in str(schedule["details"])


async def test_a_heartbeat_behind_the_finish_does_not_undo_a_confirmed_build(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit and its answer the heartbeat hears that the action is not running any more: because it succeeded."""
    call = world.bus.call

    async def slow_verdict(queue: str, message: Message, context: Any, *, timeout: float) -> Message:
        answer = await call(queue, message, context, timeout=timeout)
        if isinstance(message, FinishStep):
            await asyncio.sleep(2 * world.config.membership.heartbeat)
        return answer

    monkeypatch.setattr(world.bus, "call", slow_verdict)
    server_id = await client.boot()
    server = await client.until(server_id, "ACTIVE")
    await asyncio.sleep(3 * world.config.membership.heartbeat)
    guest = await world.drivers[server["OS-EXT-SRV-ATTR:host"]].show_guest(server_id)
    assert guest is not None and guest.state is GuestState.RUNNING


async def test_a_server_that_failed_everywhere_holds_no_port(world: World, client: Client) -> None:
    """nova-scheduler ends it, which knows no network service: nova-conductor gives the ports back."""
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1))
    server_id = await client.boot()
    await client.until(server_id, "ERROR")
    async with asyncio.timeout(60):
        while world.networks.ports:
            await asyncio.sleep(0.5)
    assert (await client.show(server_id))["addresses"] == {}
