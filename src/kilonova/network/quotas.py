"""How much of each noun a project may have. Reference: Networking API v2.0, "Quotas".

Whoever makes something counts what there is while the project's row is locked, so that requests at the same moment cannot both
take the last place.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.model.network import (
    FloatingIp,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply

_NAMES: dict[type[Any], str] = {
    Network: "network",
    Subnet: "subnet",
    Port: "port",
    Router: "router",
    FloatingIp: "floatingip",
    SecurityGroup: "security_group",
    SecurityGroupRule: "security_group_rule",
}


def admit(
    connection: Connection, defaults: Mapping[str, int], kind: type[Any], project_id: str, count: int = 1
) -> None:
    """Find room for ``count`` more of a project's. Raises ``Conflict`` (``OverQuota``)."""
    queries.lock_project(connection, project_id)
    name = _NAMES[kind]
    limit = queries.limits(connection, project_id).get(name, defaults[name])
    if limit >= 0 and queries.count(connection, kind, project_id) + count > limit:
        raise Conflict(f"Quota exceeded for resources: ['{name}'].", name="OverQuota")


async def list_quotas(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/quotas``: of the projects for which limits were set."""
    found = await networks.database.run(_all, networks.settings.quotas)
    return Reply(200, {"quotas": found})


def _all(connection: Connection, defaults: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {**_in_force(connection, defaults, project_id), "project_id": project_id, "tenant_id": project_id}
        for project_id in queries.projects_with_limits(connection)
    ]


def _in_force(connection: Connection, defaults: Mapping[str, int], project_id: str) -> dict[str, int]:
    return {**defaults, **queries.limits(connection, project_id)}


async def show_quota(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/quotas/{project}``"""
    found = await networks.database.run(_in_force, networks.settings.quotas, own_project(call))
    return Reply(200, {"quota": found})


async def show_default_quota(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/quotas/{project}/default``"""
    own_project(call)
    return Reply(200, {"quota": networks.settings.quotas})


async def show_quota_details(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/quotas/{project}/details``"""
    found = await networks.database.run(_details, networks.settings.quotas, own_project(call))
    return Reply(200, {"quota": found})


def _details(connection: Connection, defaults: Mapping[str, int], project_id: str) -> dict[str, dict[str, int]]:
    limits = _in_force(connection, defaults, project_id)
    used = {name: queries.count(connection, kind, project_id) for kind, name in _NAMES.items()}
    return {name: {"limit": limit, "used": used.get(name, 0), "reserved": 0} for name, limit in limits.items()}


async def update_quota(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``PUT /v2.0/quotas/{project}``"""
    if not is_project_id(call.params["project_id"]):
        raise NotFound("There is no such project.")
    wanted = {name: int(limit) for name, limit in call.body["quota"].items() if name in networks.settings.quotas}
    checked = str(call.body["quota"].get("check_limit", False)).lower() in ("true", "1")
    found = await networks.database.run(_set, networks.settings.quotas, call.params["project_id"], wanted, checked)
    return Reply(200, {"quota": found})


def _set(
    connection: Connection, defaults: Mapping[str, int], project_id: str, wanted: Mapping[str, int], checked: bool
) -> dict[str, int]:
    queries.lock_project(connection, project_id)
    for kind, name in _NAMES.items() if checked else ():
        used = queries.count(connection, kind, project_id)
        if 0 <= wanted.get(name, -1) < used:
            raise Invalid(
                f"Quota limit {wanted[name]} for {name} is below the {used} in use.", name="QuotaLimitExceeded"
            )
    queries.set_limits(connection, project_id, wanted)
    return _in_force(connection, defaults, project_id)


async def reset_quota(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/quotas/{project}``: back to the defaults."""
    project_id = call.params["project_id"]
    if not await networks.database.run(queries.clear_limits, project_id):
        raise NotFound(f"No quota was set for project {project_id[:64]}.", name="TenantQuotaNotFound")
    return Reply(204)


def is_project_id(text: str) -> bool:
    """Whether a project could be called that."""
    return 0 < len(text) <= 64 and text.isascii()


def own_project(call: Call) -> str:
    """The project in the path, if the caller may ask about it. Raises ``Forbidden``."""
    project_id = call.params["project_id"]
    if project_id != call.caller.project_id and not call.caller.is_admin:
        raise Forbidden("Only administrators ask about other projects: rule:get_quota is disallowed by policy")
    return project_id
