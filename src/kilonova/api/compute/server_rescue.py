"""``rescue`` and ``unrescue``: a server that does not come up boots another disk, with its own one beside it."""

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.features import look, needs, require
from kilonova.api.compute.inputs import document
from kilonova.api.compute.server_schemas import word
from kilonova.api.compute.submission import Intent, submit
from kilonova.image.protocol import Image
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.kinds.rescue import RESCUE, UNRESCUE
from kilonova.model.server import Server, TaskState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, always


async def rescue(cloud: Deployment, call: Call) -> Reply:
    """Boot the rescue image, or the server's own; the answer is the password that its config drive tells."""
    asked = call.body["rescue"] or {}
    password = asked.get("adminPass", None)
    password = cloud.ids.short(12) if password is None else password
    server = await look(cloud, call, RESCUE)
    image = await _image(cloud, call, asked.get("rescue_image_ref") or server.image_id)

    def plan(connection: Connection, found: Server) -> Intent:
        require(connection, found, "rescue")
        return Intent(arguments={"image_id": image.id}, password=password)

    await submit(cloud, call, server.id, RESCUE, TaskState.RESCUING, plan=plan)
    return Reply(200, {"adminPass": password})


async def _image(cloud: Deployment, call: Call, image_id: str | None) -> Image:
    if image_id is None:
        raise Invalid(f"Instance {call.params['id']} has no image; name one to rescue it with.")
    try:
        image = await cloud.images.show(call.caller, image_id)
    except NotFound:
        raise Invalid(f"Requested rescue image '{image_id}' is not supported") from None
    if image.status != "active":
        raise Invalid(f"Image {image.id} is not active.")
    return image


async def unrescue(cloud: Deployment, call: Call) -> Reply:
    """Boot the server's own disk again."""
    await submit(cloud, call, call.params["id"], UNRESCUE, TaskState.UNRESCUING, plan=needs("rescue"))
    return Reply(202)


_OPTIONS: Schema = document(
    [],
    {
        "adminPass": {"type": "string", "maxLength": 4096},
        "rescue_image_ref": {"type": "string", "format": "uuid"},
    },
)
_RESCUE = always(document(["rescue"], {"rescue": {"anyOf": [{"type": "null"}, _OPTIONS]}}))

ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="rescue",
        handler=rescue,
        rule="os_compute_api:os-rescue",
        role="member",
        body=_RESCUE,
        summary="Boot a rescue system beside the server's own disk",
    ),
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="unrescue",
        handler=unrescue,
        rule="os_compute_api:os-unrescue",
        role="member",
        body=word("unrescue"),
        summary="Boot the server's own disk again",
    ),
]
