"""Personality: files that a create or rebuild puts into the guest (up to 2.56; later ones use ``user_data``).

They reach the guest on its config drive, as everything does that it learns about itself. How many and how large they
may be are limits of the project, counted nowhere: each request is held against them by itself.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import is_base64
from kilonova.api.compute.quota_names import defaults
from kilonova.database import ledger
from kilonova.model.errors import Forbidden, Invalid
from kilonova.web.schema import TEXT, Schema

PERSONALITY: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"path": TEXT, "contents": TEXT},
        "additionalProperties": False,
    },
}
"""Of the request's body; that the contents are base64 is looked at by :func:`files`."""


def files(body: dict[str, Any]) -> list[dict[str, str]]:
    """The files asked for. Raises ``Invalid`` for one without path, or whose contents are no base64."""
    asked: list[dict[str, str]] = body.get("personality") or []
    for file in asked:
        if not file.get("path") or "contents" not in file:
            raise Invalid("Bad personality format: a path and contents are needed.")
        if "\0" in file["path"]:
            raise Invalid("Bad personality format: a path holds a NUL character.")
        if not is_base64(file["contents"]):
            raise Invalid("Invalid input for field/attribute contents. It must be base64 encoded.")
    return asked


def check_quota(connection: Connection, cloud: Deployment, project_id: str, asked: list[dict[str, str]]) -> None:
    """Raise ``Forbidden`` if they are too many or one is too large for the project's limits; sizes as they are sent."""
    if not asked:
        return
    limits = ledger.limits(connection, project_id, defaults(cloud.config.quota))
    if 0 <= limits["injected_files"] < len(asked):
        raise Forbidden("Personality file limit exceeded")
    for resource, field in (("injected_file_path_bytes", "path"), ("injected_file_content_bytes", "contents")):
        allowed = limits[resource]
        if 0 <= allowed < max(len(file[field].encode()) for file in asked):
            raise Forbidden(f"Personality file {_WORDS[field]} exceeds maximum {allowed}")


_WORDS = {"path": "path", "contents": "content"}
