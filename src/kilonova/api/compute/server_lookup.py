"""Finds the server that a call is about, in the state the call needs it in."""

from collections.abc import Collection

from sqlalchemy.engine import Connection

from kilonova.api.compute.submission import find
from kilonova.model.errors import Conflict
from kilonova.model.server import Server, VmState
from kilonova.web.call import Call

_UNLOCK = "os_compute_api:os-lock-server:unlock:unlock_override"

SETTLED = (VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED)
"""The states in which Nova lets what is written about a server be changed."""


def find_unlocked(
    connection: Connection, call: Call, server_id: str, doing: str, within: Collection[VmState] = ()
) -> Server:
    """A server of the caller that may be changed now. Raises ``NotFound``; ``Conflict`` if it is locked or not ``within``."""
    server = find(connection, call, server_id)
    if server.locked and not call.allows(_UNLOCK):
        raise Conflict(f"Instance {server.id} is locked")
    require_state(server, doing, within)
    return server


def require_state(server: Server, doing: str, within: Collection[VmState]) -> None:
    """Raise ``Conflict`` unless the server is in one of the states; none given: in any."""
    if within and server.vm_state not in within:
        raise Conflict(f"Cannot '{doing}' instance {server.id} while it is in vm_state {server.vm_state}")
