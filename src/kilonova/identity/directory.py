"""Domains, projects, users and roles: list, show, create, change, delete.

Administrators manage them; everybody may read what is about himself. Reference: Identity API v3, "Domains",
"Projects", "Users", "Roles".
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import identity as queries
from kilonova.database.standing import login as read_login
from kilonova.identity.service import Identity
from kilonova.identity.views import domain_view, project_view, role_view, user_view
from kilonova.model.errors import Forbidden, Invalid, NotFound
from kilonova.model.identity import Domain, Project, Role, User
from kilonova.web.call import Call, Reply

_FILTERS = {
    Domain: ("id", "name", "enabled"),
    Project: ("id", "name", "domain_id", "enabled"),
    User: ("id", "name", "domain_id", "enabled"),
    Role: ("id", "name"),
}
_PLURALS = {Domain: "domains", Project: "projects", User: "users", Role: "roles"}
_VIEWS: dict[type, Callable[[Any, str], dict[str, Any]]] = {
    Domain: domain_view,
    Project: project_view,
    User: user_view,
    Role: role_view,
}
_NEVER_EXTRA = {"id", "links", "options", "tags", "password", "password_expires_at", "original_password"}


def _filters(kind: type[queries.Record], call: Call) -> dict[str, object]:
    filters: dict[str, object] = {}
    for name in _FILTERS[kind]:
        value = call.first(name)
        if value is not None:
            filters[name] = value.lower() not in ("false", "0", "no") if name == "enabled" else value
    return filters


def _tagged(call: Call) -> list[tuple[str, list[str]]]:
    """The filters by tags: ``tags`` (all of them), ``tags-any``, ``not-tags`` (not all of them), ``not-tags-any``."""
    return [
        (how, [tag for text in call.query[how] for tag in text.split(",") if tag][:80])
        for how in ("tags", "tags-any", "not-tags", "not-tags-any")
        if how in call.query
    ]


async def list_records(identity: Identity, call: Call, kind: type[queries.R]) -> Reply:
    """A page of domains, projects, users or roles."""
    limit = _limit(call, identity.settings.max_limit)
    found = await identity.database.run(
        queries.find,
        kind,
        _filters(kind, call),
        limit=limit + 1,
        marker=call.first("marker"),
        tagged=_tagged(call) if kind is Project else (),
    )
    plural = _PLURALS[kind]
    here = f"{call.base_url}/v3/{plural}"
    more = f"{here}?limit={limit}&marker={found[limit - 1].id}" if len(found) > limit else None
    views = [_VIEWS[kind](record, call.base_url) for record in found[:limit]]
    return Reply(200, {plural: views, "links": {"self": here, "next": more, "previous": None}})


def _limit(call: Call, most: int) -> int:
    wanted = call.first("limit")
    if wanted is None:
        return most
    if not wanted.isdigit() or len(wanted) > 9:
        raise Invalid("limit must be a whole number.")
    return max(1, min(int(wanted), most))


async def require(identity: Identity, kind: type[queries.R], record_id: str) -> queries.R:
    """The record of that id. Raises ``NotFound``."""
    found = await identity.database.run(queries.get, kind, record_id)
    if found is None:
        raise missing(kind, record_id)
    return found


def missing(kind: type[queries.Record], record_id: str) -> NotFound:
    """The words Keystone's clients know."""
    return NotFound(f"Could not find {queries.NOUNS[kind]}: {record_id[:64]}.")


async def show_record(identity: Identity, call: Call, kind: type[queries.R], record_id: str) -> Reply:
    """One domain, project, user or role."""
    found = await require(identity, kind, record_id)
    return Reply(200, {queries.NOUNS[kind]: _VIEWS[kind](found, call.base_url)})


def _answer(call: Call, record: Domain | Project | User | Role, status: int = 200) -> Reply:
    return Reply(status, {queries.NOUNS[type(record)]: _VIEWS[type(record)](record, call.base_url)})


def _extra(body: Mapping[str, Any], kind: type[queries.Record], *, known: tuple[str, ...] = ()) -> dict[str, Any]:
    skip = _NEVER_EXTRA.union(kind.__struct_fields__, known)
    return {name: value for name, value in body.items() if name not in skip}


async def _update(
    identity: Identity, kind: type[queries.R], record_id: str, changes: dict[str, Any], extra: Mapping[str, Any] = {}
) -> queries.R:
    found = await identity.database.run(_change, kind, record_id, changes, extra)
    if found is None:
        raise missing(kind, record_id)
    identity.changed()
    return found


def _change(
    connection: Connection,
    kind: type[queries.R],
    record_id: str,
    changes: Mapping[str, object],
    extra: Mapping[str, Any],
) -> queries.R | None:
    """Set columns, and what clients keep beside them, key by key; of two who do at once, none takes back the other's keys."""
    found = queries.get(connection, kind, record_id, lock=True)
    if extra and isinstance(found, User | Project):
        changes = {**changes, "extra": {**found.extra, **extra}}
    return queries.update(connection, kind, record_id, changes)


# --- domains -----------------------------------------------------------------------------------------------


async def list_domains(identity: Identity, call: Call) -> Reply:
    """``GET /v3/domains``"""
    return await list_records(identity, call, Domain)


async def show_domain(identity: Identity, call: Call) -> Reply:
    """``GET /v3/domains/{id}``"""
    return await show_record(identity, call, Domain, call.params["domain_id"])


async def create_domain(identity: Identity, call: Call) -> Reply:
    """``POST /v3/domains``"""
    body = call.body["domain"]
    domain = Domain(
        id=identity.ids.hex(),
        name=body["name"],
        description=body.get("description") or "",
        enabled=body.get("enabled", True),
    )
    await identity.database.run(queries.insert, domain)
    return _answer(call, domain, 201)


async def update_domain(identity: Identity, call: Call) -> Reply:
    """``PATCH /v3/domains/{id}``"""
    body = call.body["domain"]
    changes = {name: body[name] for name in ("name", "enabled") if name in body}
    if "description" in body:
        changes["description"] = body["description"] or ""
    return _answer(call, await _update(identity, Domain, call.params["domain_id"], changes))


async def delete_domain(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/domains/{id}``: only a disabled one, as it takes its users and projects along."""
    found = await require(identity, Domain, call.params["domain_id"])
    if found.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    await identity.database.run(queries.delete_domain, found.id)
    identity.changed()
    return Reply(204)


# --- projects ----------------------------------------------------------------------------------------------


async def list_projects(identity: Identity, call: Call) -> Reply:
    """``GET /v3/projects``"""
    if call.first("is_domain") in ("true", "True", "1"):
        return Reply(200, {"projects": [], "links": {"self": call.base_url, "next": None, "previous": None}})
    return await list_records(identity, call, Project)


async def show_project(identity: Identity, call: Call) -> Reply:
    """``GET /v3/projects/{id}``: one's own, or any for administrators."""
    if call.params["project_id"] != call.caller.project_id:
        call.require("identity:get_any_project")
    return await show_record(identity, call, Project, call.params["project_id"])


async def create_project(identity: Identity, call: Call) -> Reply:
    """``POST /v3/projects``"""
    body = call.body["project"]
    domain_id = body.get("domain_id") or call.caller.project_domain_id
    if body.get("is_domain") or body.get("parent_id") not in (None, domain_id):
        raise Invalid("Projects have no hierarchy here: a project's parent is its domain.")
    project = Project(
        id=identity.ids.hex(),
        domain_id=domain_id,
        name=body["name"],
        description=body.get("description") or "",
        enabled=body.get("enabled", True),
        tags=sorted(body.get("tags", [])),
        extra=_extra(body, Project, known=("parent_id", "is_domain")),
    )
    await require(identity, Domain, domain_id)
    await identity.database.run(queries.insert, project)
    return _answer(call, project, 201)


async def update_project(identity: Identity, call: Call) -> Reply:
    """``PATCH /v3/projects/{id}``"""
    body = call.body["project"]
    found = await require(identity, Project, call.params["project_id"])
    if body.get("domain_id", found.domain_id) != found.domain_id:
        raise Invalid("A project stays in its domain.")
    changes = {name: body[name] for name in ("name", "enabled") if name in body}
    if "description" in body:
        changes["description"] = body["description"] or ""
    if "tags" in body:
        changes["tags"] = sorted(body["tags"])
    extra = _extra(body, Project, known=("parent_id", "is_domain"))
    return _answer(call, await _update(identity, Project, found.id, changes, extra))


async def delete_project(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/projects/{id}``"""
    if not await identity.database.run(queries.delete_project, call.params["project_id"]):
        raise missing(Project, call.params["project_id"])
    identity.changed()
    return Reply(204)


# --- users -------------------------------------------------------------------------------------------------


async def list_users(identity: Identity, call: Call) -> Reply:
    """``GET /v3/users``"""
    return await list_records(identity, call, User)


async def show_user(identity: Identity, call: Call) -> Reply:
    """``GET /v3/users/{id}``: oneself, or anybody for administrators."""
    own_or_admin(call, call.params["user_id"])
    return await show_record(identity, call, User, call.params["user_id"])


def own_or_admin(call: Call, user_id: str) -> None:
    """Raise ``Forbidden`` unless the user is the caller, or the caller an administrator."""
    if user_id != call.caller.user_id:
        call.require("identity:get_any_user")


async def list_user_projects(identity: Identity, call: Call) -> Reply:
    """``GET /v3/users/{id}/projects``"""
    user_id = call.params["user_id"]
    own_or_admin(call, user_id)
    await require(identity, User, user_id)
    found = await identity.database.run(queries.projects_of, user_id)
    links = {"self": f"{call.base_url}/v3/users/{user_id}/projects", "next": None, "previous": None}
    return Reply(200, {"projects": [project_view(p, call.base_url) for p in found], "links": links})


async def create_user(identity: Identity, call: Call) -> Reply:
    """``POST /v3/users``"""
    body = call.body["user"]
    user = User(
        id=identity.ids.hex(),
        domain_id=body.get("domain_id") or call.caller.project_domain_id,
        name=body["name"],
        enabled=body.get("enabled", True),
        default_project_id=body.get("default_project_id"),
        extra=_extra(body, User),
    )
    await require(identity, Domain, user.domain_id)
    digest = await identity.passwords.digest(body["password"]) if body.get("password") else None
    await identity.database.run(queries.insert, user, password_hash=digest)
    return _answer(call, user, 201)


async def update_user(identity: Identity, call: Call) -> Reply:
    """``PATCH /v3/users/{id}``. A new password, or being disabled, ends the user's tokens."""
    body = call.body["user"]
    found = await require(identity, User, call.params["user_id"])
    if body.get("domain_id", found.domain_id) != found.domain_id:
        raise Invalid("A user stays in his domain.")
    changes = {name: body[name] for name in ("name", "enabled", "default_project_id") if name in body}
    if "password" in body:
        changes["password_hash"] = await identity.passwords.digest(body["password"]) if body["password"] else None
    if "password" in body or body.get("enabled") is False:
        changes["tokens_valid_from"] = identity.clock.now()
    return _answer(call, await _update(identity, User, found.id, changes, _extra(body, User)))


async def change_password(identity: Identity, call: Call) -> Reply:
    """``POST /v3/users/{id}/password``: one's own, by proving the old one."""
    user_id = call.params["user_id"]
    if user_id != call.caller.user_id:
        raise Forbidden("You may only change your own password; an administrator updates the user instead.")
    body = call.body["user"]
    login = await identity.database.run(read_login, user_id, None, None, None)
    if not await identity.passwords.matches(body["original_password"], None if login is None else login.digest):
        raise Forbidden("The original password is not right.")
    assert login is not None, "nobody's password matches nothing"
    digest = await identity.passwords.digest(body["password"])
    if not await identity.database.run(queries.set_password, user_id, login.digest, digest, identity.clock.now()):
        raise Forbidden("The original password is not right any more: it was changed in the same moment.")
    identity.changed()
    return Reply(204)


async def delete_user(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/users/{id}``"""
    if not await identity.database.run(queries.delete_user, call.params["user_id"]):
        raise missing(User, call.params["user_id"])
    identity.changed()
    return Reply(204)


# --- roles -------------------------------------------------------------------------------------------------


async def list_roles(identity: Identity, call: Call) -> Reply:
    """``GET /v3/roles``"""
    return await list_records(identity, call, Role)


async def show_role(identity: Identity, call: Call) -> Reply:
    """``GET /v3/roles/{id}``"""
    return await show_record(identity, call, Role, call.params["role_id"])


async def create_role(identity: Identity, call: Call) -> Reply:
    """``POST /v3/roles``"""
    body = call.body["role"]
    role = Role(id=identity.ids.hex(), name=body["name"], description=body.get("description"))
    await identity.database.run(queries.insert, role)
    return _answer(call, role, 201)


async def update_role(identity: Identity, call: Call) -> Reply:
    """``PATCH /v3/roles/{id}``"""
    changes = {name: call.body["role"][name] for name in ("name", "description") if name in call.body["role"]}
    return _answer(call, await _update(identity, Role, call.params["role_id"], changes))


async def delete_role(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/roles/{id}``"""
    if not await identity.database.run(queries.delete_role, call.params["role_id"]):
        raise missing(Role, call.params["role_id"])
    identity.changed()
    return Reply(204)
