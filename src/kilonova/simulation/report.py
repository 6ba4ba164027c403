"""What a reader is shown of a world: the schedule, what is wrong, and the part of the story that concerns it."""

import re
from collections.abc import Iterator

from kilonova.simulation.world import Outcome

_ACTION = re.compile(r"action=([0-9a-f]{8})")
_ALWAYS = ("  fate  ", "  starts", "  dies", "  checker  ", "does not start")


def schedule_lines(outcome: Outcome) -> Iterator[str]:
    """Who was to ask for what, and what was to go wrong."""
    schedule = outcome.schedule
    yield (
        f"seed {schedule.seed}: hosts for {schedule.slots_of_host} servers each, quota {schedule.quota}, "
        f"distance {schedule.distance:g}, pace {schedule.pace:g} s"
    )
    if any(schedule.skews.values()):
        yield "clocks: " + ", ".join(f"{name} {skew:+.2f} s" for name, skew in schedule.skews.items() if skew)
    yield from (f"  asks  {operation.words()}" for operation in schedule.operations)
    yield from (f"  fate  {fault.words()}" for fault in schedule.faults)


def finding_lines(outcome: Outcome) -> Iterator[str]:
    """What is wrong."""
    yield from (f"  {finding.kind}: {finding.subject}: {finding.message}" for finding in outcome.findings)


def story_lines(outcome: Outcome) -> Iterator[str]:
    """The trace, but only of the servers that the findings are about, and of what befell the processes."""
    lines = list(outcome.trace.lines())
    subjects = {finding.subject[:8] for finding in outcome.findings}
    concerned = [line for line in lines if any(subject in line for subject in subjects)]
    words = subjects | {found.group(1) for line in concerned if (found := _ACTION.search(line))}
    for line in lines:
        if any(word in line for word in words) or any(mark in line for mark in _ALWAYS):
            yield line
