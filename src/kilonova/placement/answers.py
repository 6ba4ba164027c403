"""What the answers of Placement have in common: links, ``Last-Modified``, and how versions change them."""

from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from kilonova.placement.microversion import V
from kilonova.web.call import Call, Reply
from kilonova.web.moments import as_datetime

MODIFIED_SINCE = V(15)


def link(call: Call, path: str) -> str:
    """A path below where this API is mounted, without scheme and host, as Placement writes it."""
    return f"{urlsplit(call.base_url).path}{path}"


def answered(
    call: Call, body: Any = None, *, status: int = 200, modified_at: int | None = None, location: str | None = None
) -> Reply:
    """An answer; ``modified_at`` (microseconds) is when what it shows was last changed: now, if nobody wrote that down."""
    headers: dict[str, str] = {}
    if location is not None:
        headers["location"] = link(call, location)
    if call.version >= MODIFIED_SINCE:
        moment = as_datetime(call.started_at if modified_at is None else modified_at)
        headers |= {"last-modified": format_datetime(moment, usegmt=True), "cache-control": "no-cache"}
    return Reply(status, body, headers)
