"""Quota sets of projects, and the quota class they all fall back to.

A user may have limits of their own within a project (``user_id`` in the query); they count beside the project's.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import BOOLEAN, as_bool, as_int, document, number, queries
from kilonova.api.compute.quota_names import defaults, of_classes, of_sets
from kilonova.api.compute.rules import OTHER_QUOTAS
from kilonova.database import ledger, user_quotas
from kilonova.database.quotas import DEFAULT_CLASS, clear_limits, of_class, set_class, set_limits
from kilonova.model.errors import Forbidden, Invalid
from kilonova.web.call import Call, Reply
from kilonova.web.policy import ANY
from kilonova.web.routes import Route
from kilonova.web.schema import TEXT, Schema, Schemas, Versioned

_RULE = "os_compute_api:os-quota-sets"
_CLASS_RULE = "os_compute_api:os-quota-class-sets"
_CLASS = "default"
_LONGEST_ID = 64
_LONGEST_NAME = 255


async def show(cloud: Deployment, call: Call) -> Reply:
    """The limits of a project, or of a user in it."""
    project_id = _readable(call, "show")
    limits, _ = await cloud.database.run(_limits_and_use, project_id, _user(call), defaults(cloud.config.quota))
    return Reply(200, {"quota_set": {"id": project_id, **_pick(limits, of_sets(call.version))}})


async def show_detail(cloud: Deployment, call: Call) -> Reply:
    """Limit and use of each resource; nothing is reserved here, use is counted at once."""
    project_id = _readable(call, "detail")
    limits, used = await cloud.database.run(_limits_and_use, project_id, _user(call), defaults(cloud.config.quota))
    entries = {
        name: {"limit": limits[name], "in_use": used.get(name, 0), "reserved": 0} for name in of_sets(call.version)
    }
    return Reply(200, {"quota_set": {"id": project_id, **entries}})


async def show_defaults(cloud: Deployment, call: Call) -> Reply:
    """The limits of a project that has none of its own."""
    limits = await cloud.database.run(ledger.limits, DEFAULT_CLASS, defaults(cloud.config.quota))
    return Reply(200, {"quota_set": {"id": call.params["id"], **_pick(limits, of_sets(call.version))}})


async def update(cloud: Deployment, call: Call) -> Reply:
    """Set limits; below what is in use, or for a user above the project's, only with ``force``."""
    user_id = _user(call)
    body = dict(call.body["quota_set"])
    force = as_bool(body.pop("force", False))
    limits = await cloud.database.run(
        _change, _project(call), user_id, _amounts(body), force, defaults(cloud.config.quota)
    )
    return Reply(200, {"quota_set": _pick(limits, of_sets(call.version))})


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Back to the defaults, or for a user to the project's limits."""
    await cloud.database.run(_clear, _project(call), _user(call))
    return Reply(202)


async def show_class(cloud: Deployment, call: Call) -> Reply:
    """The defaults, and over them what was set for the class."""
    limits = await cloud.database.run(_of_class, call.params["id"], defaults(cloud.config.quota))
    return Reply(200, {"quota_class_set": {"id": call.params["id"], **_pick(limits, of_classes(call.version))}})


async def update_class(cloud: Deployment, call: Call) -> Reply:
    """Change the defaults of all projects by the class ``default``; any other class is kept, and concerns no project."""
    name = call.params["id"]
    if len(name) > _LONGEST_NAME:
        raise Invalid(f"quota_class_name has {len(name)} characters, more than {_LONGEST_NAME}.")
    amounts = _amounts(call.body["quota_class_set"])
    limits = await cloud.database.run(_change_class, name, amounts, defaults(cloud.config.quota))
    return Reply(200, {"quota_class_set": _pick(limits, of_classes(call.version))})


def _of_class(connection: Connection, name: str, usual: dict[str, int]) -> dict[str, int]:
    limits = ledger.limits(connection, DEFAULT_CLASS, usual)
    return limits if name == _CLASS else limits | of_class(connection, name)


def _change_class(
    connection: Connection, name: str, amounts: dict[str, int], usual: dict[str, int]
) -> dict[str, int]:
    if name == _CLASS:
        set_limits(connection, DEFAULT_CLASS, amounts)
    else:
        set_class(connection, name, amounts)
    return _of_class(connection, name, usual)


def _readable(call: Call, what: str) -> str:
    project_id = _project(call)
    if project_id != call.caller.project_id and not call.allows(OTHER_QUOTAS):
        raise Forbidden(f"Policy doesn't allow {_RULE}:{what} to be performed.")
    return project_id


def _amounts(body: dict[str, Any]) -> dict[str, int]:
    return {name: as_int(value, name, -1) for name, value in body.items()}


def _pick(limits: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    return {name: limits[name] for name in names}


def _project(call: Call) -> str:
    project_id = call.params["id"]
    if len(project_id) > _LONGEST_ID:
        raise Invalid(f"Project ID {project_id[:_LONGEST_ID]}… is not a valid project.")
    return project_id


def _user(call: Call) -> str | None:
    user_id = call.first("user_id")
    if user_id is not None and len(user_id) > _LONGEST_ID:
        raise Invalid(f"User ID {user_id[:_LONGEST_ID]}… is not a valid user.")
    return user_id or None


def _limits_and_use(
    connection: Connection, project_id: str, user_id: str | None, usual: dict[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    limits = ledger.limits(connection, project_id, usual)
    if user_id is None:
        return limits, ledger.usages(connection, project_id)
    own = user_quotas.limits(connection, project_id, user_id)
    return limits | own, user_quotas.usages(connection, project_id, user_id)


def _change(
    connection: Connection,
    project_id: str,
    user_id: str | None,
    amounts: dict[str, int],
    force: bool,
    usual: dict[str, int],
) -> dict[str, int]:
    if user_id is None:
        set_limits(connection, project_id, amounts, force=force)
    else:
        project = ledger.limits(connection, project_id, usual)
        user_quotas.set_limits(connection, project_id, user_id, amounts, project, force=force)
    return _limits_and_use(connection, project_id, user_id, usual)[0]


def _clear(connection: Connection, project_id: str, user_id: str | None) -> None:
    user_quotas.clear(connection, project_id, user_id)
    if user_id is None:
        clear_limits(connection, project_id)


def _set_body(version: int) -> Schema:
    properties = {name: number(-1) for name in of_sets(version)} | {"force": BOOLEAN}
    return document(["quota_set"], {"quota_set": document([], properties)})


def _class_body(version: int) -> Schema:
    properties = {name: number(-1) for name in (*of_classes(version), *of_sets(57))}
    return document(["quota_class_set"], {"quota_class_set": document([], properties)})


_SET_BODIES: Schemas = (
    Versioned(_set_body(1), 0, 35),
    Versioned(_set_body(36), 36, 56),
    Versioned(_set_body(57), 57),
)
_CLASS_BODIES: Schemas = (
    Versioned(_class_body(1), 0, 49),
    Versioned(_class_body(50), 50, 56),
    Versioned(_class_body(57), 57),
)
_USER = queries(75, {"user_id": TEXT})
_SET = "/os-quota-sets/{id}"
_CLASS_SET = "/os-quota-class-sets/{id}"


def _route(method: str, path: str, rule: str, role: str, **rest: Any) -> Route:
    return Route(method=method, path=path, rule=rule, role=role, **rest)


ROUTES = [
    _route("GET", _SET, f"{_RULE}:show", "reader", handler=show, query=_USER, summary="Show quotas"),
    _route(
        "PUT",
        _SET,
        f"{_RULE}:update",
        "admin",
        handler=update,
        body=_SET_BODIES,
        query=_USER,
        summary="Set quotas",
    ),
    _route("DELETE", _SET, f"{_RULE}:delete", "admin", handler=delete, query=_USER, summary="Reset quotas"),
    _route(
        "GET",
        f"{_SET}/detail",
        f"{_RULE}:detail",
        "reader",
        handler=show_detail,
        query=_USER,
        summary="Show quotas and use",
    ),
    _route(
        "GET",
        f"{_SET}/defaults",
        f"{_RULE}:defaults",
        ANY,
        handler=show_defaults,
        summary="Show default quotas",
    ),
    _route(
        "GET",
        _CLASS_SET,
        f"{_CLASS_RULE}:show",
        "admin",
        handler=show_class,
        query=queries(102),
        summary="Show the default quotas",
    ),
    _route(
        "PUT",
        _CLASS_SET,
        f"{_CLASS_RULE}:update",
        "admin",
        handler=update_class,
        body=_CLASS_BODIES,
        summary="Change the default quotas",
    ),
]
