"""Pages of a list: ``limit`` and ``marker`` in, ``<collection>_links`` out."""

from typing import Any
from urllib.parse import urlencode

from kilonova.model.errors import Invalid
from kilonova.web.call import Call

_DIGITS = 18
_FURTHEST = 2**31 - 1  # no list is that long, and no database is asked for more


def page(call: Call, most: int) -> tuple[int, str | None]:
    """The page's size, at most ``most``, and the marker behind which it begins."""
    text = call.first("limit")
    marker = call.first("marker")
    if text is None:
        return most, marker
    if not (text.isascii() and text.isdigit()):
        raise Invalid("limit must be a non-negative integer")
    if len(text) > _DIGITS:  # no list is that long, and int() refuses what is longer still
        return most, marker
    return min(int(text), most), marker


def offset(call: Call) -> int:
    """How many entries come before the page, for the lists that have no marker. The schema has seen to it that it is digits."""
    return min(int((call.first("offset") or "0")[:_DIGITS]), _FURTHEST)


def links(call: Call, collection: str, entries: list[Any], limit: int, marker: str | None) -> dict[str, Any]:
    """A ``next`` link, as soon as the page is as full as it could be."""
    if not entries or limit == 0 or len(entries) < limit or marker is None:
        return {}
    query = {key: values for key, values in call.query.items() if key != "marker"}
    query["marker"] = [marker]
    url = f"{call.base_url}/v2.1{call.path}?{urlencode(query, doseq=True)}"
    return {f"{collection}_links": [{"rel": "next", "href": url}]}
