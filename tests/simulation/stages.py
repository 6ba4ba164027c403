"""The worlds in which planted bugs show: schedules made over so that one sort of thing happens again and again."""

import msgspec

from kilonova.model.clock import Random
from kilonova.simulation.schedule import DEVICE, HOSTS, PINNED, Fault, Operation, Schedule


def plugging(schedule: Schedule) -> Schedule:
    """Servers get cards and lose them just when all hosts fall silent, for longer than their leases."""
    source = Random(schedule.seed)
    operations = [Operation(at=0.1 * slot, kind="create", slot=slot, retries=3) for slot in range(6)]
    for kind, until in (("attach", 5.0), ("detach", 6.5), ("attach", 8.0), ("detach", 8.0)):
        operations += [
            Operation(at=until - source.uniform(0.0, 1.5), kind=kind, slot=slot, retries=1) for slot in range(6)
        ]
    operations.sort(key=lambda operation: operation.at)
    silent = tuple(
        Fault(
            at=7.5,
            lasts=source.uniform(12.0, 15.0),
            kind=source.choice(("partition", "partition", "frozen", "kill")),
            target=host,
            turns=int(source.expovariate(1 / 25)),
        )
        for host in HOSTS
    )
    unable = Fault(at=3.0, lasts=3.0, kind="sick", target=HOSTS[0], verbs=("change_nics",))
    return msgspec.structs.replace(
        schedule, operations=tuple(operations), faults=(unable, *silent), pace=1.0, slots_of_host=8, quota=10
    )


def _meanwhile(schedule: Schedule, kind: str, asked: str, verbs: tuple[str, ...] = ()) -> Schedule:
    """A world without regular comparisons, in which all hosts suffer the same while something is asked of each server."""
    source = Random(schedule.seed)
    operations = [Operation(at=0.1 * slot, kind="create", slot=slot, retries=3) for slot in range(6)]
    operations += [Operation(at=source.uniform(5.0, 16.0), kind=asked, slot=slot, retries=3) for slot in range(6)]
    operations.sort(key=lambda operation: operation.at)
    faults = tuple(Fault(at=1.0, lasts=14.0, kind=kind, target=host, verbs=verbs) for host in HOSTS)
    return msgspec.structs.replace(
        schedule,
        operations=tuple(operations),
        faults=faults,
        slots_of_host=8,
        quota=10,
        pace=0.3,
        distance=1.0,
        reclaim=0.0,
        reconcile=600.0,
    )


def asleep(schedule: Schedule) -> Schedule:
    """Servers are deleted while their hosts stand still."""
    return _meanwhile(schedule, "frozen", "delete")


def set_aside(schedule: Schedule) -> Schedule:
    """Servers are deleted while an operator says that their hosts are down, and then that they are up."""
    return _meanwhile(schedule, "forced", "delete")


def hesitant(schedule: Schedule) -> Schedule:
    """Hosts cannot let run what they have prepared; meanwhile it is asked to stop."""
    return _meanwhile(schedule, "sick", "stop", ("release",))


def together(schedule: Schedule) -> Schedule:
    """Many servers that are never to be on one host are asked for at once."""
    operations = tuple(
        Operation(at=0.0, kind="create", slot=slot, project=2, retries=3, apart=True) for slot in range(3)
    )
    return msgspec.structs.replace(
        schedule, operations=operations, faults=(), distance=40.0, slots_of_host=8, quota=10
    )


def particular(schedule: Schedule) -> Schedule:
    """A world in which servers want processors and devices of their own, and there is room."""
    wanted = (PINNED, DEVICE)
    operations = tuple(
        msgspec.structs.replace(operation, flavor=wanted[operation.slot % 2])
        if operation.kind in ("create", "grow")
        else operation
        for operation in schedule.operations
    )
    return msgspec.structs.replace(schedule, operations=operations, topology=True, quota=10, slots_of_host=8)


def as_drawn(schedule: Schedule) -> Schedule:
    """Any world."""
    return schedule


def put_away(schedule: Schedule) -> Schedule:
    """A world in which deletes can be taken back, and hosts that cannot upload anything."""
    faults = tuple(Fault(at=0.0, lasts=20.0, kind="sick", target=host, verbs=("snapshot",)) for host in HOSTS)
    return msgspec.structs.replace(schedule, faults=faults, reclaim=6.0, quota=10, slots_of_host=8)


def isolated(schedule: Schedule) -> Schedule:
    """A world of long builds on hosts that fall silent one after the other: where zombies come from."""
    source = Random(schedule.seed)
    faults = tuple(
        Fault(at=source.uniform(1.0, 9.0), lasts=source.uniform(9.0, 15.0), kind="partition", target=host)
        for host in HOSTS
    )
    creates = tuple(operation for operation in schedule.operations if operation.kind == "create")
    return msgspec.structs.replace(schedule, operations=creates, faults=faults, pace=20.0, slots_of_host=8)


def crowded(schedule: Schedule) -> Schedule:
    """Everybody wants one of three places at once."""
    creates = tuple(
        msgspec.structs.replace(operation, at=0.0) for operation in schedule.operations if operation.kind == "create"
    )
    return msgspec.structs.replace(schedule, operations=creates, faults=(), slots_of_host=1, quota=10, distance=40.0)


def sick(schedule: Schedule) -> Schedule:
    """No host can build anything."""
    faults = tuple(Fault(at=0.0, lasts=20.0, kind="sick", target=host, verbs=("prepare",)) for host in HOSTS)
    return msgspec.structs.replace(schedule, faults=faults)


def failing(schedule: Schedule) -> Schedule:
    """Builds fail on one host and go to another, far away from the database; messages come twice."""
    creates = tuple(operation for operation in schedule.operations if operation.kind == "create")
    faults = (
        Fault(at=0.0, lasts=20.0, kind="sick", target=HOSTS[0], verbs=("prepare",)),
        Fault(at=0.0, lasts=20.0, kind="weather", chances={"bus.duplicate": 0.3, "hypervisor.fault": 0.2}),
    )
    return msgspec.structs.replace(
        schedule, operations=creates, faults=faults, slots_of_host=8, quota=10, distance=40.0
    )


def hasty(schedule: Schedule) -> Schedule:
    """Servers are deleted while they are being built, far away from a slow database."""
    source = Random(schedule.seed)
    creates = [operation for operation in schedule.operations if operation.kind == "create"]
    deletes = [
        msgspec.structs.replace(operation, kind="delete", at=operation.at + source.uniform(0.3, 1.5), retries=5)
        for operation in creates
    ]
    operations = tuple(sorted((*creates, *deletes), key=lambda operation: operation.at))
    slow = Fault(at=0.0, lasts=20.0, kind="weather", chances={"db.slow": 0.2, "bus.delay": 0.2})
    faults = (*schedule.faults, slow)
    return msgspec.structs.replace(schedule, operations=operations, faults=faults, distance=40.0, quota=10)


STAGES = (isolated, crowded, hasty, sick, put_away, particular, plugging, together, asleep, set_aside, hesitant)
"""Those that must be well without a bug; whatever else is played is drawn."""
