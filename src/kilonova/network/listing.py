"""The query string of Network v2.0's lists: filters, order, ``fields``, pages.

Every attribute may be a filter; repeated ones mean "any of". Reference: Networking API v2.0, "Filtering and column
selection", "Sorting", "Pagination", "Filtering by tags".
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from kilonova.database.networks import TABLES, Question, Tagged
from kilonova.database.types import Json
from kilonova.model.errors import Invalid
from kilonova.model.network import Port
from kilonova.web.call import Call

_ALIASES = {
    "tenant_id": "project_id",
    "router:external": "external",
    "binding:host_id": "host",
    "binding:vnic_type": "vnic_type",
    "provider:network_type": "network_type",
    "provider:physical_network": "physical_network",
    "provider:segmentation_id": "segmentation_id",
    "revision_number": "revision",
}
_ADMINS = {"host", "network_type", "physical_network", "segmentation_id"}
_INTERNAL = {"bridge", "binding", "device_index", "cursor", "floating_port_id", "created_at", "updated_at"}
_MOST_VALUES = 1000


_COLUMNS: dict[type[Any], dict[str, sa.Column[Any]]] = {
    kind: {
        column.name: column
        for column in table.columns
        if not isinstance(column.type, Json) and column.name not in _INTERNAL
    }
    for kind, table in TABLES.items()
}


def question(call: Call, kind: type[Any], most: int) -> Question:
    """Read the query. Raises ``Invalid``; a filter that no attribute has is ignored, as Neutron does."""
    known = _COLUMNS[kind]
    filters: dict[str, list[object]] = {}
    for name, values in call.query.items():
        column = _ALIASES.get(name, name)
        if column in known and not (column in _ADMINS and not call.caller.is_admin):
            filters[column] = [_value(name, known[column], value) for value in values[:_MOST_VALUES]]
    of_ports = _of_ports(call) if kind is Port else {}
    return Question(
        filters=filters,
        sort=_order(call, known),
        limit=_limit(call, most),
        marker=call.first("marker"),
        seen_by=None if call.caller.is_admin else call.caller.project_id or "",
        tagged=_tagged(call),
        **of_ports,
    )


def _of_ports(call: Call) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"addresses": [], "pieces": [], "subnets": []}
    keys = {"ip_address": "addresses", "ip_address_substr": "pieces", "subnet_id": "subnets"}
    for value in call.query.get("fixed_ips", [])[:_MOST_VALUES]:
        key, _, wanted = value.partition("=")
        if key not in keys:
            raise Invalid("fixed_ips is filtered as ip_address=…, ip_address_substr=… or subnet_id=….")
        found[keys[key]].append(wanted)
    groups = [*call.query.get("security_groups", []), *call.query.get("security_group_ids", [])]
    return {**found, "groups": groups[:_MOST_VALUES]}


def _tagged(call: Call) -> Tagged:
    def words(key: str) -> list[str]:
        return [word for value in call.query.get(key, []) for word in value.split(",") if word][:50]

    return Tagged(all=words("tags"), any=words("tags-any"), not_all=words("not-tags"), not_any=words("not-tags-any"))


def _value(name: str, column: sa.Column[Any], value: str) -> object:
    if isinstance(column.type, sa.Boolean):
        if value.lower() not in ("true", "false", "1", "0"):
            raise Invalid(f"Invalid input for {name}: '{value[:64]}' is not a truth value.")
        return value.lower() in ("true", "1")
    if isinstance(column.type, sa.Integer):
        if not (value.isascii() and value.isdigit()) or len(value) > 9:
            raise Invalid(f"Invalid input for {name}: '{value[:64]}' is not a number.")
        return int(value)
    return value


def _order(call: Call, known: Mapping[str, sa.Column[Any]]) -> list[tuple[str, bool]]:
    keys = [_ALIASES.get(key, key) for key in call.query.get("sort_key", [])[:8]]
    ways = call.query.get("sort_dir", ["asc"] * len(keys))
    if len(ways) != len(keys) and "sort_dir" in call.query:
        raise Invalid("The number of sort_keys and sort_dirs must be same.")
    for key in keys:
        if key not in known or known[key].nullable:
            raise Invalid(f"'{key[:64]}' is no attribute that can be sorted by.")
    if any(way not in ("asc", "desc") for way in ways):
        raise Invalid("sort_dir must be asc or desc.")
    return [(key, way == "desc") for key, way in zip(keys, ways, strict=False)]


def _limit(call: Call, most: int) -> int:
    wanted = call.first("limit")
    if wanted is None:
        return most
    if not (wanted.isascii() and wanted.isdigit()) or len(wanted) > 9:
        raise Invalid("limit must be a whole number.")
    return min(int(wanted), most) or most


def selected(call: Call, view: dict[str, Any]) -> dict[str, Any]:
    """Only the ``fields`` asked for, if any were."""
    fields = {field for value in call.query.get("fields", []) for field in value.split(",")}
    return {name: value for name, value in view.items() if name in fields} if fields else view


def paged(call: Call, plural: str, views: Iterable[dict[str, Any]], more: str | None) -> dict[str, Any]:
    """The answer's body; ``more`` is the last id of a page that others follow."""
    key = plural.replace("-", "_")
    body: dict[str, Any] = {key: [selected(call, view) for view in views]}
    if more is not None:
        pairs = [(name, value) for name, values in call.query.items() if name != "marker" for value in values]
        query = urlencode([*pairs, ("marker", more)])
        body[f"{key}_links"] = [{"rel": "next", "href": f"{call.base_url}/v2.0/{plural}?{query}"}]
    return body
