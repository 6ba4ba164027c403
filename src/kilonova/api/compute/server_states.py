"""``POST /servers/{id}/action``: pause, unpause, suspend, resume, and what is done inside a guest."""

from sqlalchemy.engine import Connection

from kilonova.api.compute import server_schemas
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.features import needs, require
from kilonova.api.compute.inputs import document
from kilonova.api.compute.submission import Intent, submit
from kilonova.model.action import Kind
from kilonova.model.errors import Conflict, KilonovaError, Unsupported
from kilonova.model.kinds.command import CHANGE_PASSWORD, TRIGGER_CRASH_DUMP
from kilonova.model.kinds.pause import PAUSE, UNPAUSE
from kilonova.model.kinds.suspend import RESUME, SUSPEND
from kilonova.model.server import Server, TaskState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schemas, always


def _plain(kind: Kind, task: TaskState | None, feature: str, fault: type[KilonovaError], words: str) -> Handler:
    """The handler of an action that has no parameters."""

    async def handler(cloud: Deployment, call: Call) -> Reply:
        await submit(cloud, call, call.params["id"], kind, task, plan=needs(feature, fault))
        return Reply(202)

    handler.__name__, handler.__doc__ = kind.name, words
    return handler


pause = _plain(PAUSE, TaskState.PAUSING, "pause", Unsupported, "Stop a running server's processors.")
unpause = _plain(UNPAUSE, TaskState.UNPAUSING, "pause", Unsupported, "Let them go on.")
suspend = _plain(SUSPEND, TaskState.SUSPENDING, "suspend", Conflict, "Keep a server's memory on its host's disk.")
resume = _plain(RESUME, TaskState.RESUMING, "suspend", Conflict, "Let a suspended server go on.")
crash_dump = _plain(TRIGGER_CRASH_DUMP, None, "nmi", Conflict, "Send a non-maskable interrupt.")


async def change_password(cloud: Deployment, call: Call) -> Reply:
    """Set the administrator's password inside the guest."""
    password = call.body["changePassword"]["adminPass"]

    def plan(connection: Connection, server: Server) -> Intent:
        require(connection, server, "set_password")
        return Intent(password=password)

    await submit(cloud, call, call.params["id"], CHANGE_PASSWORD, TaskState.UPDATING_PASSWORD, plan=plan)
    return Reply(202)


_PASSWORD = always(
    document(
        ["changePassword"],
        {"changePassword": document(["adminPass"], {"adminPass": {"type": "string", "maxLength": 4096}})},
    )
)
_CRASH_DUMP = always(document(["trigger_crash_dump"], {"trigger_crash_dump": {"type": "null"}}))


def _action(name: str, handler: Handler, rule: str, summary: str, body: Schemas = (), since: int = 1) -> Route:
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=name,
        handler=handler,
        rule=f"os_compute_api:{rule}",
        role="member",
        body=body or server_schemas.word(name),
        since=since,
        summary=summary,
    )


ROUTES = [
    _action("pause", pause, "os-pause-server:pause", "Stop the processors"),
    _action("unpause", unpause, "os-pause-server:unpause", "Let the processors go on"),
    _action("suspend", suspend, "os-suspend-server:suspend", "Keep the memory on disk"),
    _action("resume", resume, "os-suspend-server:resume", "Go on after a suspend"),
    _action("changePassword", change_password, "os-admin-password", "Set the administrator's password", _PASSWORD),
    _action(
        "trigger_crash_dump",
        crash_dump,
        "servers:trigger_crash_dump",
        "Send a non-maskable interrupt",
        _CRASH_DUMP,
        since=17,
    ),
]
