"""Images shared with single projects. Reference: Image service API v2, "Sharing".

The owner adds members; each member says whether the image is to be in its lists. Whether or not, it may use it.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import image_members as queries
from kilonova.image.service import EmbeddedImages
from kilonova.model.context import Caller
from kilonova.model.errors import Forbidden, NotFound
from kilonova.model.image import ImageMember, StoredImage
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z

MOST = 128
"""Members of one image; Glance's default."""


def _view(member: ImageMember) -> dict[str, Any]:
    return {
        "image_id": member.image_id,
        "member_id": member.member_id,
        "status": member.status,
        "created_at": iso_z(member.created_at),
        "updated_at": iso_z(member.updated_at),
        "schema": "/v2/schemas/member",
    }


def _owns(caller: Caller, image: StoredImage) -> bool:
    return caller.is_admin or image.owner == caller.project_id


async def _shared(images: EmbeddedImages, call: Call) -> StoredImage:
    image = await images.visible(call.caller, call.params["image_id"])
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return image


async def list_members(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/images/{id}/members``: all for the owner, itself for a member."""
    image = await _shared(images, call)
    found = await images.database.run(queries.members_of, image.id)
    own = [m for m in found if _owns(call.caller, image) or m.member_id == call.caller.project_id]
    return Reply(200, {"members": [_view(member) for member in own], "schema": "/v2/schemas/members"})


async def show_member(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/images/{id}/members/{member}``"""
    image, member_id = await _shared(images, call), call.params["member_id"]
    found = await images.database.run(queries.get, image.id, member_id)
    if found is None or not (_owns(call.caller, image) or member_id == call.caller.project_id):
        raise _absent(member_id)
    return Reply(200, _view(found))


def _absent(member_id: str) -> NotFound:
    return NotFound(f"{member_id[:64]} is not a member of the image.")


async def add_member(images: EmbeddedImages, call: Call) -> Reply:
    """``POST /v2/images/{id}/members``: by the owner; it waits for the member's word."""
    image = await images.own(call.caller, (await _shared(images, call)).id)
    now = images.clock.now()
    member = ImageMember(image_id=image.id, member_id=call.body["member"], created_at=now, updated_at=now)
    await images.database.run(_add, member)
    return Reply(200, _view(member))


def _add(connection: Connection, member: ImageMember) -> None:
    if len(queries.members_of(connection, member.image_id)) >= MOST:
        raise Forbidden(f"The limit of {MOST} members of an image has been reached.")
    queries.add(connection, member)


async def update_member(images: EmbeddedImages, call: Call) -> Reply:
    """``PUT /v2/images/{id}/members/{member}``: the member's own answer."""
    image, member_id = await _shared(images, call), call.params["member_id"]
    if not call.caller.is_admin and member_id != call.caller.project_id:
        raise Forbidden("Only the member itself says whether it accepts the image.")
    status = call.body["status"]
    found = await images.database.run(queries.answer, image.id, member_id, status, images.clock.now())
    if found is None:
        raise _absent(member_id)
    return Reply(200, _view(found))


async def remove_member(images: EmbeddedImages, call: Call) -> Reply:
    """``DELETE /v2/images/{id}/members/{member}``: by the owner."""
    image = await images.own(call.caller, (await _shared(images, call)).id)
    if not await images.database.run(queries.remove, image.id, call.params["member_id"]):
        raise _absent(call.params["member_id"])
    return Reply(204)
