"""Reads the query string of a server list: filters, order, page (Compute API reference, "List Servers")."""

from typing import Any

from kilonova.api.compute.patterns import read_pattern
from kilonova.api.paging import page
from kilonova.database.servers import SORTABLE, TAG_FILTERS, Listing
from kilonova.model.errors import Forbidden, Invalid
from kilonova.model.server import tasks_of, vm_states_of
from kilonova.web.call import Call
from kilonova.web.moments import last_of_second, parse_moment

_EXACT = {
    "uuid": "id",
    "reservation_id": "reservation_id",
    "flavor": "flavor_id",
    "image": "image_id",
    "image_ref": "image_id",
    "user_id": "user_id",
    "key_name": "key_name",
    "availability_zone": "availability_zone",
    "access_ip_v4": "access_ip_v4",
    "access_ip_v6": "access_ip_v6",
    "hostname": "hostname",
    "vm_state": "vm_state",
    "task_state": "task_state",
}
_MOST_TAGS = 50  # a server has no more
_FOR_ADMINS = {"host": "host", "node": "host"}
_LIKE = {"name": "name", "display_name": "name", "description": "description", "ip": "addresses", "ip6": "addresses"}
# What a member may filter by below 2.83, which opened the rest.
_FOR_ALL = {"reservation_id", "name", "status", "image", "flavor", "ip", "ip6", "changes-since", "changes-before"} | {
    "all_tenants",
    "locked",
    "uuid",
}


def read_listing(call: Call, most: int, all_projects: str) -> Listing | None:
    """What is asked for; None if it cannot match anything. Raises ``Invalid`` or ``Forbidden``."""
    limit, marker = page(call, most)
    admin = call.caller.is_admin
    everybody = _flag(call.first("all_tenants"))
    if everybody and not call.allows(all_projects):
        raise Forbidden(f"Policy doesn't allow {all_projects} to be performed.")
    project: str | None = call.project_id
    if everybody:
        project = call.first("project_id") or call.first("tenant_id")
    status = call.query.get("status", [])
    if any(not vm_states_of(word) and not tasks_of(word) for word in status):
        if call.version >= 38:
            raise Invalid("Invalid status value")
        return None
    deleted = _flag(call.first("deleted")) if admin else False
    match = _matches(call, admin)
    since = _moment(call, "changes-since")
    before = _moment(call, "changes-before") if call.version >= 66 else None
    return Listing(
        project_id=project,
        limit=limit,
        marker=marker,
        sort=_order(call),
        match=match,
        like=_likes(call, admin),
        status=status,
        tags=_tags(call),
        deleted=None if since is not None and not deleted else deleted,
        changes_since=since,
        changes_before=None if before is None else last_of_second(before),
    )


def _visible(call: Call, key: str, admin: bool) -> bool:
    return admin or key in _FOR_ALL or (call.version >= 83 and key not in _FOR_ADMINS)


def _matches(call: Call, admin: bool) -> dict[str, Any]:
    match: dict[str, Any] = {}
    for key, column in {**_EXACT, **_FOR_ADMINS}.items():
        values = call.query.get(key)
        if values and _visible(call, key, admin):
            match[column] = values if len(values) > 1 else values[0]
    if call.version >= 73 and call.first("locked") is not None:
        match["locked"] = _flag(call.first("locked"))
    if "flavor_id" in match and isinstance(match["flavor_id"], str):
        match["flavor_id"] = match["flavor_id"].rsplit("/", 1)[-1]
    return match


def _likes(call: Call, admin: bool) -> dict[str, str]:
    like: dict[str, str] = {}
    for key, column in _LIKE.items():
        value = call.first(key)
        if value and _visible(call, key, admin):
            pattern = read_pattern(value, key)
            if pattern:
                like[column] = pattern
    return like


def _tags(call: Call) -> dict[str, list[str]]:
    """All of them, any of them, not all, none: since 2.26."""
    asked = {how: call.first(how) for how in TAG_FILTERS} if call.version >= 26 else {}
    return {how: text.split(",")[:_MOST_TAGS] for how, text in asked.items() if text}


def _order(call: Call) -> list[tuple[str, bool]]:
    keys = call.query.get("sort_key", [])
    directions = call.query.get("sort_dir", [])
    for key in keys:
        if key not in SORTABLE and key != "name":
            raise Invalid(f"Invalid sort key: {key[:64]}")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid("Unknown sort direction, must be one of: asc, desc")
    default = directions[-1] if directions else "desc"
    padded = [*directions, *[default] * len(keys)]
    return [(key, direction == "asc") for key, direction in zip(keys, padded, strict=False)]


def _moment(call: Call, key: str) -> int | None:
    text = call.first(key)
    return None if text is None else parse_moment(text, key)


def _flag(text: str | None) -> bool:
    return text is not None and text.lower() not in ("false", "0", "f", "n", "no", "off")
