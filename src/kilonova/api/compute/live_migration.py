"""``POST /servers/{id}/action`` with ``os-migrateLive``: a guest goes to another host while it runs."""

from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute import features, move_schemas
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_bool
from kilonova.api.compute.rules_servers import MIGRATE_LIVE_HOST
from kilonova.api.compute.submission import Intent, submit
from kilonova.database import membership, moves
from kilonova.database.outgoing import need_of
from kilonova.model.action import Action
from kilonova.model.errors import Invalid
from kilonova.model.host import Host
from kilonova.model.kinds.live_migration import LIVE_MIGRATION
from kilonova.model.migration import MigrationStatus, MigrationType
from kilonova.model.server import Server, TaskState, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

_FORCE_SINCE, _FORCE_UNTIL = 30, 67
_ANSWERED_AT_ONCE_SINCE = 34


async def migrate_live(cloud: Deployment, call: Call) -> Reply:
    """To the host that is named, or to one that the scheduler finds. Below 2.34 what would fail is refused at once."""
    asked: dict[str, Any] = call.body["os-migrateLive"]
    host = asked["host"]
    forced = as_bool(asked.get("force", False)) if call.version >= _FORCE_SINCE else bool(host)
    if call.version > _FORCE_UNTIL:
        forced = False
    if forced and not host:
        raise Invalid("Can't force to a non-provided destination")
    if host:
        call.require(MIGRATE_LIVE_HOST)
    plan = partial(_plan, cloud=cloud, call=call, host=host, forced=forced)
    await submit(cloud, call, call.params["id"], LIVE_MIGRATION, TaskState.MIGRATING, plan=plan)
    return Reply(202)


def _plan(
    connection: Connection, server: Server, *, cloud: Deployment, call: Call, host: str | None, forced: bool
) -> Intent:
    features.require(connection, server, "live_migrate", Invalid)
    if host and membership.find_host(connection, host) is None:
        raise Invalid(f"Compute host {host} could not be found.")
    if call.version < _ANSWERED_AT_ONCE_SINCE:
        _check_before(connection, server, cloud, host)
    return Intent(
        arguments={"host": host, "force": forced} if host else {},
        work={"source": server.host, "leaves": server.host, "stays_paused": server.vm_state == VmState.PAUSED},
        admitted=partial(_begin, connection, server),
    )


def _check_before(connection: Connection, server: Server, cloud: Deployment, host: str | None) -> None:
    """Raise ``Invalid`` for what is bound to fail, as far as the database knows it now."""
    now, down_after = cloud.clock.now(), cloud.config.membership.down_after
    if host and host == server.host:
        raise Invalid(f"Unable to migrate instance ({server.id}) to current host ({host}).")
    if not membership.compute_up(connection, server.host, now, down_after):
        raise Invalid(f"Compute service of {server.host} is unavailable at this time.")
    others = [other for other in membership.list_hosts(connection) if other.host != server.host]
    wanted = [other for other in others if host in (None, "", other.host)]
    up = [other for other in wanted if membership.compute_up(connection, other.host, now, down_after)]
    if host and not up:
        raise Invalid(f"Compute service of {host} is unavailable at this time.")
    if not any(_has_room(other, server) for other in up):
        raise Invalid("No valid host was found. No other compute host that is up has room for this instance.")


def _has_room(host: Host, server: Server) -> bool:
    need = need_of(server.flavor)
    return (
        host.vcpus_used + need.vcpus <= host.vcpus_capacity
        and host.memory_mb_used + need.memory_mb <= host.memory_mb_capacity
        and host.disk_gb_used + need.disk_gb <= host.disk_gb_capacity
    )


def _begin(connection: Connection, server: Server, action: Action) -> None:
    moves.begin(connection, action, server, MigrationType.LIVE, MigrationStatus.ACCEPTED)


ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="os-migrateLive",
        handler=migrate_live,
        rule="os_compute_api:os-migrate-server:migrate_live",
        role="manager",
        body=move_schemas.MIGRATE_LIVE,
        summary="Move it to another host while it runs",
    ),
]
