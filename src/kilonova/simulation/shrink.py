"""From a world that fails to the smallest one that fails the same way: what is left is what matters."""

from collections.abc import Callable, Iterator

import msgspec

from kilonova.simulation.schedule import Fault, Schedule
from kilonova.simulation.world import Outcome

TRIES = 200


def shrink(failed: Outcome, again: Callable[[Schedule], Outcome], tries: int = TRIES) -> Outcome:
    """Drop one fault, operation or chance after the other as long as the same rule stays broken."""
    kinds = {finding.kind for finding in failed.findings}
    best = failed
    progress = True
    while progress and tries > 0:
        progress = False
        for smaller in _smaller(best.schedule):
            tries -= 1
            outcome = again(smaller)
            if kinds & {finding.kind for finding in outcome.findings}:
                best, progress = outcome, True
                break
            if tries <= 0:
                break
    return best


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Every schedule with one thing less, the largest cuts first."""
    replace = msgspec.structs.replace
    faults, operations = schedule.faults, schedule.operations
    for slot in sorted({operation.slot for operation in operations}):
        kept = tuple(operation for operation in operations if operation.slot != slot)
        if kept:
            yield replace(schedule, operations=kept)
    for index in range(len(faults)):
        yield replace(schedule, faults=faults[:index] + faults[index + 1 :])
    for index in range(len(operations)):
        yield replace(schedule, operations=operations[:index] + operations[index + 1 :])
    if any(schedule.skews.values()):
        yield replace(schedule, skews={})
    for index, fault in enumerate(faults):
        for calmer in _calmer(fault):
            yield replace(schedule, faults=(*faults[:index], calmer, *faults[index + 1 :]))


def _calmer(fault: Fault) -> Iterator[Fault]:
    if len(fault.chances) > 1:
        for name in fault.chances:
            chances = {other: chance for other, chance in fault.chances.items() if other != name}
            yield msgspec.structs.replace(fault, chances=chances)
    if len(fault.verbs) > 1:
        for verb in fault.verbs:
            yield msgspec.structs.replace(fault, verbs=tuple(other for other in fault.verbs if other != verb))
