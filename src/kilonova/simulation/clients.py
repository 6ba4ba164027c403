"""The clients of a simulated world: they call the Compute API's own handlers, and remember what they were promised."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from sqlalchemy import bindparam, or_, select
from sqlalchemy.engine import Connection

from kilonova.api.compute import (
    deferred_delete,
    evacuation,
    interfaces,
    live_migration,
    rebuild,
    server_actions,
    server_admin,
    server_images,
    server_migrations,
    server_moves,
    server_rescue,
    server_states,
    servers,
    unshelving,
)
from kilonova.api.compute.deployment import Deployment
from kilonova.database import server_migrations as migrations_table
from kilonova.database.tables import servers as table
from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import Conflict, KilonovaError, NotFound, Unavailable
from kilonova.simulation.images import IMAGE
from kilonova.simulation.schedule import Operation
from kilonova.simulation.services import APART, DOUBLE, FLAVOR
from kilonova.web.call import Call, Reply
from kilonova.web.policy import Policy

ROLES = frozenset({"member", "reader"})
_BODIES: dict[str, dict[str, Any]] = {
    "stop": {"os-stop": None},
    "start": {"os-start": None},
    **{word: {word: None} for word in ("pause", "unpause", "suspend", "resume", "rescue", "unrescue", "restore")},
    "rebuild": {"rebuild": {"imageRef": IMAGE}},
    "image": {"createImage": {"name": "image"}},
    "backup": {"createBackup": {"name": "backup", "backup_type": "daily", "rotation": 1}},
    "shelve": {"shelve": None},
    "reset": {"os-resetState": {"state": "error"}},
    "reboot": {"reboot": {"type": "HARD"}},
    "password": {"changePassword": {"adminPass": "anew"}},
    "dump": {"trigger_crash_dump": None},
    "attach": {"interfaceAttachment": {}},
    "grow": {"resize": {"flavorRef": DOUBLE}},
    "shrink": {"resize": {"flavorRef": FLAVOR}},
    "migrate": {"migrate": None},
    "confirm": {"confirmResize": None},
    "offload": {"shelveOffload": None},
    "unshelve": {"unshelve": None},
    "revert": {"revertResize": None},
    "evacuate": {"evacuate": {}},
    "live": {"os-migrateLive": {"block_migration": "auto", "host": None}},
}


async def _abort(cloud: Deployment, call: Call) -> Reply:
    """Abort whatever live migration of the server is under way."""
    found = await cloud.database.run(migrations_table.live_in_progress, call.params["id"])
    if not found:
        raise Conflict("it is not being migrated")
    call.params = {"server_id": call.params["id"], "id": str(found[0].id)}
    return await server_migrations.abort(cloud, call)


async def _attach(cloud: Deployment, call: Call) -> Reply:
    call.params = {"server_id": call.params["id"]}
    return await interfaces.create(cloud, call)


async def _detach(cloud: Deployment, call: Call) -> Reply:
    """Detach the server's last card, but never its only one."""
    ports = await cloud.networks.ports_of(call.params["id"])
    if len(ports) < 2:
        raise Conflict("it has one card only")
    call.params = {"server_id": call.params["id"], "id": ports[-1]["id"]}
    return await interfaces.delete(cloud, call)


_NAMED = (
    select(table.c.id, table.c.host)
    .where(or_(table.c.name == bindparam("of_name"), table.c.name.like(bindparam("of_names"))))
    .order_by(table.c.seq)
)
_HANDLERS: dict[str, Callable[[Deployment, Call], Awaitable[Reply]]] = {
    "create": servers.create,
    "delete": servers.delete,
    "stop": server_actions.stop,
    "start": server_actions.start,
    "pause": server_states.pause,
    "unpause": server_states.unpause,
    "password": server_states.change_password,
    "dump": server_states.crash_dump,
    "attach": _attach,
    "detach": _detach,
    "suspend": server_states.suspend,
    "resume": server_states.resume,
    "rescue": server_rescue.rescue,
    "unrescue": server_rescue.unrescue,
    "rebuild": rebuild.rebuild,
    "image": server_images.create_image,
    "backup": server_images.create_backup,
    "shelve": server_images.shelve,
    "reset": server_admin.reset_state,
    "restore": deferred_delete.restore,
    "reboot": server_actions.reboot,
    "grow": server_moves.resize,
    "shrink": server_moves.resize,
    "migrate": server_moves.migrate,
    "confirm": server_moves.confirm,
    "revert": server_moves.revert,
    "evacuate": evacuation.evacuate,
    "live": live_migration.migrate_live,
    "abort": _abort,
    "offload": unshelving.offload,
    "unshelve": unshelving.unshelve,
}
_PATIENCE = 60.0


class ConnectionLost(Exception):
    """nova-api died before it answered: the request may have been carried out or not."""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was answered with 202 or 204, and must now come to its end."""

    kind: str
    server_id: str
    request_id: str
    at: float


Send = Callable[[Callable[[Deployment], Awaitable[Reply]]], Awaitable[Reply]]
"""Has nova-api run something and waits for the answer. Raises what a client would see."""


class Clients:
    """All of them. ``send`` is the road to nova-api, ``look`` a read of the database that never fails."""

    def __init__(
        self,
        send: Send,
        look: Callable[[Callable[[Connection], list[str]]], Awaitable[list[str]]],
        note: Callable[[str, object], None],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        powerless: Callable[[], list[str]],
    ) -> None:
        self.promises: list[Promise] = []
        self.unheard: list[Promise] = []  # what was asked, and perhaps done: nobody answered
        self.surprises: list[tuple[str, Exception]] = []
        self._send = send
        self._look = look
        self._note = note
        self._now = now
        self._sleep = sleep
        self._powerless = powerless
        self._requests = 0

    async def perform(self, operation: Operation) -> None:
        """One operation, with its repetitions."""
        for attempt in range(operation.retries + 1):
            for server_id in await self._targets(operation):
                if await self._ask(operation, server_id):
                    return
            await self._sleep(0.5 * 2**attempt)

    async def _targets(self, operation: Operation) -> list[str]:
        """The ids of the server; a client that lost an answer finds it by its name."""
        if operation.kind == "create":
            return [""]

        def named(connection: Connection) -> list[str]:
            name = f"s{operation.slot}"
            found = connection.execute(_NAMED, {"of_name": name, "of_names": f"{name}-%"})
            if operation.kind == "evacuate":  # an operator fences a host before moving what is on it
                powerless = self._powerless()
                return [str(row.id) for row in found if row.host in powerless]
            return [str(row.id) for row in found]

        return await self._look(named)

    async def _ask(self, operation: Operation, server_id: str) -> bool:
        """True when there is nothing left to ask for."""
        self._requests += 1
        request_id = f"req-{self._requests:04d}"
        self._note(f"{operation.kind}?", (f"s{operation.slot}", server_id[:8], request_id))

        async def run(cloud: Deployment) -> Reply:
            return await _HANDLERS[operation.kind](cloud, self._call(cloud, operation, server_id, request_id))

        try:
            reply = await self._send(run)
        except NotFound:
            self._note("gone", request_id)
            return operation.kind == "delete"
        except (Unavailable, ConnectionLost, TimeoutError) as error:
            self._note("no answer", (request_id, type(error).__name__))
            asked = Promise(kind=operation.kind, server_id=server_id, request_id=request_id, at=self._now())
            self.unheard.append(asked)
            return False
        except KilonovaError as error:
            self._note("refused", (request_id, error.message))
            return False
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._note("broken", (request_id, repr(error)))
            self.surprises.append((operation.kind, error))
            return False
        if operation.kind == "create":
            server_id = reply.body["server"]["id"]
        self._note("promised", (operation.kind, server_id[:8], request_id))
        promise = Promise(kind=operation.kind, server_id=server_id, request_id=request_id, at=self._now())
        self.promises.append(promise)
        return True

    def _call(self, cloud: Deployment, operation: Operation, server_id: str, request_id: str) -> Call:
        project = f"p{operation.project}"
        caller = Caller(user_id=f"u{operation.project}", project_id=project, roles=ROLES)
        call = Call(
            method="POST",
            path="/servers",
            headers={},
            base_url="http://cloud/compute",
            context=RequestContext(request_id=request_id, caller=caller),
            started_at=cloud.clock.now(),
        )
        call.version = 100 if operation.slot % 2 else 94  # an evacuated server is left stopped, or is not
        call.policy = Policy({})
        call.params = {"id": server_id}
        call.body = _BODIES.get(operation.kind)
        if operation.kind == "create":
            asked: dict[str, Any] = {"imageRef": IMAGE, "flavorRef": operation.flavor or FLAVOR, "networks": "auto"}
            if operation.count > 1:
                asked |= {"min_count": operation.count, "max_count": operation.count}
            call.body = {"server": {"name": f"s{operation.slot}", **asked}}
            if operation.apart:
                call.body["os:scheduler_hints"] = {"group": APART}
        elif operation.kind == "grow" and operation.flavor:
            call.body = {"resize": {"flavorRef": operation.flavor}}
        return call
