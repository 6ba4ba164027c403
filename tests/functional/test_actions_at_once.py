"""What two transactions do to one server and its action in the same moment, where the database does not serialise them."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.conductor.hosts import Hosts
from kilonova.database import (
    actions,
    admission,
    engine,
    findings,
    host_servers,
    ledger,
    membership,
    moves,
    reset,
    servers,
)
from kilonova.database.tables import quota_usages
from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import (
    CONDUCTOR,
    Acknowledged,
    FinishStep,
    GuestChanged,
    HostReport,
    HostReportAnswer,
    HostWork,
    ListHostWork,
    Message,
    Need,
    ReportFindings,
    ReportGuests,
    RunningStep,
    Verdict,
)
from kilonova.model.action import ActionState, Remedy
from kilonova.model.context import RequestContext
from kilonova.model.finding import GUEST_OF_NOBODY, Finding
from kilonova.model.guest import HostResources
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.server import PowerState
from tests.functional import compute_rows
from tests.functional.compute_rows import server_id
from tests.interleaving import Still, Stop, still_world
from tests.simulation.world import Client

pytestmark = pytest.mark.distributed
SERVER = server_id("s1")
USED = {"instances": 1, "cores": 1, "ram": 512}
BEFORE = {"move": "m1", "since": 0, "host": "host2", "zone": "nova", "flavor_id": "1", "vm_state": "active"}


@pytest.fixture(params=["mariadb", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Still]:
    """Two hosts that are rows, and nothing that runs."""
    async with still_world(request, tmp_path, actions={"reclaim_instance_interval": 3600.0}) as world:
        await world.database.run(_hosts)
        yield world


def _hosts(connection: Connection) -> None:
    for number in (1, 2):
        compute_rows.insert_host(connection, number, f"host{number}")


async def a_server(world: Still, **values: Any) -> None:
    """One of ``p1`` on host1, counted; ``values`` as in its row."""

    def write(connection: Connection) -> None:
        row = {"project_id": "p1", "user_id": "u1", "host": "host1", "availability_zone": "nova", **values}
        compute_rows.insert_server(connection, "s1", **row)
        ledger.use_quota(connection, "p1", USED, {})

    await world.database.run(write)


async def an_action(world: Still, kind: str, step: str) -> None:
    """One that runs on the server, at its first epoch."""

    def write(connection: Connection) -> None:
        now = world.clock.now()
        row = actions.new_row(
            action_id="a1",
            server_id=SERVER,
            kind=KINDS[kind],
            request_id="req-1",
            user_id="u1",
            project_id="p1",
            before={"vm_state": "active", "power_state": 1},
            now=now,
            dispatch=5_000_000,
        )
        held = {"state": "running", "epoch": 1, "owner": "host1", "claimant": "c1", "on_host": "host1", "step": step}
        actions.insert(connection, [row | held])
        servers.update(connection, SERVER, action_id="a1")

    await world.database.run(write)


async def used(world: Still) -> dict[str, int]:
    """What the project is counted."""

    def read(connection: Connection) -> dict[str, int]:
        rows = connection.execute(sa.select(quota_usages).where(quota_usages.c.project_id == "p1"))
        return {row.resource: row.in_use for row in rows}

    return await world.database.run(read)


async def tell(world: Still, message: Message) -> Any:
    """The conductor's answer."""
    context, now = RequestContext(request_id="req-1"), world.clock.now()
    return await world.conductor.handle(
        Delivery(message=message, context=context, queue=CONDUCTOR, sent_at=now, received_at=now)
    )


@pytest.mark.parametrize(("kind", "step"), [("create", "build"), ("soft_delete", "put_away"), ("delete", "destroy")])
async def test_a_report_that_is_asked_twice_at_once_is_accepted_twice(
    world: Still, monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    """The host asks again after some seconds; "stale" would make it destroy the guest of a server that is ACTIVE."""
    await a_server(world)
    await an_action(world, kind, step)
    report = FinishStep(action_id="a1", step=step, epoch=1, host="host1", power_state=1)
    stop = Stop(monkeypatch, actions, "change", behind=True)
    verdicts = await stop.overtaken(world.database, tell(world, report), tell(world, report))
    await world.conductor.drain(1.0)
    assert [isinstance(verdict, Verdict) and verdict.accepted for verdict in verdicts] == [True, True]


async def test_a_lease_that_is_asked_for_twice_at_once_is_given_twice(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_server(world)
    await an_action(world, "stop", "power_off")
    await world.database.run(_waits_again)
    ask = functools.partial(
        world.database.run,
        engine.begin,
        action_id="a1",
        step="power_off",
        epoch=1,
        owner="host1",
        claimant="c2",
        now=world.clock.now(),
        lease=6_000_000,
        events=[],
    )
    stop = Stop(monkeypatch, actions, "change", behind=True)
    given = await stop.overtaken(world.database, ask(), ask())
    assert [begun.action.epoch for begun in given] == [2, 2]


def _waits_again(connection: Connection) -> None:
    pending = {"state": "pending", "owner": None, "claimant": None}
    assert actions.change(connection, "a1", pending, epoch=1, states=(ActionState.RUNNING,))


async def test_a_host_that_comes_back_hears_of_a_step_that_the_sweep_takes_over_just_then(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_server(world)
    await an_action(world, "delete", "destroy")

    def taken_over(connection: Connection) -> None:
        action = actions.find(connection, "a1")
        assert action is not None
        engine.take_over(connection, action, Remedy.RESEND, now=world.clock.now(), dispatch=1, message="")

    question = ListHostWork(host="host1", incarnation="i2", taking_over=True, guests=[])
    stop = Stop(monkeypatch, actions, "change")
    work, failed = await stop.overtaken(world.database, tell(world, question), world.database.run(taken_over))
    assert failed is None
    assert isinstance(work, HostWork), work
    assert [(step.action_id, step.epoch) for step in work.steps] == [("a1", 2)]


async def test_the_first_report_of_a_host_that_is_asked_twice_at_once_is_answered_twice(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose report fails does not start, and when many start at once they ask again."""
    report = HostReport(host="host3", incarnation="i1", running=[], resources=None, capabilities=None)
    stop = Stop(monkeypatch, actions, "renew")
    answers = await stop.overtaken(world.database, tell(world, report), tell(world, report))
    assert [isinstance(answer, HostReportAnswer) for answer in answers] == [True, True]


async def test_a_report_and_the_end_of_a_step_lock_in_one_order(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the database would give one of them up, to be run again."""
    await a_server(world)
    await an_action(world, "stop", "power_off")
    runs = []
    heartbeat = membership.heartbeat

    def counted(connection: Connection, **said: Any) -> None:
        runs.append("report")
        heartbeat(connection, **said)

    def end(connection: Connection) -> None:
        runs.append("end")
        assert actions.change(connection, "a1", {"message": ""}, epoch=1, states=(ActionState.RUNNING,))
        ledger.hold(connection, ["host1"])

    monkeypatch.setattr(membership, "heartbeat", counted)
    values = {"address": "192.0.2.9"}
    monkeypatch.setattr(Hosts, "_description", lambda self, report: values)
    report = HostReport(
        host="host1",
        incarnation="i",
        running=[RunningStep(action_id="a1", epoch=1)],
        resources=HostResources(vcpus=1, memory_mb=1, disk_gb=1, free_disk_gb=1),
    )
    stop = Stop(monkeypatch, membership, "describe_host", behind=True)
    answer, ended = await stop.overtaken(world.database, tell(world, report), world.database.run(end))
    assert isinstance(answer, HostReportAnswer) and answer.lost == [] and ended is None
    assert sorted(runs) == ["end", "report"]


async def test_findings_that_are_told_twice_at_once_are_kept_once(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Finding(kind=GUEST_OF_NOBODY, subject="g1", message=""),
        Finding(kind=GUEST_OF_NOBODY, subject="g2", message=""),
    ]
    report = ReportFindings(host="host1", findings=found)
    stop = Stop(monkeypatch, findings, "replace", behind=True)
    answers = await stop.overtaken(world.database, tell(world, report), tell(world, report))
    assert [isinstance(answer, Acknowledged) for answer in answers] == [True, True]
    assert len(await world.database.run(findings.listing)) == 2


async def test_a_reset_does_not_orphan_the_delete_that_comes_at_the_same_moment(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_server(world, launched_at=1)
    client = Client(world)
    stop = Stop(monkeypatch, reset, "ended_by_reset")
    path = f"/servers/{SERVER}/action"
    answers = await stop.overtaken(
        world.database,
        client("POST", path, {"os-resetState": {"state": "active"}}, token="admin"),
        client("POST", path, {"forceDelete": None}),
    )
    assert [answer.status_code for answer in answers] == [202, 202]
    server = await world.database.run(servers.find, SERVER)
    assert server is not None
    running = await world.database.run(actions.find, server.action_id or "")
    assert running is not None and running.kind == "delete" and running.finished_at is None


async def test_a_delete_looks_for_the_guest_where_it_has_gone_to_just_now(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would run on, with an address that is another's by then."""
    await a_server(world)
    await an_action(world, "live-migration", "transfer")

    def under_way(connection: Connection) -> None:
        moving = {"source": "host1", "destination": "host2", "zone": "nova"}
        assert actions.change(connection, "a1", {"work": moving}, epoch=1, states=(ActionState.RUNNING,))
        for host, held_by in (("host1", None), ("host2", "a1")):
            membership.heartbeat(
                connection,
                binary="nova-compute",
                host=host,
                zone="nova",
                incarnation="i",
                uuid="",
                now=world.clock.now(),
            )
            need = Need(vcpus=1, memory_mb=512, disk_gb=1)
            claim = {"server_id": SERVER, "project_id": "p1", "host": host, "need": need, "now": 1}
            assert ledger.claim(connection, held_by=held_by, **claim)

    await world.database.run(under_way)
    stop = Stop(monkeypatch, admission, "_preempt")
    answer, verdict = await stop.overtaken(
        world.database,
        Client(world)("POST", f"/servers/{SERVER}/action", {"forceDelete": None}),
        tell(world, FinishStep(action_id="a1", step="transfer", epoch=1, host="host1")),
    )
    assert answer.status_code == 202 and verdict.accepted
    [delete, _] = await world.database.run(actions.of_server, SERVER)
    assert (delete.kind, delete.on_host, delete.work) == ("delete", "host2", {"copy": "host1"})


async def test_two_resets_at_once_give_back_once(world: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    flavor = {"name": "m1.tiny", "vcpus": 1, "memory_mb": 512, "disk_gb": 1}
    charged = {"instances": 1, "cores": 2, "ram": 1024}
    await a_server(world, vm_state="resized", resized_from={**BEFORE, "flavor": flavor}, charged=charged)
    await world.database.run(ledger.use_quota, "p1", {"cores": 1, "ram": 512}, {})
    client = Client(world)
    ask = functools.partial(client, "POST", f"/servers/{SERVER}/action", {"os-resetState": {"state": "active"}})
    stop = Stop(monkeypatch, moves, "way_back_given_up")
    answers = await stop.overtaken(world.database, ask(token="admin"), ask(token="admin"))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert await used(world) == USED


async def test_a_guest_that_changed_by_itself_does_not_take_back_what_an_administrator_said(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_server(world, vm_state="soft-delete", soft_deleted_at=1)
    await world.database.run(ledger.drop_quota, "p1", USED)
    client = Client(world)
    changed = [GuestChanged(server_id=SERVER, power_state=int(PowerState.SHUTDOWN))]
    stop = Stop(monkeypatch, servers, "find", behind=True)
    _, answer = await stop.overtaken(
        world.database,
        tell(world, ReportGuests(host="host1", changed=changed)),
        client("POST", f"/servers/{SERVER}/action", {"os-resetState": {"state": "error"}}, token="admin"),
    )
    assert answer.status_code == 202
    server = await world.database.run(servers.find, SERVER)
    assert server is not None and server.vm_state == "error"
    assert await used(world) == USED


async def test_what_was_due_is_looked_at_again(world: Still) -> None:
    """It was restored, say, and put away anew: what is done about it must not follow from what it was."""
    await a_server(world, vm_state="soft-delete", soft_deleted_at=1, updated_at=1)
    due, now = world.conductor._due, world.clock.now()
    [seen] = await world.database.run(due._look, now)
    await world.database.run(servers.update, SERVER, soft_deleted_at=now, updated_at=now, host="host2")
    assert await world.database.run(due._ask, seen, now) is None
    assert await world.database.run(actions.of_server, SERVER) == []


async def test_a_host_with_a_claim_that_came_at_the_same_moment_is_not_forgotten(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await world.database.run(membership.find_service, "nova-compute", "host2")
    assert service is not None
    claim = {"server_id": SERVER, "project_id": "p1", "host": "host2", "now": 1}
    stop = Stop(monkeypatch, host_servers, "in_use", behind=True)
    answer, claimed = await stop.overtaken(
        world.database,
        Client(world)("DELETE", f"/os-services/{service.uuid}", token="admin"),
        world.database.run(ledger.claim, need=Need(vcpus=1, memory_mb=1, disk_gb=1), **claim),  # type: ignore[arg-type]
    )
    assert (answer.status_code, claimed) == (204, False)


async def test_a_host_is_not_forced_up_while_a_server_is_evacuated_from_it(
    world: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the server would run here and there."""
    await a_server(world)
    service = await world.database.run(membership.find_service, "nova-compute", "host1")
    assert service is not None
    await world.database.run(membership.update_service, service.id, forced_down=True)
    client = Client(world)
    stop = Stop(monkeypatch, membership, "compute_up", behind=True)
    evacuated, forced = await stop.overtaken(
        world.database,
        client("POST", f"/servers/{SERVER}/action", {"evacuate": {}}, token="admin"),
        client("PUT", f"/os-services/{service.uuid}", {"forced_down": False}, token="admin"),
    )
    assert (evacuated.status_code, forced.status_code) == (200, 400)
