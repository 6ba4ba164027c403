"""The query string of Network v2.0's lists: filters, ``fields``, pages.

Every attribute may be a filter; repeated ones mean "any of". Reference: Networking API v2.0, "Filtering and column
selection", "Pagination".
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import msgspec

from kilonova.model.errors import Invalid
from kilonova.web.call import Call

_ALIASES = {"tenant_id": "project_id", "router:external": "external", "binding:host_id": "host"}
_FLAGS = {"shared", "external", "admin_state_up", "enable_dhcp"}
_COLUMNS = {
    "networks": {"id", "name", "project_id", "shared", "external", "admin_state_up", "mtu", "description"},
    "subnets": {"id", "name", "project_id", "network_id", "cidr", "gateway_ip", "ip_version", "enable_dhcp"},
    "ports": {
        "id",
        "name",
        "project_id",
        "network_id",
        "mac_address",
        "device_id",
        "device_owner",
        "status",
        "admin_state_up",
        "host",
    },
}
_NUMBERS = {"mtu", "ip_version"}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. ``subnets`` and ``addresses`` are what ``fixed_ips`` of ports was filtered by."""

    filters: dict[str, object]
    addresses: list[str]
    subnets: list[str]
    limit: int
    marker: str | None


def page(call: Call, plural: str, most: int) -> Page:
    """Read the query. Raises ``Invalid``; a filter that no attribute has is ignored, as Neutron does."""
    filters: dict[str, object] = {}
    for name, values in call.query.items():
        column = _ALIASES.get(name, name)
        if column in _COLUMNS[plural] and not (column == "host" and not call.caller.is_admin):
            filters[column] = [_value(name, column, value) for value in values[:1000]]
    addresses: list[str] = []
    subnets: list[str] = []
    for value in call.query.get("fixed_ips", [])[:1000] if plural == "ports" else []:
        key, _, wanted = value.partition("=")
        if key not in ("ip_address", "subnet_id"):
            raise Invalid("fixed_ips is filtered as ip_address=… or subnet_id=….")
        (addresses if key == "ip_address" else subnets).append(wanted)
    return Page(
        filters=filters, addresses=addresses, subnets=subnets, limit=_limit(call, most), marker=call.first("marker")
    )


def _value(name: str, column: str, value: str) -> object:
    if column in _FLAGS:
        if value.lower() not in ("true", "false", "1", "0"):
            raise Invalid(f"Invalid input for {name}: '{value[:64]}' is not a truth value.")
        return value.lower() in ("true", "1")
    if column in _NUMBERS:
        if not value.isdigit() or len(value) > 9:
            raise Invalid(f"Invalid input for {name}: '{value[:64]}' is not a number.")
        return int(value)
    return value


def _limit(call: Call, most: int) -> int:
    wanted = call.first("limit")
    if wanted is None:
        return most
    if not wanted.isdigit() or len(wanted) > 9:
        raise Invalid("limit must be a whole number.")
    return max(1, min(int(wanted), most))


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
