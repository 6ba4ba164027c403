"""The query string of ``GET /v2/images``: filters, order, page. Reference: Image API v2, "List images"."""

from urllib.parse import urlencode

from kilonova.database.images import SORT_KEYS, Listing
from kilonova.model.errors import Invalid
from kilonova.web.call import Call

_EQUAL = {
    "name": "name",
    "id": "id",
    "status": "status",
    "owner": "owner",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "checksum": "checksum",
    "os_hash_value": "sha512",
}
_FLAGS = {"os_hidden": "hidden", "protected": "protected"}
_NOT_FILTERS = {"limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "tag"}
_NOT_FILTERS |= {"size_min", "size_max", "min_disk", "min_ram", "created_at", "updated_at"}
VISIBILITIES = ("public", "private", "shared", "community", "all")
DEFAULT_LIMIT = 25


def listing(call: Call, max_limit: int) -> Listing:
    """What the caller wants to see, as far as he may. Raises ``Invalid``."""
    visibility = call.first("visibility")
    if visibility is not None and visibility not in VISIBILITIES:
        raise Invalid(f"visibility must be one of {', '.join(VISIBILITIES)}.")
    equal: dict[str, object] = {"hidden": False}
    properties: dict[str, str] = {}
    for name, values in call.query.items():
        if name in _FLAGS:
            equal[_FLAGS[name]] = _flag(name, values[-1])
        elif name in _EQUAL:
            equal[_EQUAL[name]] = _choice(values[-1])
        elif name not in _NOT_FILTERS:
            properties[name] = values[-1]
    return Listing(
        project_id=call.caller.project_id,
        everything=call.caller.is_admin,
        visibility=visibility,
        equal=equal,
        member_statuses=_member_statuses(call),
        tags=call.query.get("tag", []),
        properties=properties,
        size_min=_number(call, "size_min"),
        size_max=_number(call, "size_max"),
        sort=_sort(call),
        marker=call.first("marker"),
        limit=_limit(call, max_limit),
    )


def _member_statuses(call: Call) -> tuple[str, ...]:
    """Of images shared with the caller's project: those that it accepted, unless it asks for others."""
    wanted = call.first("member_status") or "accepted"
    if wanted not in ("accepted", "pending", "rejected", "all"):
        raise Invalid("member_status must be one of accepted, pending, rejected, all.")
    return ("accepted", "pending", "rejected") if wanted == "all" else (wanted,)


def _choice(value: str) -> object:
    if value.startswith("in:"):
        return [entry.strip('"') for entry in value.removeprefix("in:").split(",")][:1000]
    return value.removeprefix("eq:")


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise Invalid(f"{name} must be true or false.")
    return value.lower() == "true"


def _number(call: Call, name: str) -> int | None:
    value = call.first(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise Invalid(f"{name} must be a whole number.")
    return int(value)


def _limit(call: Call, most: int) -> int:
    limit = _number(call, "limit")
    return min(DEFAULT_LIMIT if limit is None else limit, most)


def _sort(call: Call) -> list[tuple[str, bool]]:
    """``sort=name:asc,size`` or pairs of ``sort_key`` and ``sort_dir``; newest first if nothing is said."""
    compact = call.first("sort")
    if compact is not None:
        pairs = [entry.partition(":")[::2] for entry in compact.split(",")]
    else:
        keys = call.query.get("sort_key", [])
        directions = call.query.get("sort_dir", [])
        if not keys:
            keys = ["created_at"]
        pairs = [(key, directions[at] if at < len(directions) else "") for at, key in enumerate(keys)]
    if len(pairs) > len(SORT_KEYS):
        raise Invalid("There are more sort keys than attributes.")
    return [(_key(key.strip()), _falls(direction.strip())) for key, direction in pairs]


def _key(key: str) -> str:
    if key not in SORT_KEYS:
        raise Invalid(f"'{key[:64]}' is no sort key; use one of {', '.join(SORT_KEYS)}.")
    return key


def _falls(direction: str) -> bool:
    if direction not in ("", "asc", "desc"):
        raise Invalid("A sort direction is asc or desc.")
    return direction != "asc"


def following(call: Call, marker: str) -> str:
    """The path of the next page: the same question, after ``marker``."""
    pairs = [(name, value) for name, values in call.query.items() if name != "marker" for value in values]
    return "/v2/images?" + urlencode([*pairs, ("marker", marker)])
