"""Flavors: list, show, create, describe, delete. Access and extra specs have files of their own, joined here."""

import re
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute import flavor_access, flavor_extra_specs
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.flavor_views import detail, summary
from kilonova.api.compute.inputs import (
    BOOLEAN,
    PRINTABLE_NAME,
    as_bool,
    as_int,
    document,
    number,
    queries,
    query_object,
)
from kilonova.api.compute.patterns import read_pattern
from kilonova.api.compute.rules import ALL_FLAVORS
from kilonova.api.paging import links, page
from kilonova.database.flavors import (
    SORT_KEYS,
    FlavorListing,
    delete_flavor,
    get_flavor,
    insert_flavor,
    list_flavors,
    update_flavor,
)
from kilonova.model.errors import Invalid
from kilonova.model.flavor import Flavor
from kilonova.web.call import Call, Reply
from kilonova.web.policy import ANY
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned

_TRUE = re.compile("^(1|t|true|on|y|yes)$", re.IGNORECASE)
_FALSE = re.compile("^(0|f|false|off|n|no)$", re.IGNORECASE)


async def index(cloud: Deployment, call: Call) -> Reply:
    """Names and ids."""
    found, more = await _page(cloud, call)
    return Reply(200, {"flavors": [summary(call, flavor) for flavor in found], **more})


async def index_detail(cloud: Deployment, call: Call) -> Reply:
    """The same flavors in full."""
    found, more = await _page(cloud, call)
    return Reply(200, {"flavors": [detail(call, flavor) for flavor in found], **more})


async def _page(cloud: Deployment, call: Call) -> tuple[list[Flavor], dict[str, Any]]:
    limit, marker = page(call, cloud.config.api.max_limit)
    everything = call.allows(ALL_FLAVORS)
    asked = FlavorListing(
        project_id=call.caller.project_id,
        limit=limit,
        marker=marker,
        is_public=_wanted_publicity(call) if everything else True,
        min_memory_mb=_least(call, "minRam"),
        min_disk_gb=_least(call, "minDisk"),
        name=_name_pattern(call),
        sort_key=call.first("sort_key") or "flavorid",
        ascending=call.first("sort_dir") != "desc",
    )
    found = await cloud.database.run(list_flavors, asked)
    return found, links(call, "flavors", found, limit, found[-1].id if found else None)


def _wanted_publicity(call: Call) -> bool | None:
    """``is_public`` of an administrator: true when it is not said, all for ``none``."""
    text = call.first("is_public")
    if text is None or _TRUE.match(text):
        return True
    if text.lower() == "none":
        return None
    if _FALSE.match(text):
        return False
    raise Invalid(f"Invalid is_public filter [{text[:64]}]")


def _least(call: Call, key: str) -> int:
    text = call.first(key)
    if text is None:
        return 0
    if not re.fullmatch("-?[0-9]{1,10}", text):
        raise Invalid(f"Invalid {key} filter [{text[:64]}]")
    return int(text)


def _name_pattern(call: Call) -> str | None:
    text = call.first("name") if call.version >= 102 else None
    return None if text is None else read_pattern(text, "name")


async def show(cloud: Deployment, call: Call) -> Reply:
    """One flavor."""
    flavor = await cloud.database.run(get_flavor, call.params["id"], call.caller.project_id, call.allows(ALL_FLAVORS))
    return Reply(200, {"flavor": detail(call, flavor)})


async def create(cloud: Deployment, call: Call) -> Reply:
    """A new flavor; without an id (or with ``auto``) it gets a UUID."""
    flavor = _from_body(call.body["flavor"], cloud.ids.uuid())
    await cloud.database.run(insert_flavor, flavor, call.started_at)
    return Reply(200, {"flavor": detail(call, flavor)})


def _from_body(body: dict[str, Any], fresh_id: str) -> Flavor:
    asked = body.get("id")
    factor = float(body.get("rxtx_factor", 1.0))
    if not 0 < factor <= 3.40282e38:
        raise Invalid("The rxtx_factor must be a positive number.")
    return Flavor(
        id=fresh_id if asked is None or asked == "auto" else str(asked),
        name=body["name"],
        vcpus=as_int(body["vcpus"], "vcpus", 1),
        memory_mb=as_int(body["ram"], "ram", 1),
        disk_gb=as_int(body["disk"], "disk", 0),
        ephemeral_gb=as_int(body.get("OS-FLV-EXT-DATA:ephemeral", 0), "OS-FLV-EXT-DATA:ephemeral", 0),
        swap_mb=as_int(body.get("swap", 0), "swap", 0),
        rxtx_factor=factor,
        is_public=as_bool(body.get("os-flavor-access:is_public", True)),
        description=body.get("description"),
    )


async def update(cloud: Deployment, call: Call) -> Reply:
    """The description is all that can change: servers would otherwise run on sizes that are no more."""
    flavorid = call.params["id"]
    flavor = await cloud.database.run(_describe, flavorid, call.body["flavor"]["description"])
    return Reply(200, {"flavor": detail(call, flavor)})


def _describe(connection: Connection, flavorid: str, description: str | None) -> Flavor:
    update_flavor(connection, flavorid, description=description)
    return get_flavor(connection, flavorid, None, True)


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Take it off the list; servers keep the copy they were made with."""
    await cloud.database.run(delete_flavor, call.params["id"])
    return Reply(202)


_ID: Schema = {
    "type": ["string", "number", "null"],
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9._-]([a-zA-Z0-9. _-]*[a-zA-Z0-9._-])?$",
}
_DESCRIPTION: Schema = {"type": ["string", "null"], "maxLength": 65535, "pattern": r"^[^\x00-\x1f\x7f]*$"}
_SIZES: dict[str, Schema] = {
    "name": PRINTABLE_NAME,
    "id": _ID,
    "ram": number(1),
    "vcpus": number(1),
    "disk": number(0),
    "OS-FLV-EXT-DATA:ephemeral": number(0),
    "swap": number(0),
    "os-flavor-access:is_public": BOOLEAN,
}
_RXTX: dict[str, Schema] = {"rxtx_factor": {"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}}
_WORDS: dict[str, Schema] = {"description": _DESCRIPTION}


def _creation(properties: dict[str, Schema]) -> Schema:
    return document(["flavor"], {"flavor": document(["name", "ram", "vcpus", "disk"], properties)})


_CREATE = (
    Versioned(_creation(_SIZES | _RXTX), 0, 54),
    Versioned(_creation(_SIZES | _RXTX | _WORDS), 55, 101),
    Versioned(_creation(_SIZES | _WORDS), 102),
)
_UPDATE = (Versioned(document(["flavor"], {"flavor": document(["description"], _WORDS)}), 55),)
_FILTERS: dict[str, Schema] = {
    "limit": NON_NEGATIVE,
    "marker": TEXT,
    "is_public": TEXT,
    "minRam": TEXT,
    "minDisk": TEXT,
    "sort_key": {"type": "string", "enum": sorted(SORT_KEYS)},
    "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
}
_FILTERS_102 = _FILTERS | {
    "name": TEXT,
    "sort_key": {"type": "string", "enum": sorted(set(SORT_KEYS) - {"rxtx_factor"})},
}
_LIST = (
    Versioned(query_object(_FILTERS), 0, 74),
    Versioned(query_object(_FILTERS, strict=True), 75, 101),
    Versioned(query_object(_FILTERS_102, strict=True), 102),
)
_MANAGE = "os_compute_api:os-flavor-manage"

ROUTES = [
    Route(
        method="GET",
        path="/flavors",
        handler=index,
        rule="os_compute_api:flavors:index",
        role=ANY,
        query=_LIST,
        summary="List flavors",
    ),
    Route(
        method="POST",
        path="/flavors",
        handler=create,
        rule=f"{_MANAGE}:create",
        role="admin",
        body=_CREATE,
        summary="Create a flavor",
    ),
    Route(
        method="GET",
        path="/flavors/detail",
        handler=index_detail,
        rule="os_compute_api:flavors:detail",
        role="reader",
        query=_LIST,
        summary="List flavors in full",
    ),
    Route(
        method="GET",
        path="/flavors/{id}",
        handler=show,
        rule="os_compute_api:flavors:show",
        role="reader",
        query=queries(102),
        summary="Show a flavor",
    ),
    Route(
        method="PUT",
        path="/flavors/{id}",
        handler=update,
        rule=f"{_MANAGE}:update",
        role="admin",
        since=55,
        body=_UPDATE,
        summary="Describe a flavor",
    ),
    Route(
        method="DELETE",
        path="/flavors/{id}",
        handler=delete,
        rule=f"{_MANAGE}:delete",
        role="admin",
        summary="Delete a flavor",
    ),
    *flavor_access.ROUTES,
    *flavor_extra_specs.ROUTES,
]
