"""Guests that were shut down together with their cloud run again after its start, and only those."""

from pathlib import Path

import pytest

from kilonova.compute.reconcile import Reconciler
from kilonova.compute.resume import ResumeList
from kilonova.compute.workplace import Workplace
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import FakeSettings, Fault
from kilonova.messaging.contract import Acknowledged, HostWork, Message, ReportGuests, ServerOnHost
from kilonova.model.clock import SystemClock, system_random
from kilonova.model.guest import GuestSpec, GuestState
from kilonova.model.server import PowerState, VmState


def spec(server_id: str) -> GuestSpec:
    return GuestSpec(
        server_id=server_id,
        name=server_id,
        project_id="p",
        user_id="u",
        hostname=server_id,
        vcpus=1,
        memory_mb=64,
        disk_gb=1,
    )


class Conductor:
    """Answers with what the database would say, and keeps what it was told."""

    def __init__(self, vm_states: dict[str, VmState]) -> None:
        self.vm_states = vm_states
        self.reported: list[ReportGuests] = []

    async def ask(self, message: Message, *_: object, **__: object) -> Message:
        if isinstance(message, ReportGuests):
            self.reported.append(message)
            return Acknowledged()
        return HostWork(
            servers=[
                ServerOnHost(
                    server_id=server_id,
                    vm_state=vm_state,
                    power_state=PowerState.RUNNING if vm_state is VmState.ACTIVE else PowerState.SHUTDOWN,
                    busy=False,
                    guest=spec(server_id),
                )
                for server_id, vm_state in self.vm_states.items()
            ]
        )


@pytest.fixture
async def driver() -> FakeDriver:
    """A host whose three guests are off."""
    made = FakeDriver(SystemClock(), system_random(), FakeSettings())
    await made.start()
    for server_id in ("listed", "by-itself", "stopped"):
        await made.prepare(spec(server_id), lambda stage: None)
        await made.release(server_id)
        await made.power_off(server_id, 0)
    return made


def reconciler(driver: FakeDriver, conductor: Conductor, listed: ResumeList | None) -> Reconciler:
    return Reconciler(
        driver,
        conductor,  # type: ignore[arg-type]
        SystemClock(),
        Workplace(),
        host="h",
        incarnation="i",
        resume=listed,
    )


STATES = {"listed": VmState.ACTIVE, "by-itself": VmState.ACTIVE, "stopped": VmState.STOPPED}


async def states(driver: FakeDriver) -> dict[str, GuestState]:
    return {guest.server_id: guest.state for guest in await driver.list_guests()}


async def test_the_listed_run_again_and_the_others_stay_off(driver: FakeDriver, tmp_path: Path) -> None:
    listed, conductor = ResumeList(tmp_path), Conductor(STATES)
    listed.add(["listed", "stopped", "deleted-meanwhile"])
    await reconciler(driver, conductor, listed).once(taking_over=True)
    assert await states(driver) == {
        "listed": GuestState.RUNNING,
        "by-itself": GuestState.OFF,
        "stopped": GuestState.OFF,
    }
    assert [changed.server_id for report in conductor.reported for changed in report.changed] == ["by-itself"]
    assert listed.read() == frozenset()


async def test_only_the_first_comparison_of_a_start_resumes(driver: FakeDriver, tmp_path: Path) -> None:
    listed = ResumeList(tmp_path)
    listed.add(["listed"])
    await reconciler(driver, Conductor(STATES), listed).once(taking_over=False)
    assert (await states(driver))["listed"] is GuestState.OFF
    assert listed.read() == {"listed"}


async def test_a_guest_that_cannot_run_again_is_reported_as_it_is(driver: FakeDriver, tmp_path: Path) -> None:
    listed, conductor = ResumeList(tmp_path), Conductor({"listed": VmState.ACTIVE})
    listed.add(["listed"])
    driver.inject(Fault(verb="power_on"))
    await reconciler(driver, conductor, listed).once(taking_over=True)
    assert conductor.reported[0].changed[0].power_state == PowerState.SHUTDOWN


def test_a_list_that_nobody_resumed_yet_grows(tmp_path: Path) -> None:
    ResumeList(tmp_path).add(["a"])
    ResumeList(tmp_path).add(["b"])
    assert ResumeList(tmp_path).read() == {"a", "b"}
