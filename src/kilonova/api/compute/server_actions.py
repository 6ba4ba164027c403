"""``POST /servers/{id}/action``: start, stop, reboot, console output."""

from kilonova.api.compute import server_schemas
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.host_questions import ask_host, find_on_host
from kilonova.api.compute.submission import find, submit
from kilonova.messaging.contract import ConsoleOutput, GetConsoleOutput
from kilonova.model.errors import Conflict, NotFound
from kilonova.model.kinds.power import REBOOT, START, STOP
from kilonova.model.server import TaskState, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schemas


async def start(cloud: Deployment, call: Call) -> Reply:
    """Power on a stopped server."""
    await submit(cloud, call, call.params["id"], START, TaskState.POWERING_ON)
    return Reply(202)


async def stop(cloud: Deployment, call: Call) -> Reply:
    """Shut a server down."""
    await submit(cloud, call, call.params["id"], STOP, TaskState.POWERING_OFF)
    return Reply(202)


async def reboot(cloud: Deployment, call: Call) -> Reply:
    """SOFT asks the guest, HARD does not; a soft one needs a guest that runs."""
    how = call.body["reboot"]["type"].upper()
    server = await cloud.database.run(find, call, call.params["id"])
    if how == "SOFT" and server.vm_state != VmState.ACTIVE:
        raise Conflict(f"Cannot 'reboot' instance {server.id} while it is in vm_state {server.vm_state}")
    task = TaskState.REBOOTING_HARD if how == "HARD" else TaskState.REBOOTING
    await submit(cloud, call, server.id, REBOOT, task, {"type": how})
    return Reply(202)


async def console_output(cloud: Deployment, call: Call) -> Reply:
    """The end of the serial console, asked of the host the server is on."""
    length = call.body["os-getConsoleOutput"].get("length")
    lines = None if length is None or int(length) < 0 else int(length)
    server = await cloud.database.run(find_on_host, call, call.params["id"])
    try:
        answer = await ask_host(cloud, call, server, GetConsoleOutput(server_id=server.id, lines=lines))
    except NotFound:
        raise NotFound("Console log is not available: the guest has not written one yet.") from None
    assert isinstance(answer, ConsoleOutput)
    return Reply(200, {"output": answer.output})


def _action(name: str, handler: Handler, rule: str, body: Schemas | None = None, summary: str = "") -> Route:
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=name,
        handler=handler,
        rule=rule,
        role="member",
        body=body or server_schemas.word(name),
        summary=summary,
    )


ROUTES = [
    _action("os-start", start, "os_compute_api:servers:start", summary="Power on"),
    _action("os-stop", stop, "os_compute_api:servers:stop", summary="Shut down"),
    _action("reboot", reboot, "os_compute_api:servers:reboot", server_schemas.REBOOT, "Reboot, soft or hard"),
    _action(
        "os-getConsoleOutput",
        console_output,
        "os_compute_api:os-console-output",
        server_schemas.CONSOLE_OUTPUT,
        "The last lines of the serial console",
    ),
]
