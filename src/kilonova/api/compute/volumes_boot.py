"""``/os-volumes_boot``: an old name of ``/servers`` and of the actions that Nova's first controller had, until 2.102."""

from collections.abc import Iterable

import msgspec

from kilonova.web.routes import Route

_UNTIL = 102
_SERVERS = "/servers"
_PATHS = {_SERVERS, f"{_SERVERS}/detail", f"{_SERVERS}/{{id}}", f"{_SERVERS}/{{id}}/action"}
_ACTIONS = {
    None,
    "confirmResize",
    "revertResize",
    "reboot",
    "resize",
    "rebuild",
    "createImage",
    "os-start",
    "os-stop",
    "trigger_crash_dump",
}


def aliases(routes: Iterable[Route]) -> list[Route]:
    """The same operations under the old name: same handlers, same rules, same schemas."""
    return [
        msgspec.structs.replace(
            route,
            path=f"/os-volumes_boot{route.path.removeprefix(_SERVERS)}",
            until=_UNTIL if route.until is None else min(route.until, _UNTIL),
            summary=f"{route.summary} (an old name)",
        )
        for route in routes
        if route.path in _PATHS and route.action in _ACTIONS and route.since <= _UNTIL
    ]
