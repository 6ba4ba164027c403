"""Migrations: every move of a server between hosts or flavors, past and present, as administrators list them."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_bool, query_object
from kilonova.api.compute.links import resource_links
from kilonova.api.compute.rules import ALL_MIGRATIONS, MIGRATION_HOSTS
from kilonova.api.paging import links, page
from kilonova.database.server_migrations import Listing, listing
from kilonova.model.errors import Invalid
from kilonova.model.migration import Migration
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros, parse_moment
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Versioned

_TYPES_SINCE = 23
_PAGES_SINCE = 59
_BEFORE_SINCE = 66
_OWNERS_SINCE = 80

_FILTERS = {
    "instance_uuid": "server_id",
    "status": "status",
    "migration_type": "migration_type",
    "source_compute": "source_compute",
    "user_id": "user_id",
    "project_id": "project_id",
}


async def index(cloud: Deployment, call: Call) -> Reply:
    """Of one project, or for administrators of all; in pages from 2.59."""
    project_id = call.first("project_id")
    if not project_id or project_id != call.caller.project_id:
        call.require(ALL_MIGRATIONS)
    asked = _asked(cloud, call)
    found = [] if as_bool(call.first("hidden")) else await cloud.database.run(listing, asked)  # none is hidden here
    more: dict[str, Any] = {}
    if call.version >= _PAGES_SINCE:
        more = links(call, "migrations", found, asked.limit, found[-1].uuid if found else None)
    return Reply(200, {"migrations": [_view(call, migration) for migration in found], **more})


def _asked(cloud: Deployment, call: Call) -> Listing:
    match = {column: value for key, column in _FILTERS.items() if (value := call.first(key)) is not None}
    host = call.first("host")
    if host is not None:
        match.pop("source_compute", None)
    limit, marker = cloud.config.api.max_limit, None
    since = before = None
    if call.version >= _PAGES_SINCE:
        limit, marker = page(call, limit)
        since = _moment(call, "changes-since")
    if call.version >= _BEFORE_SINCE:
        before = _moment(call, "changes-before")
    if since is not None and before is not None and before < since:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return Listing(
        limit=limit,
        marker=marker,
        oldest_first=call.version < _PAGES_SINCE,
        host=host,
        node=call.first("node"),
        match=match,
        changes_since=since,
        changes_before=before,
    )


def _moment(call: Call, key: str) -> int | None:
    text = call.first(key)
    return None if text is None else parse_moment(text, key)


def _view(call: Call, migration: Migration) -> dict[str, Any]:
    shown = call.allows(MIGRATION_HOSTS)
    view: dict[str, Any] = {
        "id": migration.id,
        "instance_uuid": migration.server_id,
        "status": migration.status,
        "old_instance_type_id": migration.old_flavor_id,
        "new_instance_type_id": migration.new_flavor_id,
        "created_at": iso_micros(migration.created_at),
        "updated_at": iso_micros(migration.updated_at),
        **places(migration, shown=shown),
    }
    if call.version >= _TYPES_SINCE:
        view["migration_type"] = migration.migration_type
        if migration.live_in_progress:
            view["links"] = resource_links(call, f"servers/{migration.server_id}/migrations", str(migration.id))
    if call.version >= _PAGES_SINCE:
        view["uuid"] = migration.uuid
    if call.version >= _OWNERS_SINCE:
        view |= {"user_id": migration.user_id, "project_id": migration.project_id}
    return view


def places(migration: Migration, *, shown: bool) -> dict[str, str | None]:
    """From where to where: the operator's business, so others get no values."""
    names = ("source_compute", "source_node", "dest_compute", "dest_node", "dest_host")
    return {name: getattr(migration, name) if shown else None for name in names}


_WORDS: dict[str, Schema] = dict.fromkeys(
    ("hidden", "host", "instance_uuid", "source_compute", "status", "migration_type"), TEXT
)
_PAGE: dict[str, Schema] = {"limit": NON_NEGATIVE, "marker": TEXT, "changes-since": TEXT}
_BEFORE: dict[str, Schema] = {"changes-before": TEXT}
_OWNERS: dict[str, Schema] = {"user_id": TEXT, "project_id": TEXT}
_QUERY = (
    Versioned(query_object(_WORDS), 0, 58),
    Versioned(query_object(_WORDS | _PAGE, strict=True), 59, 65),
    Versioned(query_object(_WORDS | _PAGE | _BEFORE, strict=True), 66, 79),
    Versioned(query_object(_WORDS | _PAGE | _BEFORE | _OWNERS, strict=True), 80),
)

ROUTES = [
    Route(
        method="GET",
        path="/os-migrations",
        handler=index,
        rule="os_compute_api:os-migrations:index",
        role="manager",
        query=_QUERY,
        summary="List migrations",
    ),
]
