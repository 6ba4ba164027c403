"""Links of a resource: where to find it with (``self``) and without (``bookmark``) the API's version."""

from kilonova.web.call import Call


def resource_links(call: Call, collection: str, resource_id: str) -> list[dict[str, str]]:
    """Both links of one member of ``collection``."""
    return [
        {"rel": "self", "href": f"{call.base_url}/v2.1/{collection}/{resource_id}"},
        {"rel": "bookmark", "href": f"{call.base_url}/{collection}/{resource_id}"},
    ]
