"""What may be in the body of a request that moves a server, at each microversion."""

from typing import Any

from kilonova.api.compute.inputs import BOOLEAN, PRINTABLE_NAME, document
from kilonova.api.compute.server_schemas import word
from kilonova.web.schema import TEXT, Schema, Versioned, always

_HOST: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"}
_HOST_OR_NULL: Schema = {**_HOST, "type": ["string", "null"]}
_FLAVOR_REF: Schema = {"type": ["string", "integer"], "minLength": 1}


def _body(action: str, properties: dict[str, Schema], required: list[str], **more: Any) -> Schema:
    return document([action], {action: {**document(required, properties), **more}})


RESIZE = always(
    _body("resize", {"flavorRef": _FLAVOR_REF, "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]}}, ["flavorRef"])
)
CONFIRM = word("confirmResize")
REVERT = word("revertResize")
MIGRATE = (
    *(Versioned(each.schema, 0, 55) for each in word("migrate")),
    Versioned(_body("migrate", {"host": _HOST_OR_NULL}, [], type=["object", "null"]), 56),
)
_LIVE: dict[str, Schema] = {"block_migration": BOOLEAN, "disk_over_commit": BOOLEAN, "host": _HOST_OR_NULL}
_LIVE_AUTO: dict[str, Schema] = {
    "block_migration": {"enum": [*BOOLEAN["enum"], "auto"]},
    "host": _HOST_OR_NULL,
}
MIGRATE_LIVE = (
    Versioned(_body("os-migrateLive", _LIVE, ["block_migration", "disk_over_commit", "host"]), 0, 24),
    Versioned(_body("os-migrateLive", _LIVE_AUTO, ["block_migration", "host"]), 25, 29),
    Versioned(_body("os-migrateLive", _LIVE_AUTO | {"force": BOOLEAN}, ["block_migration", "host"]), 30, 67),
    Versioned(_body("os-migrateLive", _LIVE_AUTO, ["block_migration", "host"]), 68),
)
_EVACUATE: dict[str, Schema] = {"host": _HOST, "adminPass": TEXT}
EVACUATE = (
    Versioned(_body("evacuate", _EVACUATE | {"onSharedStorage": BOOLEAN}, ["onSharedStorage"]), 0, 13),
    Versioned(_body("evacuate", _EVACUATE, []), 14, 28),
    Versioned(_body("evacuate", _EVACUATE | {"force": BOOLEAN}, []), 29, 67),
    Versioned(_body("evacuate", _EVACUATE, []), 68),
)
SHELVE_OFFLOAD = word("shelveOffload")
# Zone and host are looked up among the known ones, so their length needs no bound of its own.
_UNSHELVE: dict[str, Schema] = {"availability_zone": {"type": ["string", "null"]}, "host": TEXT}
UNSHELVE = (
    *(Versioned(each.schema, 0, 76) for each in word("unshelve")),
    Versioned(
        _body("unshelve", {"availability_zone": PRINTABLE_NAME}, ["availability_zone"], type=["object", "null"]),
        77,
        90,
    ),
    Versioned(_body("unshelve", _UNSHELVE, [], type=["object", "null"]), 91),
)
