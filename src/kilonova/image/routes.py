"""The image service's route table and its application. Reference: Image service API v2."""

from kilonova.image import handlers as h
from kilonova.image import members, schemas
from kilonova.image.service import EmbeddedImages
from kilonova.web.application import Application, Family, TokenValidator
from kilonova.web.faults import image_fault
from kilonova.web.policy import NOBODY_NEEDED, Policy
from kilonova.web.routes import Handler, Route, RouteTable
from kilonova.web.schema import Schemas

# Asked by handlers, not by rows.
EXTRA_RULES = {"image:publicize_image": "admin", "image:download_image": "reader", "image:upload_image": "member"}


def _row(method: str, path: str, handler: Handler, role: str, body: Schemas = (), streams: bool = False) -> Route:
    name = getattr(handler, "__name__", type(handler).__name__.lower())
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=f"image:{name}",
        role=role,
        body=body,
        streams=streams,
        summary=(handler.__doc__ or "").strip().splitlines()[0],
    )


def routes(tokens: TokenValidator | None = None) -> list[Route]:
    """Every operation. ``tokens`` reads the tokens of downloads and uploads, the routes that a ticket opens as well."""
    one = "/v2/images/{image_id}"
    return [
        _row("GET", "/", h.list_version_choices, NOBODY_NEEDED),
        _row("GET", "/versions", h.list_versions, NOBODY_NEEDED),
        _row("GET", "/v2", h.list_versions, NOBODY_NEEDED),
        _row("GET", "/v2/images", h.list_images, "reader"),
        _row("POST", "/v2/images", h.create_image, "member", schemas.CREATE),
        _row("GET", one, h.show_image, "reader"),
        _row("PATCH", one, h.update_image, "member", schemas.PATCH),
        _row("DELETE", one, h.delete_image, "member"),
        _row("PUT", one + "/file", h.Upload(tokens), NOBODY_NEEDED, streams=True),
        _row("GET", one + "/file", h.Download(tokens), NOBODY_NEEDED),
        _row("POST", one + "/actions/deactivate", h.deactivate, "admin"),
        _row("POST", one + "/actions/reactivate", h.reactivate, "admin"),
        _row("PUT", one + "/tags/{tag}", h.add_tag, "member"),
        _row("DELETE", one + "/tags/{tag}", h.remove_tag, "member"),
        _row("GET", one + "/members", members.list_members, "reader"),
        _row("POST", one + "/members", members.add_member, "member", schemas.MEMBER_CREATE),
        _row("GET", one + "/members/{member_id}", members.show_member, "reader"),
        _row("PUT", one + "/members/{member_id}", members.update_member, "member", schemas.MEMBER_UPDATE),
        _row("DELETE", one + "/members/{member_id}", members.remove_member, "member"),
        _row("GET", one + "/tasks", h.list_tasks, "reader"),
        _row("GET", "/v2/tasks", h.list_all_tasks, "reader"),
        _row("GET", "/v2/schemas/{name}", h.show_schema, "reader"),
        _row("GET", "/v2/info/import", h.show_import_info, "reader"),
        _row("GET", "/v2/info/stores", h.list_stores, "reader"),
    ]


def application(
    images: EmbeddedImages, *, tokens: TokenValidator, overrides: dict[str, str] | None = None
) -> Application:
    """The HTTP API of ``images``; mount it at ``ImageSettings.mount``. ``overrides`` are policy rules."""
    table = RouteTable(routes(tokens))
    rules = {route.rule: route.role for route in table.routes} | EXTRA_RULES
    return Application(
        Family(name="image", fault=image_fault, upload_limit=images.settings.max_image_bytes),
        table,
        images,
        tokens=tokens,
        policy=Policy(rules, overrides),
        clock=images.clock,
        ids=images.ids,
    )
