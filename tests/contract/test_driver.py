"""What every hypervisor driver promises (``kilonova.hypervisor.driver``), on all of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kilonova.hypervisor.driver import Driver
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.image.inspect import HEADER_BYTES, TAIL_BYTES, inspect
from kilonova.model.errors import Conflict, HostFault, NotFound, Stale, Unsupported
from kilonova.model.guest import GuestCommand, GuestState, ImageTicket, ImageUpload
from tests.contract.hypervisors import (
    READY,
    FakeWorld,
    Login,
    QemuWorld,
    World,
    console_has,
    eventually,
    server_id,
    ticket_of,
)


@pytest.fixture(params=["fake", pytest.param("qemu", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "qemu" and os.geteuid() != 0:
        pytest.skip("real guests need root")
    world: World = FakeWorld(tmp_path) if request.param == "fake" else QemuWorld(tmp_path)
    await world.driver.start()
    yield world
    await world.close()


TICKET: dict[str, Any] = {
    "image_id": "image",
    "url": "",
    "disk_format": "raw",
    "size": 1,
    "virtual_size": 1,
    "sha512": "",
}


def silent(stage: str) -> None:
    """A progress callback for those who do not care."""


async def state_of(driver: Driver, server: str) -> GuestState | None:
    guest = await driver.show_guest(server)
    return guest.state if guest else None


async def running(world: World, number: int = 1) -> str:
    spec = world.spec(number)
    await world.driver.prepare(spec, silent)
    await world.driver.release(spec.server_id)
    return spec.server_id


async def test_a_host_has_something_to_offer(world: World) -> None:
    resources = await world.driver.resources()
    assert resources.vcpus > 0
    assert resources.memory_mb > 0
    assert 0 < resources.free_disk_gb <= resources.disk_gb


async def test_prepare_tells_its_stages_and_is_idempotent(world: World) -> None:
    stages: list[str] = []
    spec = world.spec()
    await world.driver.prepare(spec, stages.append)
    assert stages == ["image", "disk", "network", "process"]
    await world.driver.prepare(spec, stages.append)
    assert len(stages) == 4, "the second call found the work done"
    guests = await world.driver.list_guests()
    assert [(guest.server_id, guest.name, guest.state, guest.epoch) for guest in guests] == [
        (spec.server_id, spec.name, GuestState.PREPARED, 5)
    ]


async def test_what_is_measured_of_a_guest(world: World) -> None:
    spec = world.spec()
    server = await running(world)
    await console_has(world.driver, server, READY)
    found = await world.driver.diagnose(server)
    assert (found.state, found.config_drive) == (GuestState.RUNNING, spec.config_drive)
    assert (found.memory_maximum, found.memory_used) == (spec.memory_mb, spec.memory_mb)
    assert [cpu.id for cpu in found.cpus] == list(range(spec.vcpus))
    assert [disk.name for disk in found.disks] == ["vda", "vdb"]
    assert [nic.mac_address for nic in found.nics] == [nic.mac for nic in spec.nics]
    assert found.uptime is not None and 0 <= found.uptime < 600
    if isinstance(world, QemuWorld):
        assert found.disks[0].read_bytes > 1 << 20 and found.cpus[0].time and found.memory_resident
    await world.driver.power_off(server, 0)
    found = await world.driver.diagnose(server)
    assert (found.state, found.uptime, found.cpus, found.disks) == (GuestState.OFF, None, [], [])
    with pytest.raises(NotFound):
        await world.driver.diagnose(server_id(9))


async def test_an_image_is_there_before_it_is_needed(world: World) -> None:
    ticket = world.ticket if isinstance(world, QemuWorld) else ImageTicket(**TICKET)
    for _ in range(2):
        await world.driver.cache_image(ticket)
    if isinstance(world, QemuWorld):
        await world.driver.prepare(world.spec(), silent)
        assert world.fetcher.fetched == 1
    else:
        assert isinstance(world.driver, FakeDriver)
        assert world.driver.cached_images == {ticket.image_id}


async def test_a_prepared_guest_does_not_run_until_it_is_released(world: World) -> None:
    spec = world.spec()
    await world.driver.prepare(spec, silent)
    # Longer than a guest takes from its first instruction to its first word (about half a second).
    await asyncio.sleep(2.0 if isinstance(world, QemuWorld) else 0.01)
    assert await world.driver.console_output(spec.server_id, None) == ""
    for verb in without_release(world.driver, spec.server_id):
        with pytest.raises(Conflict):
            await verb()
    assert await state_of(world.driver, spec.server_id) is GuestState.PREPARED
    await world.driver.release(spec.server_id)
    assert await state_of(world.driver, spec.server_id) is GuestState.RUNNING
    await world.driver.release(spec.server_id)
    said = await console_has(world.driver, spec.server_id, f"{READY} hostname={spec.hostname}")
    assert f"address={spec.nics[0].address}" in said
    await world.driver.release(spec.server_id)
    assert (await world.driver.console_output(spec.server_id, None)).count(READY) == 1


def without_release(driver: Driver, server: str) -> list[Callable[[], Awaitable[None]]]:
    return [
        lambda: driver.power_on(server),
        lambda: driver.power_off(server, 0),
        lambda: driver.reboot(server, hard=True, grace=0),
        lambda: driver.set_paused(server, True),
        lambda: driver.suspend(server),
        lambda: driver.command(server, GuestCommand(verb="nmi")),
    ]


async def test_a_lower_epoch_is_stale_and_a_higher_one_builds_anew(world: World) -> None:
    await world.driver.prepare(world.spec(epoch=5), silent)
    with pytest.raises(Stale):
        await world.driver.prepare(world.spec(epoch=4), silent)
    stages: list[str] = []
    await world.driver.prepare(world.spec(epoch=6), stages.append)
    assert stages, "it was built again"
    guests = await world.driver.list_guests()
    assert [(guest.epoch, guest.state) for guest in guests] == [(6, GuestState.PREPARED)]


async def test_a_guest_that_ran_is_not_built_over(world: World) -> None:
    server = await running(world)
    await world.driver.prepare(world.spec(epoch=5), silent)
    assert await state_of(world.driver, server) is GuestState.RUNNING
    with pytest.raises(Conflict):
        await world.driver.prepare(world.spec(epoch=6), silent)
    with pytest.raises(Stale):
        await world.driver.prepare(world.spec(epoch=4), silent)
    assert await state_of(world.driver, server) is GuestState.RUNNING


async def test_destroy_leaves_nothing_and_needs_nothing(world: World) -> None:
    await world.driver.destroy(server_id(9))
    await world.driver.prepare(world.spec(1), silent)
    server = await running(world, 2)
    for one in (server_id(1), server):
        await world.driver.destroy(one)
        await world.driver.destroy(one)
        assert await world.driver.show_guest(one) is None
    assert await world.leftovers() == []


async def test_guests_survive_a_restart_of_the_agent(world: World) -> None:
    await world.driver.prepare(world.spec(1), silent)
    server = await running(world, 2)
    driver = await world.restart()
    states = {guest.server_id: guest.state for guest in await driver.list_guests()}
    assert states == {server_id(1): GuestState.PREPARED, server: GuestState.RUNNING}
    await driver.prepare(world.spec(1), silent)
    await driver.release(server_id(1))
    assert await state_of(driver, server_id(1)) is GuestState.RUNNING
    await driver.power_off(server, 0)
    driver = await world.restart()
    assert await state_of(driver, server) is GuestState.OFF
    await driver.destroy(server)
    driver = await world.restart()
    assert [guest.server_id for guest in await driver.list_guests()] == [server_id(1)]


async def test_power_off_and_on(world: World) -> None:
    server = await running(world)
    driver = world.driver
    for _ in range(2):
        await driver.power_off(server, 0)
        assert await state_of(driver, server) is GuestState.OFF
    for _ in range(2):
        await driver.power_on(server)
        assert await state_of(driver, server) is GuestState.RUNNING
    await console_has(driver, server, READY)
    await driver.power_off(server, 30)
    assert await state_of(driver, server) is GuestState.OFF


async def test_reboot_starts_again_even_what_was_off(world: World) -> None:
    server = await running(world)
    driver = world.driver
    await console_has(driver, server, READY)
    await driver.reboot(server, hard=False, grace=30)
    assert await state_of(driver, server) is GuestState.RUNNING
    await console_has(driver, server, READY, times=2)
    await driver.reboot(server, hard=True, grace=0)
    await driver.power_off(server, 0)
    await driver.reboot(server, hard=True, grace=0)
    assert await state_of(driver, server) is GuestState.RUNNING


async def test_a_paused_guest_stands_still_and_goes_on(world: World) -> None:
    server = await running(world)
    driver = world.driver
    await console_has(driver, server, READY)
    for _ in range(2):
        await driver.set_paused(server, True)
        assert await state_of(driver, server) is GuestState.PAUSED
    driver = await world.restart()
    assert await state_of(driver, server) is GuestState.PAUSED
    for _ in range(2):
        await driver.set_paused(server, False)
        assert await state_of(driver, server) is GuestState.RUNNING
    await driver.set_paused(server, True)
    await driver.power_on(server)
    assert await state_of(driver, server) is GuestState.RUNNING
    await driver.set_paused(server, True)
    await driver.power_off(server, 30)
    assert await state_of(driver, server) is GuestState.OFF
    for verb in (lambda: driver.set_paused(server, True), lambda: driver.set_paused(server, False)):
        with pytest.raises(Conflict):
            await verb()
    assert (await driver.console_output(server, None)).count(READY) == 1


async def test_a_suspended_guest_goes_on_where_it_was(world: World) -> None:
    server = await running(world)
    driver = world.driver
    await console_has(driver, server, READY)
    for _ in range(2):
        await driver.suspend(server)
        assert await state_of(driver, server) is GuestState.SUSPENDED
    driver = await world.restart()
    assert await state_of(driver, server) is GuestState.SUSPENDED
    for _ in range(2):
        await driver.power_on(server)
        assert await state_of(driver, server) is GuestState.RUNNING
    await driver.set_paused(server, True)
    await driver.suspend(server)
    await driver.power_on(server)
    assert await state_of(driver, server) is GuestState.RUNNING
    assert (await driver.console_output(server, None)).count(READY) == 1, "it did not boot again"
    await driver.suspend(server)
    await driver.power_off(server, 0)
    assert await state_of(driver, server) is GuestState.OFF
    with pytest.raises(Conflict):
        await driver.suspend(server)
    await driver.power_on(server)
    await console_has(driver, server, READY, times=2)
    await driver.suspend(server)
    await driver.reboot(server, hard=True, grace=0)
    await console_has(driver, server, READY, times=3)


async def test_a_guest_is_interrupted(world: World) -> None:
    server = await running(world)
    await console_has(world.driver, server, READY)
    await world.driver.command(server, GuestCommand(verb="nmi"))
    await console_has(world.driver, server, "NMI received" if isinstance(world, QemuWorld) else "non-maskable")
    with pytest.raises(Unsupported):
        await world.driver.command(server, GuestCommand(verb="sing"))
    await world.driver.power_off(server, 0)
    with pytest.raises(Conflict):
        await world.driver.command(server, GuestCommand(verb="nmi"))


async def test_a_rescue_system_boots_beside_the_guests_own_disk(world: World) -> None:
    server = await running(world)
    driver = world.driver
    await console_has(driver, server, READY)
    await driver.power_off(server, 0)
    rescue = world.spec(hostname="rescuer")
    for _ in range(2):
        await driver.power_on(server, rescue=rescue)
        guest = await driver.show_guest(server)
        assert guest is not None and guest.rescued and guest.state is GuestState.RUNNING
    if isinstance(world, QemuWorld):
        await console_has(driver, server, f"{READY} hostname=rescuer")
        async with Login(world.instances / server) as shell:
            disks = await shell.run("cat /sys/block/vd?/serial")
        assert disks.startswith("rescueroot"), "in the order of their names there"
    driver = await world.restart()
    guest = await driver.show_guest(server)
    assert guest is not None and guest.rescued
    await driver.power_on(server)
    guest = await driver.show_guest(server)
    assert guest is not None and not guest.rescued and guest.state is GuestState.RUNNING
    await driver.power_on(server, rescue=rescue)
    await driver.reboot(server, hard=True, grace=0)
    guest = await driver.show_guest(server)
    assert guest is not None and not guest.rescued
    await driver.destroy(server)
    assert await world.leftovers() == []


async def test_a_guest_that_stays_off_has_not_run(world: World) -> None:
    spec = world.spec(stays_off=True)
    await world.driver.prepare(spec, silent)
    for _ in range(2):
        await world.driver.release(spec.server_id)
        assert await state_of(world.driver, spec.server_id) is GuestState.OFF
    assert await world.driver.console_output(spec.server_id, None) == ""
    await world.driver.power_on(spec.server_id)
    assert await state_of(world.driver, spec.server_id) is GuestState.RUNNING


async def test_a_snapshot_is_an_image_that_stands_alone(world: World) -> None:
    server = await running(world)
    driver = world.driver
    await console_has(driver, server, READY)
    upload = ImageUpload(image_id="i", url="", disk_format="qcow2")
    stages: list[str] = []

    async def stage(name: str) -> None:
        stages.append(name)

    for verb, state in (
        (lambda: driver.power_on(server), GuestState.RUNNING),
        (lambda: driver.suspend(server), GuestState.SUSPENDED),
        (lambda: driver.power_off(server, 0), GuestState.OFF),
    ):
        await verb()
        world.uploader.path.unlink(missing_ok=True)
        await driver.snapshot(server, upload, stage)
        assert await state_of(driver, server) is state
        content = world.uploader.path.read_bytes()
        found = inspect(content[:HEADER_BYTES], content[-TAIL_BYTES:], len(content), "qcow2")
        assert found.virtual_size == 1 << 30
    assert stages == ["copy", "upload"] * 3
    world.uploader.gone = True
    with pytest.raises(NotFound):
        await driver.snapshot(server, upload, stage)
    with pytest.raises(NotFound):
        await driver.snapshot(server_id(9), upload, stage)
    if isinstance(world, QemuWorld):
        assert not [path.name for path in (world.instances / server).iterdir() if "snapshot" in path.name]
        checked = await asyncio.create_subprocess_exec("qemu-img", "check", "-q", str(world.uploader.path))
        assert await checked.wait() == 0
        copied = world.spec(2, image=ticket_of(world.uploader.path))
        await driver.prepare(copied, silent)
        await driver.release(copied.server_id)
        await console_has(driver, copied.server_id, f"{READY} hostname={copied.hostname}")


async def test_what_nobody_asked_for_is_told(world: World) -> None:
    server = await running(world, 1)
    other = await running(world, 2)
    events = world.driver.events()
    await world.shut_down_by_itself(server)
    async with asyncio.timeout(60):
        assert await anext(events) == (server, GuestState.OFF)
    await world.crash(other)
    async with asyncio.timeout(60):
        assert await anext(events) == (other, GuestState.CRASHED)
    assert await state_of(world.driver, other) is GuestState.CRASHED
    # What is asked for is no event; the reader's end is the driver's.
    await world.driver.power_on(server)
    await world.driver.power_on(other)
    assert await state_of(world.driver, other) is GuestState.RUNNING
    await world.driver.power_off(server, 0)
    await world.restart()
    assert [event async for event in events] == []


async def test_cards_come_and_go_while_the_guest_runs(world: World) -> None:
    spec = world.spec()
    await world.driver.prepare(spec, silent)
    first, second = spec.nics[0], world.spec(2).nics[0]
    with pytest.raises(Conflict):
        await world.driver.change_nics(spec.server_id, [first, second])  # nobody has confirmed it
    await world.driver.release(spec.server_id)
    await console_has(world.driver, spec.server_id, READY)
    for nics in ([first, second], [first, second], [second], [], [second, first], [first]):
        await world.driver.change_nics(spec.server_id, nics)
        assert await world.cards(spec.server_id) == {nic.port_id for nic in nics}
        guest = await world.driver.show_guest(spec.server_id)
        assert guest is not None and sorted(guest.ports) == sorted(nic.port_id for nic in nics)
    driver = await world.restart()
    await driver.change_nics(spec.server_id, [first, second])
    assert await world.cards(spec.server_id) == {first.port_id, second.port_id}
    await driver.power_off(spec.server_id, 0)
    await driver.change_nics(spec.server_id, [second])
    await driver.power_on(spec.server_id)
    assert await world.cards(spec.server_id) == {second.port_id}
    await driver.destroy(spec.server_id)
    assert await world.leftovers() == []


async def test_a_suspended_guest_keeps_the_cards_that_were_plugged_in(world: World) -> None:
    """Its memory only fits hardware that is the same, card by card and slot by slot."""
    first, second = (msgspec.structs.replace(world.spec(n).nics[0], slot=slot) for n, slot in ((1, 0), (2, 3)))
    spec = world.spec(nics=[first])
    await world.driver.prepare(spec, silent)
    await world.driver.release(spec.server_id)
    await console_has(world.driver, spec.server_id, READY)
    await world.driver.change_nics(spec.server_id, [first, second])
    await world.driver.change_nics(spec.server_id, [second])
    await world.driver.suspend(spec.server_id)
    await world.driver.power_on(spec.server_id)
    assert await state_of(world.driver, spec.server_id) is GuestState.RUNNING
    assert await world.cards(spec.server_id) == {second.port_id}
    await world.driver.change_nics(spec.server_id, [second, first])
    assert await world.cards(spec.server_id) == {first.port_id, second.port_id}


async def test_the_end_of_the_console_can_be_asked_for(world: World) -> None:
    server = await running(world)
    await console_has(world.driver, server, "login:")
    whole = await world.driver.console_output(server, None)
    assert await world.driver.console_output(server, 2) == "\n".join(whole.split("\n")[-2:])
    assert await world.driver.console_output(server, 0) == ""


async def test_verbs_for_a_guest_that_is_not_there(world: World) -> None:
    driver, nobody = world.driver, server_id(9)
    assert await driver.show_guest(nobody) is None
    assert await driver.list_guests() == []
    for verb in (
        lambda: driver.release(nobody),
        lambda: driver.power_on(nobody),
        lambda: driver.power_off(nobody, 0),
        lambda: driver.reboot(nobody, hard=True, grace=0),
        lambda: driver.change_nics(nobody, []),
        lambda: driver.console_output(nobody, None),
        lambda: driver.set_paused(nobody, True),
        lambda: driver.suspend(nobody),
        lambda: driver.command(nobody, GuestCommand(verb="nmi")),
    ):
        with pytest.raises(NotFound):
            await verb()


async def test_a_cancelled_preparation_is_found_by_the_next(world: World) -> None:
    spec = world.spec()

    async def cancelled_at(stage: str) -> None:
        def stop(name: str) -> None:
            if name == stage:
                task.cancel()

        task = asyncio.create_task(world.driver.prepare(spec, stop))
        with pytest.raises(asyncio.CancelledError):
            await task

    for stage in ("disk", "network", "process"):
        if isinstance(world, QemuWorld):
            await cancelled_at(stage)
    await world.driver.prepare(spec, silent)
    assert await state_of(world.driver, spec.server_id) is GuestState.PREPARED
    await eventually(lambda: len_is_one(world), "one guest")


async def len_is_one(world: World) -> bool:
    return len(await world.driver.list_guests()) == 1


async def test_a_guest_that_is_off_gets_another_size(world: World) -> None:
    server = await running(world, 17)
    driver, larger = world.driver, world.spec(17, epoch=6, memory_mb=256, disk_gb=2, in_place=True)
    await console_has(driver, server, READY)
    with pytest.raises(Conflict):
        await driver.prepare(larger, silent)
    assert await state_of(driver, server) is GuestState.RUNNING
    await driver.power_off(server, 0)
    for _ in range(2):
        await driver.prepare(larger, silent)
        assert await state_of(driver, server) is GuestState.PREPARED
    with pytest.raises(Stale):
        await driver.prepare(world.spec(17, epoch=5, in_place=True), silent)
    again = world.spec(17, epoch=7, in_place=True)
    await driver.prepare(again, silent)
    assert await state_of(driver, server) is GuestState.PREPARED
    await driver.release(server)
    assert await state_of(driver, server) is GuestState.RUNNING
    await console_has(driver, server, READY, times=2)
    with pytest.raises(HostFault):
        await driver.prepare(world.spec(18, in_place=True), silent)


async def test_a_running_guest_is_handed_over_or_the_driver_says_that_it_cannot(world: World) -> None:
    server = await running(world)
    if not isinstance(world.driver, FakeDriver):
        with pytest.raises(Unsupported):
            await world.driver.move(server, "")
        assert await state_of(world.driver, server) is GuestState.RUNNING
        return
    other = FakeWorld(world.directory / "elsewhere").driver
    await other.start()
    await other.prepare(world.spec(epoch=6, incoming=True), silent)
    waiting = await other.show_guest(server)
    assert waiting is not None and waiting.state is GuestState.PREPARED and waiting.incoming
    for _ in range(2):
        await world.driver.move(server, waiting.incoming)
        assert await state_of(world.driver, server) is GuestState.MOVED
        assert await state_of(other, server) is GuestState.PREPARED
    await world.driver.release(server)
    assert await state_of(world.driver, server) is GuestState.RUNNING
    await world.driver.move(server, waiting.incoming)
    await other.release(server)
    assert await state_of(other, server) is GuestState.RUNNING
    await world.driver.destroy(server)
    assert await state_of(world.driver, server) is None
    await other.stop()
