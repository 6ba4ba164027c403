"""``POST /servers/{id}/action``: resize and cold migration, their confirmation and their way back."""

from functools import partial
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute import boot, features, move_schemas
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.rules_servers import MIGRATE_HOST
from kilonova.api.compute.submission import Intent, submit
from kilonova.database import flavors, membership, moves, server_migrations, servers
from kilonova.model.action import Action
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.flavor import Flavor
from kilonova.model.kinds.resize import CONFIRM, MIGRATE, RESIZE, REVERT
from kilonova.model.migration import MigrationStatus, MigrationType
from kilonova.model.server import Server, TaskState, VmState
from kilonova.model.topology.request import asking
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schemas

# --- resize and migrate ------------------------------------------------------------------------------------


async def resize(cloud: Deployment, call: Call) -> Reply:
    """Another flavor, on another host; the old one is kept until somebody confirms."""
    plan = partial(_plan_resize, cloud=cloud, call=call)
    await submit(cloud, call, call.params["id"], RESIZE, TaskState.RESIZE_PREP, plan=plan)
    return Reply(202)


def _plan_resize(connection: Connection, server: Server, *, cloud: Deployment, call: Call) -> Intent:
    require_host_up(connection, cloud, server, "resize")
    away = features.has(connection, server, "resize")
    here = cloud.config.moves.allow_resize_to_same_host and features.has(connection, server, "resize_in_place")
    if not (away or here):
        features.require(connection, server, "resize", Conflict)
    asked: dict[str, Any] = call.body["resize"]
    flavor_id = str(asked["flavorRef"]).rsplit("/", 1)[-1]
    flavor = flavors.find_flavor(connection, flavor_id, call.caller.project_id, call.caller.is_admin)
    if flavor is None or flavor.disabled:
        raise Invalid(f"Flavor {flavor_id[:64]} could not be found.")
    _check_fit(server, flavor)
    if not away:
        _check_disks(server, flavor)
    if "OS-DCF:diskConfig" in asked:
        servers.update(connection, server.id, disk_config=asked["OS-DCF:diskConfig"])
    moves.charge_both(connection, server, msgspec.to_builtins(flavor), cloud.config.quota.model_dump())
    topology = boot.read_topology(cloud, flavor, (server.image or {}).get("properties", {}))
    only_here = {} if away else {"host": server.host}
    return Intent(
        arguments={"flavor": asking(msgspec.to_builtins(flavor), topology), "flavor_id": flavor.id, **only_here},
        work=_work(server, leaves=not here),
        admitted=partial(_begin, connection, server, MigrationType.RESIZE),
    )


def _check_fit(server: Server, flavor: Flavor) -> None:
    """Raise ``Invalid`` for a flavor that the server cannot get."""
    if flavor.id == server.flavor_id and flavor.name == server.flavor["name"]:
        raise Invalid("When resizing, instances must change flavor!")
    if flavor.disk_gb == 0 and server.flavor["disk_gb"] != 0:
        raise Invalid("Resize to zero disk flavor is not allowed.")
    image = server.image or {}
    if image.get("min_memory_mb", 0) > flavor.memory_mb:
        raise Invalid("Flavor's memory is too small for requested image.")
    if flavor.disk_gb and image.get("min_disk_gb", 0) > flavor.disk_gb:
        raise Invalid("Flavor's disk is smaller than the minimum size specified in image metadata.")


def _check_disks(server: Server, flavor: Flavor) -> None:
    """Raise ``Invalid`` for what a disk that stays where it is cannot become."""
    old = server.flavor
    if flavor.disk_gb < old["disk_gb"]:
        raise Invalid("The disk of an instance cannot be made smaller on its host.")
    if (flavor.ephemeral_gb, flavor.swap_mb) != (old.get("ephemeral_gb", 0), old.get("swap_mb", 0)):
        raise Invalid("Ephemeral and swap disks of an instance cannot be changed on its host.")


async def migrate(cloud: Deployment, call: Call) -> Reply:
    """To another host, with the guest off in between; from 2.56 to one that is named."""
    asked = call.body["migrate"] if call.version >= 56 else None
    host = (asked or {}).get("host")
    if host:
        call.require(MIGRATE_HOST)
    plan = partial(_plan_migrate, cloud=cloud, host=host)
    await submit(cloud, call, call.params["id"], MIGRATE, TaskState.RESIZE_PREP, plan=plan)
    return Reply(202)


def _plan_migrate(connection: Connection, server: Server, *, cloud: Deployment, host: str | None) -> Intent:
    require_host_up(connection, cloud, server, "migrate")
    features.require(connection, server, "migrate", Conflict)
    if host is not None:
        if host == server.host:
            raise Invalid(f"Cannot migrate instance {server.id} to its current host ({host}).")
        if membership.find_host(connection, host) is None:
            raise Invalid(f"Compute host {host} could not be found.")
    return Intent(
        arguments={"host": host} if host else {},
        work=_work(server, leaves=True),
        admitted=partial(_begin, connection, server, MigrationType.MIGRATION),
    )


def _begin(connection: Connection, server: Server, migration_type: MigrationType, action: Action) -> None:
    moves.begin(connection, action, server, migration_type, MigrationStatus.PRE_MIGRATING)


def _work(server: Server, *, leaves: bool) -> dict[str, Any]:
    work = {"source": server.host, "stays_off": server.vm_state == VmState.STOPPED}
    return {**work, "leaves": server.host} if leaves else work


def require_host_up(connection: Connection, cloud: Deployment, server: Server, doing: str) -> None:
    """Raise ``Conflict`` unless the server's host is up."""
    now, down_after = cloud.clock.now(), cloud.config.membership.down_after
    if not membership.compute_up(connection, server.host, now, down_after):
        raise Conflict(f"Cannot '{doing}' instance {server.id} while its compute host is down.")


# --- confirm and revert ------------------------------------------------------------------------------------


async def confirm(cloud: Deployment, call: Call) -> Reply:
    """The source's copy is not needed any more."""
    plan = partial(plan_confirm, cloud=cloud)
    await submit(cloud, call, call.params["id"], CONFIRM, TaskState.RESIZE_CONFIRMING, plan=plan)
    return Reply(204)


def plan_confirm(connection: Connection, server: Server, *, cloud: Deployment) -> Intent:
    """What a confirmation begins with. Raises ``Conflict`` while the source is down: it could not say that its copy is gone."""
    before = _resized_from(server)
    now, down_after = cloud.clock.now(), cloud.config.membership.down_after
    if not membership.compute_up(connection, before["host"], now, down_after):
        raise Conflict(f"Cannot 'confirmResize' instance {server.id} while the host it came from is down.")
    return Intent(work=moves.confirming(connection, server, now))


async def revert(cloud: Deployment, call: Call) -> Reply:
    """Back to the source's copy, and to the flavor it had."""
    plan = partial(_plan_revert, cloud=cloud)
    await submit(cloud, call, call.params["id"], REVERT, TaskState.RESIZE_REVERTING, plan=plan)
    return Reply(202)


def _plan_revert(connection: Connection, server: Server, *, cloud: Deployment) -> Intent:
    before = _resized_from(server)
    _stage(connection, before, MigrationStatus.REVERTING, cloud.clock.now())
    return Intent(
        work={
            "move": before["move"],
            "source": before["host"],
            "destination": server.host,
            "stays_off": before["vm_state"] == VmState.STOPPED,
        }
    )


def _resized_from(server: Server) -> dict[str, Any]:
    if server.resized_from is None:
        raise Invalid("Instance has not been resized.")
    return server.resized_from


def _stage(connection: Connection, before: dict[str, Any], status: MigrationStatus, now: int) -> None:
    server_migrations.change_of_action(connection, before["move"], now=now, status=str(status))


def _action(name: str, handler: Handler, rule: str, role: str, body: Schemas, summary: str) -> Route:
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=name,
        handler=handler,
        rule=f"os_compute_api:{rule}",
        role=role,
        body=body,
        summary=summary,
    )


ROUTES = [
    _action("resize", resize, "servers:resize", "member", move_schemas.RESIZE, "Give it another flavor"),
    _action(
        "confirmResize",
        confirm,
        "servers:confirm_resize",
        "member",
        move_schemas.CONFIRM,
        "Confirm a resize or a cold migration",
    ),
    _action("revertResize", revert, "servers:revert_resize", "member", move_schemas.REVERT, "Revert it"),
    _action(
        "migrate",
        migrate,
        "os-migrate-server:migrate",
        "manager",
        move_schemas.MIGRATE,
        "Move it to another host, powered off",
    ),
]
