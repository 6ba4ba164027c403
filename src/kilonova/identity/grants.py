"""Who has which role where: on a project, a domain, or the system.

Reference: Identity API v3, "Roles" (assign, check, list, unassign) and "Role assignments".
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import identity as queries
from kilonova.identity.directory import missing
from kilonova.identity.service import Identity
from kilonova.identity.views import role_view
from kilonova.model.errors import NotFound
from kilonova.model.identity import Assignment, Domain, Project, Role, User
from kilonova.web.call import Call, Reply
from kilonova.web.policy import IMPLIED

_OBJECTS = ("project", "domain")  # the system is no object


def _target(call: Call) -> tuple[str, str]:
    if "project_id" in call.params:
        return "project", call.params["project_id"]
    if "domain_id" in call.params:
        return "domain", call.params["domain_id"]
    return "system", "all"


def _assignment(connection: Connection, user_id: str, kind: str, target_id: str, role_id: str) -> Assignment:
    """The grant the path names. Raises ``NotFound`` if any part of it does not exist."""
    _check(connection, user_id, kind, target_id)
    if queries.get(connection, Role, role_id) is None:
        raise missing(Role, role_id)
    return Assignment(user_id=user_id, target_type=kind, target_id=target_id, role_id=role_id)


def _check(connection: Connection, user_id: str, kind: str, target_id: str) -> None:
    if queries.get(connection, User, user_id) is None:
        raise missing(User, user_id)
    if kind == "project" and queries.get(connection, Project, target_id) is None:
        raise missing(Project, target_id)
    if kind == "domain" and queries.get(connection, Domain, target_id) is None:
        raise missing(Domain, target_id)


def _grant(connection: Connection, *path: str) -> None:
    queries.assign(connection, _assignment(connection, *path))


def _ungrant(connection: Connection, *path: str) -> bool:
    return queries.unassign(connection, _assignment(connection, *path))


def _granted(connection: Connection, *path: str) -> bool:
    wanted = _assignment(connection, *path)
    return wanted in queries.assignments(
        connection, {"user_id": wanted.user_id, "target_type": wanted.target_type, "target_id": wanted.target_id}
    )


def _roles(connection: Connection, user_id: str, kind: str, target_id: str) -> list[Role]:
    _check(connection, user_id, kind, target_id)
    where = {"user_id": user_id, "target_type": kind, "target_id": target_id}
    held = [assignment.role_id for assignment in queries.assignments(connection, where)]
    return queries.find(connection, Role, {"id": held}) if held else []


async def grant(identity: Identity, call: Call) -> Reply:
    """``PUT …/users/{user}/roles/{role}``"""
    await identity.database.run(_grant, call.params["user_id"], *_target(call), call.params["role_id"])
    identity.changed()
    return Reply(204)


async def check(identity: Identity, call: Call) -> Reply:
    """``HEAD`` and ``GET …/users/{user}/roles/{role}``"""
    path = (call.params["user_id"], *_target(call), call.params["role_id"])
    if not await identity.database.run(_granted, *path):
        raise NotFound("Could not find role assignment.")
    return Reply(204)


async def ungrant(identity: Identity, call: Call) -> Reply:
    """``DELETE …/users/{user}/roles/{role}``"""
    path = (call.params["user_id"], *_target(call), call.params["role_id"])
    if not await identity.database.run(_ungrant, *path):
        raise NotFound("Could not find role assignment.")
    identity.changed()
    return Reply(204)


async def list_granted(identity: Identity, call: Call) -> Reply:
    """``GET …/users/{user}/roles``"""
    found = await identity.database.run(_roles, call.params["user_id"], *_target(call))
    links = {"self": f"{call.base_url}/v3{call.path}", "next": None, "previous": None}
    return Reply(200, {"roles": [role_view(role, call.base_url) for role in found], "links": links})


# --- GET /v3/role_assignments ------------------------------------------------------------------------------


async def list_assignments(identity: Identity, call: Call) -> Reply:
    """``GET /v3/role_assignments``, with ``effective`` (implied roles too) and ``include_names``."""
    filters = _assignment_filters(call)
    if filters.get("user_id") != call.caller.user_id:
        call.require("identity:list_any_role_assignments")
    links = {"self": f"{call.base_url}/v3/role_assignments", "next": None, "previous": None}
    if call.first("group.id") is not None:
        return Reply(200, {"role_assignments": [], "links": links})
    rows = await identity.database.run(
        _list, filters, call.first("role.id"), _flag(call, "effective"), _flag(call, "include_names")
    )
    return Reply(200, {"role_assignments": [_view(call, *row) for row in rows], "links": links})


def _flag(call: Call, name: str) -> bool:
    value = call.first(name)
    return value is not None and value.lower() not in ("false", "0")


def _assignment_filters(call: Call) -> dict[str, str]:
    filters: dict[str, str] = {}
    user_id, project_id, domain_id = (call.first(n) for n in ("user.id", "scope.project.id", "scope.domain.id"))
    if user_id is not None:
        filters["user_id"] = user_id
    if project_id is not None:
        filters.update(target_type="project", target_id=project_id)
    elif domain_id is not None:
        filters.update(target_type="domain", target_id=domain_id)
    elif call.first("scope.system") is not None:
        filters["target_type"] = "system"
    return filters


Names = dict[str, Any]


def _list(
    connection: Connection, filters: dict[str, str], role_id: str | None, effective: bool, names: bool
) -> list[tuple[Assignment, Names | None]]:
    roles = {role.id: role for role in queries.find(connection, Role, {})}
    found = queries.assignments(connection, filters)
    if effective:
        found = _expanded(found, roles)
    if role_id is not None:
        found = [assignment for assignment in found if assignment.role_id == role_id]
    if not names:
        return [(assignment, None) for assignment in found]
    known = _named_objects(connection, found)
    return [(a, {**known, a.role_id: roles.get(a.role_id)}) for a in found]


def _expanded(found: list[Assignment], roles: dict[str, Role]) -> list[Assignment]:
    ids = {role.name: role.id for role in roles.values()}
    every: dict[Assignment, None] = {}
    for assignment in found:
        every[assignment] = None
        role = roles.get(assignment.role_id)
        for name in IMPLIED.get(role.name, ()) if role is not None else ():
            if name in ids:
                implied = Assignment(
                    user_id=assignment.user_id,
                    target_type=assignment.target_type,
                    target_id=assignment.target_id,
                    role_id=ids[name],
                )
                every[implied] = None
    return list(every)


def _named_objects(connection: Connection, found: list[Assignment]) -> Names:
    known: Names = {}
    users = {a.user_id for a in found}
    projects = {a.target_id for a in found if a.target_type == "project"}
    known.update((u.id, u) for u in queries.find(connection, User, {"id": users}, limit=10_000))
    known.update((p.id, p) for p in queries.find(connection, Project, {"id": projects}, limit=10_000))
    known.update((d.id, d) for d in queries.find(connection, Domain, {}, limit=10_000))
    return known


def _view(call: Call, assignment: Assignment, names: Names | None) -> dict[str, Any]:
    scope: dict[str, Any] = {"system": {"all": True}}
    if assignment.target_type in _OBJECTS:
        scope = {assignment.target_type: _named(assignment.target_id, names)}
    path = f"system/users/{assignment.user_id}"
    if assignment.target_type in _OBJECTS:
        path = f"{assignment.target_type}s/{assignment.target_id}/users/{assignment.user_id}"
    return {
        "role": _named(assignment.role_id, names),
        "user": _named(assignment.user_id, names),
        "scope": scope,
        "links": {"assignment": f"{call.base_url}/v3/{path}/roles/{assignment.role_id}"},
    }


def _named(record_id: str, names: Names | None) -> dict[str, Any]:
    record = None if names is None else names.get(record_id)
    if record is None:
        return {"id": record_id}
    view: dict[str, Any] = {"id": record_id, "name": record.name}
    if isinstance(record, User | Project):
        domain = (names or {}).get(record.domain_id)
        view["domain"] = {"id": record.domain_id, "name": domain.name if domain else record.domain_id}
    return view
