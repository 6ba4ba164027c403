"""Images and their metadata through Compute, as it was up to 2.35 and 2.38: passed on to the image service."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import LARGEST, as_bool, document, query_object
from kilonova.api.compute.links import resource_links
from kilonova.api.compute.server_metadata import check_quota
from kilonova.api.compute.server_schemas import METADATA
from kilonova.api.paging import links, page
from kilonova.database.images import Listing
from kilonova.image.protocol import ImageCatalog
from kilonova.model.errors import Invalid, NotFound, Unsupported
from kilonova.model.image import StoredImage
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_z, parse_moment
from kilonova.web.policy import ANY
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import NON_NEGATIVE, Schema, Schemas, always

_IMAGES_UNTIL = 35
_METADATA_UNTIL = 38
_STATUSES = {"active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "killed": "ERROR"}
_PROGRESS = {"queued": 25, "saving": 50, "active": 100}
_DIGITS = 18  # of a number that a database compares at all
_COLUMNS = {"name": "name", "minRam": "min_memory_mb", "minDisk": "min_disk_gb"}
_PROPERTIES = {"server": "instance_uuid", "type": "image_type"}

Items = dict[str, str]


def _catalog(cloud: Deployment) -> ImageCatalog:
    if not isinstance(cloud.images, ImageCatalog):
        raise Unsupported("The image service of this cloud is not reached through Compute; use its own API.")
    return cloud.images


# --- images ------------------------------------------------------------------------------------------------


async def index(cloud: Deployment, call: Call) -> Reply:
    """Names."""
    found, more = await _page(cloud, call)
    return Reply(200, {"images": [_brief(call, image) for image in found], **more})


async def detail(cloud: Deployment, call: Call) -> Reply:
    """In full."""
    found, more = await _page(cloud, call)
    return Reply(200, {"images": [_view(call, image) for image in found], **more})


async def _page(cloud: Deployment, call: Call) -> tuple[list[StoredImage], dict[str, Any]]:
    limit, marker = page(call, cloud.config.api.max_limit)
    equal: dict[str, object] = {"hidden": False}
    properties: Items = {}
    for key, values in call.query.items():
        if key in ("minRam", "minDisk"):
            number = _number(values[-1], key)
            if number > LARGEST:
                return [], {}  # no image has that much
            equal[_COLUMNS[key]] = number
        elif key in _COLUMNS:
            equal[_COLUMNS[key]] = values[-1]
        elif key == "status":
            equal["status"] = values[-1].lower()
        elif key in _PROPERTIES or key.startswith("property-"):
            properties[_PROPERTIES.get(key, key.removeprefix("property-"))] = values[-1].rpartition("/")[2]
    since = call.first("changes-since")
    found = await _catalog(cloud).page(
        Listing(
            project_id=call.caller.project_id,
            everything=call.caller.is_admin,
            equal=equal,
            properties=properties,
            changed_since=None if since is None else parse_moment(since, "changes-since"),
            marker=marker,
            limit=limit,
        )
    )
    return found, links(call, "images", found, limit, found[-1].id if found else None)


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{field} filters by a number, and '{text[:64]}' is none.")
    return int(text[:_DIGITS])


async def show(cloud: Deployment, call: Call) -> Reply:
    """One in full."""
    return Reply(200, {"image": _view(call, await _image(cloud, call, call.params["id"]))})


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Delete one."""
    await _image(cloud, call, call.params["id"])
    await _catalog(cloud).delete(call.caller, call.params["id"])
    return Reply(204)


async def _image(cloud: Deployment, call: Call, image_id: str) -> StoredImage:
    try:
        return await _catalog(cloud).visible(call.caller, image_id)
    except NotFound:
        raise NotFound("Image not found.") from None


def _brief(call: Call, image: StoredImage) -> dict[str, Any]:
    endpoint = f"{call.base_url.rpartition('/')[0]}/image"
    alternate = f"{endpoint}/images/{image.id}"
    more = {"rel": "alternate", "type": "application/vnd.openstack.image", "href": alternate}
    return {"id": image.id, "name": image.name, "links": [*resource_links(call, "images", image.id), more]}


def _view(call: Call, image: StoredImage) -> dict[str, Any]:
    view = _brief(call, image) | {
        "minRam": image.min_memory_mb,
        "minDisk": image.min_disk_gb,
        "metadata": image.properties,
        "created": iso_z(image.created_at),
        "updated": iso_z(image.updated_at),
        "status": _STATUSES.get(image.status, "UNKNOWN"),
        "progress": _PROGRESS.get(image.status, 0),
        "OS-EXT-IMG-SIZE:size": image.size or 0,
    }
    server_id = image.properties.get("instance_uuid")
    if server_id is not None:
        view["server"] = {"id": server_id, "links": resource_links(call, "servers", server_id)}
    if "auto_disk_config" in image.properties:
        view["OS-DCF:diskConfig"] = "AUTO" if as_bool(image.properties["auto_disk_config"]) else "MANUAL"
    return view


# --- their metadata ----------------------------------------------------------------------------------------


async def list_metadata(cloud: Deployment, call: Call) -> Reply:
    """The properties of an image."""
    return Reply(200, {"metadata": (await _image(cloud, call, call.params["image_id"])).properties})


async def show_item(cloud: Deployment, call: Call) -> Reply:
    """One property."""
    found, key = (await _image(cloud, call, call.params["image_id"])).properties, call.params["id"]
    if key not in found:
        raise NotFound("Metadata item was not found")
    return Reply(200, {"meta": {key: found[key]}})


async def merge(cloud: Deployment, call: Call) -> Reply:
    """Add and overwrite properties; the others stay."""
    return Reply(200, {"metadata": await _change(cloud, call, call.body["metadata"], keep=True)})


async def replace(cloud: Deployment, call: Call) -> Reply:
    """These properties and no others."""
    return Reply(200, {"metadata": await _change(cloud, call, call.body["metadata"], keep=False)})


async def put_item(cloud: Deployment, call: Call) -> Reply:
    """Set one property, which body and path must name alike."""
    item: Items = call.body["meta"]
    await _image(cloud, call, call.params["image_id"])
    if call.params["id"] not in item:
        raise Invalid("Request body and URI mismatch")
    await _change(cloud, call, item, keep=True)
    return Reply(200, {"meta": item})


async def delete_item(cloud: Deployment, call: Call) -> Reply:
    """Take one property away."""
    key = call.params["id"]

    def change(old: Items) -> Items:
        if key not in old:
            raise NotFound("Invalid metadata key")
        return {name: value for name, value in old.items() if name != key}

    await _image(cloud, call, call.params["image_id"])
    await _catalog(cloud).change_properties(call.caller, call.params["image_id"], change)
    return Reply(204)


async def _change(cloud: Deployment, call: Call, items: Items, *, keep: bool) -> Items:
    image = await _image(cloud, call, call.params["image_id"])
    merged = image.properties | items if keep else items
    await cloud.database.run(check_quota, cloud, call.project_id, merged)
    changed = await _catalog(cloud).change_properties(
        call.caller, image.id, lambda old: old | items if keep else dict(items)
    )
    return changed.properties


_POSITIVE: Schema = {"type": "string", "pattern": "^[0-9]+$"}
_LIST: Schemas = always(query_object({"limit": NON_NEGATIVE, "page_size": _POSITIVE, "offset": _POSITIVE}))
_ALL = always(document(["metadata"], {"metadata": METADATA}))
_ONE = always(document(["meta"], {"meta": METADATA | {"minProperties": 1, "maxProperties": 1}}))


def _route(method: str, path: str, handler: Handler, until: int, summary: str, **rest: Any) -> Route:
    rule = "os_compute_api:images" if until == _IMAGES_UNTIL else "os_compute_api:image-metadata"
    return Route(
        method=method,
        path=f"/images{path}",
        handler=handler,
        rule=rule,
        role=ANY,  # the image service decides
        until=until,
        summary=summary,
        **rest,
    )


_METADATA = "/{image_id}/metadata"
_ITEM = f"{_METADATA}/{{id}}"
ROUTES = [
    _route("GET", "", index, _IMAGES_UNTIL, "List images", query=_LIST),
    _route("GET", "/detail", detail, _IMAGES_UNTIL, "List images in full", query=_LIST),
    _route("GET", "/{id}", show, _IMAGES_UNTIL, "Show an image"),
    _route("DELETE", "/{id}", delete, _IMAGES_UNTIL, "Delete an image"),
    _route("GET", _METADATA, list_metadata, _METADATA_UNTIL, "List an image's metadata"),
    _route("POST", _METADATA, merge, _METADATA_UNTIL, "Merge items into an image's metadata", body=_ALL),
    _route("PUT", _METADATA, replace, _METADATA_UNTIL, "Replace an image's metadata", body=_ALL),
    _route("GET", _ITEM, show_item, _METADATA_UNTIL, "Show an item of an image's metadata"),
    _route("PUT", _ITEM, put_item, _METADATA_UNTIL, "Set an item of an image's metadata", body=_ONE),
    _route("DELETE", _ITEM, delete_item, _METADATA_UNTIL, "Delete an item of an image's metadata"),
]
