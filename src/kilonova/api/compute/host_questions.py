"""Questions about a guest that only its host can answer, asked while the client waits."""

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.submission import find
from kilonova.messaging.contract import Message, compute_calls_queue
from kilonova.model.errors import Conflict, Unavailable
from kilonova.model.server import Server
from kilonova.web.call import Call


def find_on_host(connection: Connection, call: Call, server_id: str) -> Server:
    """A server of the caller that is on a host. Raises ``NotFound``, or ``Conflict`` while it is on none."""
    server = find(connection, call, server_id)
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    return server


async def ask_host(cloud: Deployment, call: Call, server: Server, question: Message) -> Message:
    """The answer of the server's host. Raises what the host raises, and ``Conflict`` if it does not answer."""
    try:
        return await cloud.bus.call(
            compute_calls_queue(server.host or ""),
            question,
            call.context,
            timeout=cloud.config.messaging.call_timeout,
        )
    except Unavailable as error:
        raise Conflict(f"The host of instance {server.id} does not answer; ask again later.") from error
