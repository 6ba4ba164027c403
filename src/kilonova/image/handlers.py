"""Image v2's operations. Reference: Image service API v2."""

from typing import Any

import msgspec

from kilonova.database import images as queries
from kilonova.image import schemas
from kilonova.image.listing import following, listing
from kilonova.image.service import MICROS, EmbeddedImages
from kilonova.image.tickets import upload_of
from kilonova.image.views import image_view, patched, rebuilt, split
from kilonova.model.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.model.image import StoredImage
from kilonova.web.application import UnsupportedMedia
from kilonova.web.call import Call, Reply
from kilonova.web.schema import validate

_VERSIONS = ("v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0")


def _versions(call: Call) -> dict[str, Any]:
    return {
        "versions": [
            {
                "id": version,
                "status": "CURRENT" if at == 0 else "SUPPORTED",
                "links": [{"rel": "self", "href": f"{call.base_url}/v2/"}],
            }
            for at, version in enumerate(_VERSIONS)
        ]
    }


async def list_version_choices(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /``"""
    return Reply(300, _versions(call))


async def list_versions(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /versions``"""
    return Reply(200, _versions(call))


async def list_images(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/images``"""
    wanted = listing(call, images.settings.max_limit)
    more = msgspec.structs.replace(wanted, limit=wanted.limit + 1)
    found = await images.database.run(queries.find, more)
    if found is None:
        raise Invalid("The marker is not an image.")
    page = found[: wanted.limit]
    body: dict[str, Any] = {
        "images": [image_view(image) for image in page],
        "first": "/v2/images",
        "schema": "/v2/schemas/images",
    }
    if len(found) > wanted.limit and page:
        body["next"] = following(call, page[-1].id)
    return Reply(200, body)


async def show_image(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/images/{id}``"""
    return Reply(200, image_view(await images.visible(call.caller, call.params["image_id"])))


async def create_image(images: EmbeddedImages, call: Call) -> Reply:
    """``POST /v2/images``"""
    body = call.body or {}
    columns, properties = split(body)
    owner = columns.get("owner") or call.project_id
    _may_own(call, owner)
    if columns.get("visibility") == "public":
        call.require("image:publicize_image")
    now = images.clock.now()
    image = StoredImage(
        **{
            **columns,
            "id": body.get("id") or images.ids.uuid(),
            "name": columns.get("name"),
            "owner": owner,
            "tags": sorted(set(columns.get("tags", []))),
            "properties": properties,
            "created_at": now,
            "updated_at": now,
        }
    )
    await images.database.run(queries.insert, image)
    return Reply(201, image_view(image), {"location": f"{call.base_url}/v2/images/{image.id}"})


def _may_own(call: Call, owner: str) -> None:
    if owner != call.caller.project_id and not call.caller.is_admin:
        raise Forbidden("You are not permitted to create images owned by another project.")


async def update_image(images: EmbeddedImages, call: Call) -> Reply:
    """``PATCH /v2/images/{id}``: a JSON patch, applied as a whole or not at all."""
    if "json-patch" not in call.headers.get("content-type", ""):
        raise Invalid("Updates are application/openstack-images-v2.1-json-patch documents.")
    image_id = call.params["image_id"]
    await images.own(call.caller, image_id)
    operations = [_operation(entry) for entry in call.body]

    def edit(image: StoredImage) -> StoredImage:
        state = patched(image, operations)
        validate(schemas.CREATE, state, 0, "the image after the update")
        _may_change(call, image, state)
        return rebuilt(image, {**state, "tags": sorted(set(state["tags"]))})

    changed = await images.database.run(queries.change, image_id, edit, images.clock.now())
    if changed is None:
        raise NotFound(f"No image found with ID {image_id}")
    return Reply(200, image_view(changed))


def _operation(entry: dict[str, Any]) -> dict[str, Any]:
    """One change, as v2.1 writes it; v2.0 has the operation as a key of its own."""
    if "op" in entry and "path" in entry:
        return entry
    old = next(op for op in schemas.OPERATIONS if op in entry)
    return {**{key: value for key, value in entry.items() if key != old}, "op": old, "path": entry[old]}


def _may_change(call: Call, image: StoredImage, state: dict[str, Any]) -> None:
    if state["owner"] is None:
        raise Invalid("An image always has an owner.")
    if state["owner"] != image.owner and not call.caller.is_admin:
        raise Forbidden("Only administrators may give images away.")
    if state["visibility"] == "public" and image.visibility != "public":
        call.require("image:publicize_image")
    formats = (state["disk_format"], state["container_format"])
    if formats != (image.disk_format, image.container_format) and image.status != "queued":
        raise Forbidden("The formats of an image that has data cannot be changed.")


async def delete_image(images: EmbeddedImages, call: Call) -> Reply:
    """``DELETE /v2/images/{id}``"""
    await images.delete(call.caller, call.params["image_id"])
    return Reply(204)


# --- data --------------------------------------------------------------------------------------------------


class Upload:
    """``PUT /v2/images/{id}/file``: by token, or by a ticket. Needs who can read tokens beside the images."""

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    async def __call__(self, images: EmbeddedImages, call: Call) -> Reply:
        assert call.upload is not None
        image_id, ticket = call.params["image_id"], call.first("ticket")
        now = images.clock.now() // MICROS
        if ticket is not None and images.tickets.admits(ticket, upload_of(image_id), now):
            await images.upload_by_ticket(image_id, call.upload.chunks(), _declared(call))
            return Reply(204)
        caller = await self._tokens.validate(call.headers.get("x-auth-token", ""))
        call.context = msgspec.structs.replace(call.context, caller=caller)
        call.require("image:upload_image")
        return await upload_file(images, call)


async def upload_file(images: EmbeddedImages, call: Call) -> Reply:
    """The bytes of an image of the caller."""
    assert call.upload is not None
    media = call.headers.get("content-type", "").split(";")[0].strip().lower()
    if media != "application/octet-stream":
        raise UnsupportedMedia("Image data is sent as application/octet-stream.")
    await images.upload(call.caller, call.params["image_id"], call.upload.chunks(), _declared(call))
    return Reply(204)


def _declared(call: Call) -> int | None:
    length = call.headers.get("content-length", "")
    return int(length) if length.isdigit() and len(length) < 19 else None


class Download:
    """``GET /v2/images/{id}/file``: by token, or by a ticket. Needs who can read tokens beside the images."""

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    async def __call__(self, images: EmbeddedImages, call: Call) -> Reply:
        image = await self._image(images, call)
        if image.status in ("queued", "saving"):
            return Reply(204)
        if image.status == "deactivated" and not (call.context.caller and call.caller.is_admin):
            raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
        if image.upload_id is None or image.size is None:
            raise NotFound("The image has no data.")
        headers = {"content-length": str(image.size), "content-md5": image.checksum or ""}
        body = await images.store.read(image.id, image.upload_id)
        return Reply(200, body, headers, "application/octet-stream")

    async def _image(self, images: EmbeddedImages, call: Call) -> StoredImage:
        image_id = call.params["image_id"]
        ticket = call.first("ticket")
        if ticket is not None and images.tickets.admits(ticket, image_id, images.clock.now() // MICROS):
            return await images.require(image_id)
        caller = await self._tokens.validate(call.headers.get("x-auth-token", ""))
        call.context = msgspec.structs.replace(call.context, caller=caller)
        call.require("image:download_image")
        return await images.visible(caller, image_id)


async def deactivate(images: EmbeddedImages, call: Call) -> Reply:
    """``POST /v2/images/{id}/actions/deactivate``"""
    return await _set_status(images, call, "active", "deactivated")


async def reactivate(images: EmbeddedImages, call: Call) -> Reply:
    """``POST /v2/images/{id}/actions/reactivate``"""
    return await _set_status(images, call, "deactivated", "active")


async def _set_status(images: EmbeddedImages, call: Call, before: str, after: str) -> Reply:
    def edit(image: StoredImage) -> StoredImage:
        if image.status not in (before, after):
            raise Forbidden(f"Not allowed for an image in status '{image.status}'.")
        return msgspec.structs.replace(image, status=after)

    image_id = call.params["image_id"]
    if await images.database.run(queries.change, image_id, edit, images.clock.now()) is None:
        raise NotFound(f"No image found with ID {image_id}")
    return Reply(204)


# --- tags, the rest -------------------------------------------------------------------------------


async def add_tag(images: EmbeddedImages, call: Call) -> Reply:
    """``PUT /v2/images/{id}/tags/{tag}``"""
    tag = call.params["tag"]
    if len(tag) > 255:
        raise Invalid("A tag has at most 255 characters.")
    await _set_tags(images, call, {tag}, set())
    return Reply(204)


async def remove_tag(images: EmbeddedImages, call: Call) -> Reply:
    """``DELETE /v2/images/{id}/tags/{tag}``"""
    await _set_tags(images, call, set(), {call.params["tag"]})
    return Reply(204)


async def _set_tags(images: EmbeddedImages, call: Call, more: set[str], less: set[str]) -> None:
    image_id = call.params["image_id"]
    await images.own(call.caller, image_id)

    def edit(image: StoredImage) -> StoredImage:
        if not less <= set(image.tags):
            raise NotFound("Could not find the tag.")
        tags = sorted((set(image.tags) | more) - less)
        if len(tags) > 128:
            raise Conflict("An image has at most 128 tags.")
        return msgspec.structs.replace(image, tags=tags)

    if await images.database.run(queries.change, image_id, edit, images.clock.now()) is None:
        raise NotFound(f"No image found with ID {image_id}")


async def list_all_tasks(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/tasks``: there are none either"""
    return Reply(200, {"tasks": [], "first": "/v2/tasks", "schema": "/v2/schemas/tasks"})


async def list_tasks(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/images/{id}/tasks``: there are none, as uploads are done when they are answered."""
    await images.visible(call.caller, call.params["image_id"])
    return Reply(200, {"tasks": []})


async def show_schema(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/schemas/{name}``"""
    found = schemas.SHOWN.get(call.params["name"])
    if found is None:
        raise NotFound("There is no such schema.")
    return Reply(200, found)


async def show_import_info(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/info/import``: data comes by upload only."""
    methods = {"description": "Import methods available.", "type": "array", "value": []}
    return Reply(200, {"import-methods": methods})


async def list_stores(images: EmbeddedImages, call: Call) -> Reply:
    """``GET /v2/info/stores``"""
    return Reply(200, {"stores": [{"id": "local", "description": "This machine's disk.", "default": "true"}]})
