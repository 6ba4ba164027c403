"""Server groups: servers that shall share a host, or shall not.

Up to 2.63 a group has a list of one policy and empty metadata; from 2.64 a policy and its rules.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import PRINTABLE_NAME, document, queries
from kilonova.api.compute.rules import ALL_SERVER_GROUPS
from kilonova.api.paging import offset, page
from kilonova.database import server_groups
from kilonova.model.errors import Invalid
from kilonova.model.placement import GroupPolicy, ServerGroup
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned

_OWNERS_SINCE = 13
_SOFT_SINCE = 15
_RULES_SINCE = 64

Found = tuple[list[ServerGroup], dict[str, list[str]]]


async def index(cloud: Deployment, call: Call) -> Reply:
    """Those of the caller's project; with ``all_projects`` an administrator's list of all."""
    everybody = "all_projects" in call.query and call.allows(ALL_SERVER_GROUPS)
    limit, _ = page(call, cloud.config.api.max_limit)
    found, members = await cloud.database.run(_page, None if everybody else call.project_id, limit, offset(call))
    return Reply(200, {"server_groups": [_view(call, group, members) for group in found]})


def _page(connection: Connection, project_id: str | None, limit: int, offset: int) -> Found:
    found = server_groups.listing(connection, project_id, limit, offset)
    return found, server_groups.members_of(connection, [group.id for group in found])


async def show(cloud: Deployment, call: Call) -> Reply:
    """One with its members."""
    found, members = await cloud.database.run(_one, call)
    return Reply(200, {"server_group": _view(call, found, members)})


def _one(connection: Connection, call: Call) -> tuple[ServerGroup, dict[str, list[str]]]:
    group = _get(connection, call)
    return group, server_groups.members_of(connection, [group.id])


def _get(connection: Connection, call: Call) -> ServerGroup:
    return server_groups.get(connection, call.params["id"], None if call.caller.is_admin else call.project_id)


async def create(cloud: Deployment, call: Call) -> Reply:
    """An empty group; servers join it when they are created."""
    body: dict[str, Any] = call.body["server_group"]
    policy = GroupPolicy(body["policy"] if call.version >= _RULES_SINCE else body["policies"][0])
    rules = {name: _positive(name, value) for name, value in body.get("rules", {}).items()}
    if rules and policy is not GroupPolicy.ANTI_AFFINITY:
        raise Invalid("Only anti-affinity policy supports rules.")
    group = await cloud.database.run(
        server_groups.insert,
        group_id=cloud.ids.uuid(),
        project_id=call.project_id,
        user_id=call.caller.user_id,
        name=body["name"],
        policy=policy,
        rules=rules,
        now=cloud.clock.now(),
        quota_defaults=cloud.config.quota.model_dump(),
    )
    return Reply(200, {"server_group": _view(call, group, {})})


def _positive(name: str, value: Any) -> int:
    """What a number that may be written as digits means; it is kept in a document, so no column bounds it."""
    amount = int(value)
    if amount < 1:
        raise Invalid(f"Invalid input for field/attribute {name}. {amount} is less than the minimum of 1.")
    if amount >= 1 << 63:
        raise Invalid(f"{name}: no cloud has so many servers.")
    return amount


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Forget a group; its servers stay."""
    await cloud.database.run(_delete, call)
    return Reply(204)


def _delete(connection: Connection, call: Call) -> None:
    server_groups.delete(connection, _get(connection, call))


def _view(call: Call, group: ServerGroup, members: dict[str, list[str]]) -> dict[str, Any]:
    view: dict[str, Any] = {"id": group.id, "name": group.name, "members": members.get(group.id, [])}
    if call.version >= _RULES_SINCE:
        view |= {"policy": group.policy, "rules": group.rules}
    else:
        view |= {"policies": [group.policy], "metadata": {}}
    if call.version >= _OWNERS_SINCE:
        view |= {"project_id": group.project_id, "user_id": group.user_id}
    return view


_HARD_WORDS = ["affinity", "anti-affinity"]
_ALL_WORDS = [str(policy) for policy in GroupPolicy]


def _create_body(required: str, properties: dict[str, Schema]) -> Schema:
    inner = document(["name", required], {"name": PRINTABLE_NAME, **properties})
    return document(["server_group"], {"server_group": inner})


def _policies(words: list[str]) -> Schema:
    one: Schema = {"type": "array", "items": {"type": "string", "enum": words}, "minItems": 1, "maxItems": 1}
    return _create_body("policies", {"policies": one})


_POLICY: dict[str, Schema] = {
    "policy": {"type": "string", "enum": _ALL_WORDS},
    "rules": document(
        [], {"max_server_per_host": {"type": ["integer", "string"], "pattern": "^[0-9]{1,99}$", "minimum": 1}}
    ),
}
_CREATE = (
    Versioned(_policies(_HARD_WORDS), 0, _SOFT_SINCE - 1),
    Versioned(_policies(_ALL_WORDS), _SOFT_SINCE, _RULES_SINCE - 1),
    Versioned(_create_body("policy", _POLICY), _RULES_SINCE),
)
_LIST: dict[str, Schema] = {"all_projects": TEXT, "limit": NON_NEGATIVE, "offset": NON_NEGATIVE}
_RULE = "os_compute_api:os-server-groups"
_PATH = "/os-server-groups"
_ONE = f"{_PATH}/{{id}}"


def _route(method: str, path: str, name: str, role: str, **rest: Any) -> Route:
    return Route(method=method, path=path, rule=f"{_RULE}:{name}", role=role, **rest)


ROUTES = [
    _route("GET", _PATH, "index", "reader", handler=index, query=queries(75, _LIST), summary="List server groups"),
    _route("POST", _PATH, "create", "member", handler=create, body=_CREATE, summary="Create a server group"),
    _route("GET", _ONE, "show", "reader", handler=show, query=queries(102), summary="Show a server group"),
    _route("DELETE", _ONE, "delete", "member", handler=delete, summary="Delete a server group"),
]
