"""Bugs to be planted: mistakes that real clouds made, or that a careless change to ours would make.

Each is one function that patches the shipped code. ``BUGS`` names them with the kind of world they show in, and the seeds
within which the simulator must find each (about three times what it needed when this was written).
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from kilonova.api.compute import boot
from kilonova.api.compute import servers as servers_api
from kilonova.compute import agent, build, move, reconcile, step, workplace
from kilonova.compute.operations import OPERATIONS
from kilonova.conductor import hosts, snapshots, steps, sweep
from kilonova.database import (
    actions,
    addresses,
    admission,
    engine,
    ledger,
    membership,
    moves,
    outcomes,
    outgoing,
    reset,
    server_groups,
    servers,
    tables,
    topologies,
)
from kilonova.database.outgoing import quota_of
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.model.action import ActionState
from kilonova.model.errors import Stale, Unavailable
from kilonova.model.guest import GuestState
from kilonova.model.server import PowerState
from kilonova.model.topology.given import GivenCell, TopologyUse
from kilonova.network.service import EmbeddedNetworks
from kilonova.simulation import bus
from kilonova.simulation.schedule import Schedule
from tests.simulation.stages import (
    as_drawn,
    crowded,
    failing,
    hasty,
    hesitant,
    isolated,
    particular,
    plugging,
    put_away,
    set_aside,
    sick,
    together,
)

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
    """Whoever reports is right, whoever holds the action; and a host that is cut off works on."""
    change, finish = actions.change, engine.finish

    def careless(connection: Any, action_id: str, values: Any, *, epoch: int, **more: Any) -> bool:
        action = actions.find(connection, action_id)
        return change(connection, action_id, values, epoch=action.epoch if action else epoch, **more)

    def believing(connection: Any, *, action_id: str, epoch: int, **more: Any) -> Any:
        action = actions.find(connection, action_id)
        return finish(connection, action_id=action_id, epoch=action.epoch if action else epoch, **more)

    patch.setattr(actions, "change", careless)
    patch.setattr(engine, "finish", believing)
    patch.setattr(agent.Agent, "_stop_unconfirmed", lambda self: None)


def a_build_is_not_idempotent(patch: Patch) -> None:
    """A build that comes again is granted again, and makes a new guest where there is one."""
    begin = engine.begin

    def generous(connection: Any, *, action_id: str, **more: Any) -> Any:
        action = actions.find(connection, action_id)
        server = servers.find(connection, action.server_id) if action else None
        if action and server and action.kind == "create" and action.state == ActionState.SUCCEEDED:
            return engine.Begun(action=action, server=server)
        return begin(connection, action_id=action_id, **more)

    def always(*given: Any) -> bool:
        addressed(*given)
        return True

    addressed = engine.addressed
    patch.setattr(engine, "begin", generous)
    patch.setattr(engine, "addressed", always)
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

    async def hasty(run: step.StepRun, tools: Any) -> None:
        finish = run.finish

        async def release_first(power_state: int | None = None) -> None:
            assert run.asked.guest is not None
            await tools.driver.release(run.asked.server_id)
            await finish(power_state)

        run.finish = release_first  # type: ignore[method-assign]
        await build.build(run, tools)

    patch.setitem(OPERATIONS, "build", hasty)


def nothing_is_undone_when_stale(patch: Patch) -> None:
    """Who lost its action leaves what it made, and reconcile does not look for it."""

    async def untidy(run: step.StepRun, tools: Any) -> None:
        finish = run.finish

        async def ignoring(power_state: int | None = None) -> None:
            try:
                await finish(power_state)
            except Stale:
                raise Unavailable("left as it is") from None

        run.finish = ignoring  # type: ignore[method-assign]
        await build.build(run, tools)

    async def blind(self: Any, listed: Any) -> None:
        return None

    patch.setitem(OPERATIONS, "build", untidy)
    patch.setattr(reconcile.Reconciler, "_remove", blind)


def ports_are_not_released(patch: Patch) -> None:
    """A deleted server keeps its ports and addresses."""

    async def release(self: Any, server_id: str) -> None:
        return None

    patch.setattr(EmbeddedNetworks, "release", release)


def a_delete_lets_the_build_go_on(patch: Patch) -> None:
    """What runs on a server is not ended by the delete that takes its place."""
    patch.setattr(admission, "_preempt", lambda *given: True)


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

    async def destroy(run: step.StepRun, tools: Any) -> None:
        await run.finish()

    patch.setitem(OPERATIONS, "destroy", destroy)
    patch.setattr(hosts.Hosts, "_gone", lambda self, connection, asked, here: [])


def steps_end_in_silence(patch: Patch) -> None:
    """A handler that is cut off by the database drops its message, and the sweep believes that it is being worked on."""

    def renewed(connection: Any, now: int, most: int) -> list[Any]:
        return [action for action in _late(connection, now, most) if action.state == ActionState.PENDING]

    _late = actions.late
    patch.setattr(actions, "late", renewed)


def a_stop_is_recorded_first(patch: Patch) -> None:
    """The database says SHUTOFF before the guest is off, and whoever dies in between leaves it running."""

    async def power_off(run: step.StepRun, tools: Any) -> None:
        await run.finish(PowerState.SHUTDOWN)
        await asyncio.sleep(0)
        await tools.driver.power_off(run.asked.server_id, tools.grace)

    async def compare(self: Any, server: Any, listed: Any) -> Any:
        return None

    patch.setitem(OPERATIONS, "power_off", power_off)
    patch.setattr(reconcile.Reconciler, "_compare", compare)


def ports_ask_nobody(patch: Patch) -> None:
    """A build that was begun before the delete gets its ports after it, in a transaction of their own."""
    addressed = engine.addressed

    def always(*given: Any) -> bool:
        addressed(*given)
        return True

    patch.setattr(EmbeddedNetworks, "binder", None)
    patch.setattr(addresses, "is_leaving", lambda connection, server_id: False)
    patch.setattr(engine, "addressed", always)


def ports_go_with_the_failed_host(patch: Patch) -> None:
    """A failed build's ports are given back after its rescheduling, when they may be the next host's."""
    end_failed = steps.Steps._end_failed

    async def late(self: Any, action_id: str, *given: Any, **more: Any) -> None:
        action = await self._database.run(actions.find, action_id)
        await end_failed(self, action_id, *given, **more)
        await self._networks.release(action.server_id)

    patch.setattr(steps.Steps, "_end_failed", late)


def the_way_back_is_thrown_away(patch: Patch) -> None:
    """A host keeps only the guests of servers that are on it, whatever a move still needs there."""
    patch.setattr(servers, "with_claims_on", servers.on_host)


def a_move_keeps_what_it_held(patch: Patch) -> None:
    """What a move held at its other side is not given back."""
    patch.setattr(ledger, "let_go", lambda connection, consumer: None)


def claims_do_not_change_places(patch: Patch) -> None:
    """The server goes to another host, and its own claim stays."""
    patch.setattr(ledger, "change_places", lambda connection, server_id, move: None)


def a_resize_is_charged_for_ever(patch: Patch) -> None:
    """The quota for the larger flavor is not given back when the move is over."""
    patch.setattr(moves, "_charge_only", lambda connection, server, flavor: {"charged": None})


def a_guest_departs_and_runs_on(patch: Patch) -> None:
    """The source says that its guest is off, and it is not."""

    async def depart(run: step.StepRun, tools: Any) -> None:
        await run.finish(PowerState.SHUTDOWN)

    patch.setitem(OPERATIONS, "depart", depart)


def a_guest_arrives_and_runs_at_once(patch: Patch) -> None:
    """The destination lets its guest run before the database has it there."""

    async def confirm(run: step.StepRun, tools: Any, spec: Any) -> None:
        await tools.driver.release(spec.server_id)
        await build.confirm(run, tools, spec)

    patch.setattr(move, "confirm", confirm)


def a_guest_is_handed_over_and_goes_on(patch: Patch) -> None:
    """A live migration is recorded when the destination's guest goes on already."""
    patch.setitem(outcomes._PASSED, ("live-migration", "transfer"), lambda connection, action, now: {})


def half_made_images_stay(patch: Patch) -> None:
    """The record of an image that was never uploaded is nobody's business."""

    async def forget(self: Any, image: Any) -> None:
        return None

    patch.setattr(snapshots.Snapshots, "_forget", forget)


def soft_deleted_servers_count(patch: Patch) -> None:
    """A server that is only put away goes on using the project's quota."""
    patch.setitem(outcomes._SUCCEEDED, "soft_delete", lambda connection, action, now: {"soft_deleted_at": now})


def a_reset_leaves_what_ran(patch: Patch) -> None:
    """The server's state is reset, and the action that runs on it goes on."""
    patch.setattr(reset, "ended_by_reset", lambda connection, server, now: None)


def nobody_looks_what_is_given(patch: Patch) -> None:
    """Processors and devices are given as if the host had given none before."""
    take = topologies.take

    def blind(*given: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(topologies, "_used", lambda connection, host: TopologyUse())
            return take(*given)

    patch.setattr(topologies, "take", blind)


def an_emulators_processor_does_not_count(patch: Patch) -> None:
    """An emulator is given a processor, and it stays free for others."""
    patch.setattr(GivenCell, "taken", property(lambda cell: {host for _, host in cell.pins}))


def what_is_given_back_counts_as_given(patch: Patch) -> None:
    """Allocations go, and the host's sum stays."""
    patch.setattr(ledger, "topologies", SimpleNamespace(count=lambda connection, host: None))


def a_guest_moves_with_the_processors_it_had(patch: Patch) -> None:
    """The destination is told what the source has given."""

    def own(connection: Any, action: Any, server: Any) -> Any:
        return topologies.given_to(connection, server.id, server.host, server.id)

    patch.setattr(outgoing, "_given", own)


def cards_stay_as_they_were(patch: Patch) -> None:
    """A host that was away does not look whether its guests' cards are still their servers'."""

    async def nothing(self: Any, server: Any, listed: Any) -> None:
        return None

    patch.setattr(reconcile.Reconciler, "_match_cards", nothing)


def prepared_guests_refuse_what_is_asked(patch: Patch) -> None:
    """A guest whose word was lost waits for a comparison, and every step asked of it meanwhile fails."""
    patch.setattr(agent, "ON_A_CONFIRMED_GUEST", frozenset())
    patch.setattr(agent.Agent, "_compare_soon", lambda self: None)


def hosts_are_told_nothing(patch: Patch) -> None:
    """Whatever is decided without a host, it learns with its next regular comparison."""
    patch.setattr(membership, "compare_soon", lambda connection, host: None)


def a_failed_attach_keeps_its_port(patch: Patch) -> None:
    """The port that an attach has made stays the server's, although its host could not plug it in."""
    patch.delitem(outcomes._UNDONE, "attach_interface")


def a_group_is_not_asked_for_a_place(patch: Patch) -> None:
    """Who places a server of a group trusts what it saw when it chose."""
    patch.setattr(server_groups, "claim_place", lambda *given: True)
    patch.setattr(server_groups, "claim_places", lambda *given: True)


BUGS: dict[Callable[[Patch], None], tuple[Callable[[Schedule], Schedule], int]] = {
    nobody_sweeps: (as_drawn, 30),
    half_made_images_stay: (put_away, 10),
    soft_deleted_servers_count: (put_away, 10),
    a_reset_leaves_what_ran: (put_away, 20),
    acknowledged_before_the_work: (as_drawn, 30),
    epochs_are_not_compared: (isolated, 30),
    a_build_is_not_idempotent: (failing, 60),
    quota_is_counted_afterwards: (as_drawn, 30),
    claims_ask_nobody: (crowded, 30),
    a_claim_stays_with_the_host_that_failed: (as_drawn, 60),
    guests_run_before_they_are_confirmed: (as_drawn, 10),
    nothing_is_undone_when_stale: (isolated, 30),
    ports_are_not_released: (as_drawn, 10),
    ports_ask_nobody: (hasty, 100),
    ports_go_with_the_failed_host: (failing, 60),
    a_delete_lets_the_build_go_on: (as_drawn, 10),
    confirmed_guests_are_forgotten: (as_drawn, 120),
    a_repeated_report_is_refused: (as_drawn, 60),
    a_lost_lease_ends_what_is_being_confirmed: (as_drawn, 30),
    a_failed_build_says_nothing: (as_drawn, 10),
    a_failed_build_keeps_its_claim: (sick, 10),
    power_is_reported_blindly: (as_drawn, 30),
    a_delete_skips_the_host: (as_drawn, 10),
    steps_end_in_silence: (isolated, 30),
    a_stop_is_recorded_first: (as_drawn, 60),
    the_way_back_is_thrown_away: (as_drawn, 30),
    a_move_keeps_what_it_held: (as_drawn, 30),
    claims_do_not_change_places: (as_drawn, 30),
    a_resize_is_charged_for_ever: (as_drawn, 30),
    a_guest_departs_and_runs_on: (as_drawn, 30),
    a_guest_arrives_and_runs_at_once: (as_drawn, 30),
    a_guest_is_handed_over_and_goes_on: (as_drawn, 30),
    nobody_looks_what_is_given: (particular, 10),
    an_emulators_processor_does_not_count: (particular, 20),
    what_is_given_back_counts_as_given: (particular, 10),
    a_guest_moves_with_the_processors_it_had: (particular, 30),
    cards_stay_as_they_were: (plugging, 10),
    prepared_guests_refuse_what_is_asked: (hesitant, 10),
    hosts_are_told_nothing: (set_aside, 10),
    a_failed_attach_keeps_its_port: (plugging, 10),
    a_group_is_not_asked_for_a_place: (together, 10),
}
