"""What requests have to mind beside the hosts themselves: looked up only for those that name a group or other servers."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from kilonova.database import server_groups
from kilonova.messaging.contract import ScheduleServer
from kilonova.model.kinds.create import CREATE
from kilonova.model.placement import NEIGHBOUR_HINTS, Neighbours, different_host_hint, group_hint, same_host_hint


def names_neighbours(request: ScheduleServer) -> bool:
    """Whether there is anything to look up."""
    return not request.hints.keys().isdisjoint(NEIGHBOUR_HINTS)


def read_neighbours(connection: Connection, requests: Sequence[ScheduleServer]) -> list[Neighbours | None]:
    """The look itself, for each of them. New servers that name the same share one answer, and so see each other placed."""
    shared: dict[tuple[object, ...], Neighbours] = {}
    found: list[Neighbours | None] = []
    for request in requests:
        if not names_neighbours(request):
            found.append(None)
            continue
        group, same, different = (
            group_hint(request.hints),
            same_host_hint(request.hints),
            different_host_hint(request.hints),
        )
        but = "" if request.kind == CREATE.name else request.guest.server_id
        key = (request.guest.project_id, but, group, *same, None, *different)
        if key not in shared:
            shared[key] = server_groups.neighbours(
                connection,
                server_id=request.guest.server_id,
                project_id=request.guest.project_id,
                group_id=group,
                same=same,
                different=different,
            )
        found.append(shared[key])
    return found
