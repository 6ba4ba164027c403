"""Images made of servers: ``createImage``, ``createBackup`` and ``shelve``.

The record of the image is made here, when the action has been admitted; if we die in between, the conductor makes it before
the host begins to upload. Whoever ends the action without an image deletes the record, also before we came to make it.
"""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.features import require
from kilonova.api.compute.inputs import PRINTABLE_NAME, document
from kilonova.api.compute.server_schemas import METADATA, word
from kilonova.api.compute.submission import Intent, submit
from kilonova.image.protocol import NewImage
from kilonova.model.action import Kind
from kilonova.model.errors import Conflict, Forbidden
from kilonova.model.kinds.shelve import SHELVE
from kilonova.model.kinds.snapshot import CREATE_BACKUP, CREATE_IMAGE
from kilonova.model.server import Server, TaskState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schema, Schemas, always

_MOST = 1_000_000  # backups that stay; more than anybody has
_UNCHECKED_SINCE = 39  # from here on the image service minds its own quota
_NAMED_SINCE = 45  # from here on the answer's body names the image, and no header
_NOT_INHERITED = frozenset(
    {
        *("cinder_encryption_key_id", "cinder_encryption_key_deletion_policy", "img_signature"),
        *("img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid"),
    }
)


async def create_image(cloud: Deployment, call: Call) -> Reply:
    """Make an image of a server's root disk, as it is now."""
    asked = call.body["createImage"]
    image_id = await _make(cloud, call, CREATE_IMAGE, TaskState.IMAGE_SNAPSHOT_PENDING, asked, "snapshot", {})
    return _named(call, image_id)


async def create_backup(cloud: Deployment, call: Call) -> Reply:
    """The same, and only the newest ``rotation`` backups of the type stay."""
    asked = call.body["createBackup"]
    rotation = min(int(asked["rotation"]), _MOST)
    more = {"backup_type": asked["backup_type"], "rotation": rotation}
    image_id = await _make(cloud, call, CREATE_BACKUP, TaskState.IMAGE_BACKUP, asked, "backup", more)
    return _named(call, image_id) if rotation or call.version >= _NAMED_SINCE else Reply(202)


async def shelve(cloud: Deployment, call: Call) -> Reply:
    """Shut a server down and keep it as an image."""
    await _make(cloud, call, SHELVE, TaskState.SHELVING, {}, "snapshot", {})
    return Reply(202)


def _named(call: Call, image_id: str) -> Reply:
    if call.version >= _NAMED_SINCE:
        return Reply(202, {"image_id": image_id})
    return Reply(202, None, {"location": f"{call.base_url}/images/{image_id}"})


async def _make(
    cloud: Deployment,
    call: Call,
    kind: Kind,
    task: TaskState,
    asked: dict[str, Any],
    image_type: str,
    more: dict[str, Any],
) -> str:
    """Admit the action, make the image's record; the image's id."""
    metadata: dict[str, str] = asked.get("metadata", {})
    limit = cloud.config.quota.metadata_items
    if call.version < _UNCHECKED_SINCE and 0 <= limit < len(metadata):
        raise Forbidden("Maximum number of metadata items exceeds quota limit.")
    image_id = cloud.ids.uuid()
    made: list[NewImage] = []

    def plan(connection: Connection, server: Server) -> Intent:
        require(connection, server, "snapshot", Conflict)
        image = _record(call, server, image_id, asked.get("name"), image_type, {**metadata, **_texts(more)})
        made[:] = [image]
        return Intent(arguments={"image": msgspec.to_builtins(image), **more})

    locked_too = kind is not SHELVE  # a lock keeps servers from being changed, and this changes none
    await submit(cloud, call, call.params["id"], kind, task, plan=plan, locked_too=locked_too)
    await cloud.images.reserve(made[-1])
    return image_id


def _texts(more: dict[str, Any]) -> dict[str, str]:
    return {"backup_type": more["backup_type"]} if "backup_type" in more else {}


def _record(
    call: Call, server: Server, image_id: str, name: str | None, image_type: str, metadata: dict[str, str]
) -> NewImage:
    """What is said of the image: what its server's own image says, whose it is, and what the request adds."""
    base = server.image or {}
    inherited = {
        key: value
        for key, value in base.get("properties", {}).items()
        if key not in _NOT_INHERITED and not key.startswith("os_glance")
    }
    properties = {
        **inherited,
        **({"base_image_ref": server.image_id} if server.image_id else {}),
        "instance_uuid": server.id,
        "user_id": call.caller.user_id,
        "image_type": image_type,
        **metadata,
    }
    own = server.project_id == call.caller.project_id
    if not own:
        properties["instance_owner"] = server.project_id
    return NewImage(
        id=image_id,
        name=(name or f"{server.name}-shelved").strip()[:255],
        owner=call.project_id,
        visibility="private" if own else "shared",
        min_disk_gb=server.flavor["disk_gb"] or base.get("min_disk_gb", 0),
        min_memory_mb=base.get("min_memory_mb", 0),
        properties=properties,
    )


_IMAGE = always(
    document(["createImage"], {"createImage": document(["name"], {"name": PRINTABLE_NAME, "metadata": METADATA})})
)
_TYPE: Schema = {"type": "string", "maxLength": 65_535}
_ROTATION: Schema = {"type": ["integer", "string"], "pattern": "^[0-9]+$", "maxLength": 64, "minimum": 0}
_BACKUP = always(
    document(
        ["createBackup"],
        {
            "createBackup": document(
                ["name", "backup_type", "rotation"],
                {"name": PRINTABLE_NAME, "backup_type": _TYPE, "rotation": _ROTATION, "metadata": METADATA},
            )
        },
    )
)


def _action(name: str, handler: Handler, rule: str, summary: str, body: Schemas) -> Route:
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=name,
        handler=handler,
        rule=f"os_compute_api:{rule}",
        role="member",
        body=body,
        summary=summary,
    )


ROUTES = [
    _action("createImage", create_image, "servers:create_image", "Make an image of a server", _IMAGE),
    _action("createBackup", create_backup, "os-create-backup", "Make a backup, and drop old ones", _BACKUP),
    _action("shelve", shelve, "os-shelve:shelve", "Keep a server as an image only", word("shelve")),
]
