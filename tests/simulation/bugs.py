"""Bugs to be planted: mistakes that real clouds made, or that a careless change to ours would make.

Each is one function that patches the shipped code. ``BUGS`` names them with the seeds within which the simulator must find
each (about three times what it needed when this was written).
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from kilonova.api.compute import boot
from kilonova.api.compute import servers as servers_api
from kilonova.compute import agent, build, reconcile, step, workplace
from kilonova.conductor import hosts, sweep
from kilonova.database import actions, admission, engine, ledger, servers, tables
from kilonova.database.outgoing import quota_of
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.model.action import ActionState
from kilonova.model.errors import Stale, Unavailable
from kilonova.model.guest import GuestState
from kilonova.model.server import PowerState
from kilonova.network.service import EmbeddedNetworks
from kilonova.simulation import bus

Patch = pytest.MonkeyPatch


def nobody_sweeps(patch: Patch) -> None:
    """Late actions are nobody's business."""

    async def once(self: Any) -> int:
        return 0

    patch.setattr(sweep.Sweep, "once", once)


def acknowledged_before_the_work(patch: Patch) -> None:
    """As Nova does it: the message is gone before its work is done, and nobody sweeps."""
    nobody_sweeps(patch)
    patch.setattr(bus.Broker, "_again_later", lambda self, queue, letter: None)


def epochs_are_not_compared(patch: Patch) -> None:
    """Whoever reports last is right, whoever holds the action."""
    change, finish = actions.change, engine.finish

    def careless(connection: Any, action_id: str, values: Any, *, epoch: int, **more: Any) -> bool:
        action = actions.find(connection, action_id)
        return change(connection, action_id, values, epoch=action.epoch if action else epoch, **more)

    def believing(connection: Any, *, action_id: str, epoch: int, **more: Any) -> Any:
        action = actions.find(connection, action_id)
        return finish(connection, action_id=action_id, epoch=action.epoch if action else epoch, **more)

    patch.setattr(actions, "change", careless)
    patch.setattr(engine, "finish", believing)


def a_step_is_granted_twice(patch: Patch) -> None:
    """A duplicated message gets the lease that somebody else has."""
    begin = engine.begin

    def generous(connection: Any, *, action_id: str, **more: Any) -> Any:
        action = actions.find(connection, action_id)
        server = servers.find(connection, action.server_id) if action else None
        if action and server and action.state == ActionState.RUNNING and server.host == more["owner"]:
            return engine.Begun(action=action, server=server)
        return begin(connection, action_id=action_id, **more)

    patch.setattr(engine, "begin", generous)


def a_build_forgets_that_it_built(patch: Patch) -> None:
    """The conductor grants twice, and the driver makes a new guest over the one that is there."""
    a_step_is_granted_twice(patch)
    patch.setattr(FakeDriver, "_done_before", lambda self, spec: False)


def quota_is_counted_afterwards(patch: Patch) -> None:
    """The servers in one transaction, the quota in the next."""
    create = admission.create

    def uncounted(connection: Any, **more: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "use_quota", lambda *given: None)
            create(connection, **more)

    admit = servers_api._admit

    async def twice(cloud: Any, call: Any, asked: boot.Boot, now: int) -> Any:
        made = await admit(cloud, call, asked, now)
        defaults = cloud.config.quota.model_dump()
        amounts = quota_of(made[0][0]["flavor"], asked.count)
        await cloud.database.run(ledger.use_quota, call.project_id, amounts, defaults)
        return made

    patch.setattr(admission, "create", uncounted)
    patch.setattr(servers_api, "_admit", twice)


def claims_ask_nobody(patch: Patch) -> None:
    """A host takes whatever a scheduler believes in."""
    h = tables.hosts.c
    needed = {name: sa.bindparam(name, type_=sa.Integer) for name in ("vcpus_needed", "memory_needed", "disk_needed")}
    unbounded = (
        tables.hosts.update()
        .where(h.host == sa.bindparam("on_host"))
        .values(
            vcpus_used=h.vcpus_used + needed["vcpus_needed"],
            memory_mb_used=h.memory_mb_used + needed["memory_needed"],
            disk_gb_used=h.disk_gb_used + needed["disk_needed"],
            servers_count=h.servers_count + 1,
        )
    )
    patch.setattr(ledger, "_CLAIM", unbounded)


def a_claim_stays_with_the_host_that_failed(patch: Patch) -> None:
    """A build that goes to another host leaves its allocation behind."""
    reschedule = engine._reschedule

    def forgetful(*given: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "give_back", lambda connection, server_id: None)
            return reschedule(*given)

    patch.setattr(engine, "_reschedule", forgetful)


def guests_run_before_they_are_confirmed(patch: Patch) -> None:
    """The guest's first instruction comes before the commit."""

    async def hasty(run: step.StepRun, driver: Any, clock: Any) -> None:
        finish = run.finish

        async def release_first(power_state: int | None = None) -> None:
            assert run.asked.guest is not None
            await driver.release(run.asked.server_id)
            await finish(power_state)

        run.finish = release_first  # type: ignore[method-assign]
        await build.build(run, driver, clock)

    patch.setattr(agent, "build", hasty)


def nothing_is_undone_when_stale(patch: Patch) -> None:
    """Who lost its action leaves what it made, and reconcile does not look for it."""

    async def untidy(run: step.StepRun, driver: Any, clock: Any) -> None:
        finish = run.finish

        async def ignoring(power_state: int | None = None) -> None:
            try:
                await finish(power_state)
            except Stale:
                raise Unavailable("left as it is") from None

        run.finish = ignoring  # type: ignore[method-assign]
        await build.build(run, driver, clock)

    async def blind(self: Any, listed: Any) -> None:
        return None

    patch.setattr(agent, "build", untidy)
    patch.setattr(reconcile.Reconciler, "_remove", blind)


def ports_are_not_released(patch: Patch) -> None:
    """A deleted server keeps its ports and addresses."""

    async def release(self: Any, server_id: str) -> None:
        return None

    patch.setattr(EmbeddedNetworks, "release", release)


def a_delete_lets_the_build_go_on(patch: Patch) -> None:
    """What runs on a server is not ended by the delete that takes its place."""
    patch.setattr(admission, "_preempt", lambda connection, server, now: True)


def confirmed_guests_are_forgotten(patch: Patch) -> None:
    """Reconcile does not let run what was confirmed and is not running."""
    compare = reconcile.Reconciler._compare

    async def blind(self: Any, server: Any, listed: Any) -> Any:
        if listed is not None and listed.state is GuestState.PREPARED:
            return None
        return await compare(self, server, listed)

    patch.setattr(reconcile.Reconciler, "_compare", blind)


def a_repeated_report_is_refused(patch: Patch) -> None:
    """A finish that was recorded, and is asked again because its answer was lost, counts as stale."""
    finish = engine.finish

    def forgetful(connection: Any, *, action_id: str, **more: Any) -> Any:
        action = actions.find(connection, action_id)
        if action is not None and action.state == ActionState.SUCCEEDED:
            return engine.Finished(accepted=False, reason="it is over")
        return finish(connection, action_id=action_id, **more)

    patch.setattr(engine, "finish", forgetful)


def a_lost_lease_ends_what_is_being_confirmed(patch: Patch) -> None:
    """Found by seed 146: the heartbeat unmakes a guest that was just confirmed."""

    def cancel(self: workplace.Workplace, action_id: str) -> None:
        run = self._runs.get(action_id)
        if run is not None:
            self.cancel_server(run.asked.server_id)

    patch.setattr(workplace.Workplace, "cancel_action", cancel)


def a_takeover_does_not_fence(patch: Patch) -> None:
    """The sweep gives a running step to another and leaves the epoch as it was; a finish needs no lease."""
    change, finish = actions.change, engine.finish

    def same_epoch(connection: Any, action_id: str, values: Any, *, epoch: int, **more: Any) -> bool:
        if values.get("state") == ActionState.PENDING and values.get("step", "build") in ("build", "schedule"):
            values = {**values, "epoch": epoch}
        return change(connection, action_id, values, epoch=epoch, **more)

    def from_anybody(connection: Any, *, action_id: str, **more: Any) -> Any:
        actions_open = (ActionState.PENDING, ActionState.RUNNING)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(engine, "_RUNNING", actions_open)
            return finish(connection, action_id=action_id, **more)

    patch.setattr(actions, "change", same_epoch)
    patch.setattr(engine, "finish", from_anybody)


def a_failed_build_says_nothing(patch: Patch) -> None:
    """The server goes to ERROR without a fault."""
    patch.setattr(engine, "_fault", lambda *given: None)


def a_failed_build_keeps_its_claim(patch: Patch) -> None:
    """A create that has failed for good does not give its host back."""
    give_up = engine._give_up

    def forgetful(*given: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "give_back", lambda connection, server_id: None)
            give_up(*given)

    patch.setattr(engine, "_give_up", forgetful)


def power_is_reported_blindly(patch: Patch) -> None:
    """A host's word on a guest counts even for a server that is on another host, or is being changed."""

    def follow(self: Any, connection: Any, report: Any, now: int) -> None:
        for changed in report.changed:
            servers.update(
                connection, changed.server_id, power_state=changed.power_state, task_state=None, action_id=None
            )

    patch.setattr(hosts.Hosts, "_follow", follow)


def a_delete_skips_the_host(patch: Patch) -> None:
    """The conductor's rows go, the guest stays, and reconcile is not told that it must go."""

    async def destroy(run: step.StepRun, driver: Any) -> None:
        await run.finish()

    patch.setattr(agent, "destroy", destroy)
    patch.setattr(hosts.Hosts, "_gone", lambda self, connection, asked, here: [])


def steps_end_in_silence(patch: Patch) -> None:
    """A handler that is cut off by the database drops its message, and the sweep believes that it is being worked on."""

    def renewed(connection: Any, now: int, most: int) -> list[Any]:
        return [action for action in _late(connection, now, most) if action.state == ActionState.PENDING]

    _late = actions.late
    patch.setattr(actions, "late", renewed)


def a_stop_is_recorded_first(patch: Patch) -> None:
    """The database says SHUTOFF before the guest is off, and whoever dies in between leaves it running."""

    async def power_off(run: step.StepRun, driver: Any, grace: float) -> None:
        await run.finish(PowerState.SHUTDOWN)
        await asyncio.sleep(0)
        await driver.power_off(run.asked.server_id, grace)

    async def compare(self: Any, server: Any, listed: Any) -> Any:
        return None

    patch.setattr(agent, "power_off", power_off)
    patch.setattr(reconcile.Reconciler, "_compare", compare)


BUGS: dict[Callable[[Patch], None], int] = {
    nobody_sweeps: 30,
    acknowledged_before_the_work: 30,
    epochs_are_not_compared: 30,
    a_step_is_granted_twice: 60,
    a_build_forgets_that_it_built: 60,
    quota_is_counted_afterwards: 60,
    claims_ask_nobody: 60,
    a_claim_stays_with_the_host_that_failed: 30,
    guests_run_before_they_are_confirmed: 10,
    nothing_is_undone_when_stale: 60,
    ports_are_not_released: 10,
    a_delete_lets_the_build_go_on: 60,
    confirmed_guests_are_forgotten: 60,
    a_repeated_report_is_refused: 60,
    a_lost_lease_ends_what_is_being_confirmed: 60,
    a_takeover_does_not_fence: 60,
    a_failed_build_says_nothing: 30,
    a_failed_build_keeps_its_claim: 30,
    power_is_reported_blindly: 60,
    a_delete_skips_the_host: 10,
    steps_end_in_silence: 60,
    a_stop_is_recorded_first: 60,
}
