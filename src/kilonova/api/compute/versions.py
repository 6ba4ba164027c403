"""Version documents: how a client finds out what this endpoint speaks. They need no token."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.microversion import MAXIMUM, MINIMUM
from kilonova.model.errors import NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.policy import NOBODY_NEEDED
from kilonova.web.routes import Route

_LEGACY = {"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z"}
_CURRENT = {
    "id": "v2.1",
    "status": "CURRENT",
    "version": f"2.{MAXIMUM}",
    "min_version": f"2.{MINIMUM}",
    "updated": "2013-07-23T11:33:21Z",
}


async def index(cloud: Deployment, call: Call) -> Reply:
    """All versions, at the root of the endpoint."""
    entries = [
        {**_LEGACY, "links": [_self_link(call, "v2")]},
        {**_CURRENT, "links": [_self_link(call, "v2.1")]},
    ]
    return Reply(200, {"versions": entries})


async def legacy(cloud: Deployment, call: Call) -> Reply:
    """The document of v2, which answers like 2.1 without microversions."""
    return Reply(200, {"version": _document(call, _LEGACY, "v2", "2")})


async def current(cloud: Deployment, call: Call) -> Reply:
    """The document of v2.1, where clients read the range of microversions."""
    return Reply(200, {"version": _document(call, _CURRENT, "v2.1", "2.1")})


async def show(cloud: Deployment, call: Call) -> Reply:
    """A document by its id."""
    wanted = call.params["id"]
    if wanted == _CURRENT["id"]:
        return await current(cloud, call)
    if wanted == _LEGACY["id"]:
        return await legacy(cloud, call)
    raise NotFound("The resource could not be found.")


def _self_link(call: Call, path: str) -> dict[str, str]:
    return {"rel": "self", "href": f"{call.base_url}/{path}/"}


def _document(call: Call, facts: dict[str, str], path: str, media: str) -> dict[str, Any]:
    kind = f"application/vnd.openstack.compute+json;version={media}"
    return {
        **facts,
        "links": [_self_link(call, path)],
        "media-types": [{"base": "application/json", "type": kind}],
    }


_RULE = "os_compute_api:versions"
ROUTES = [
    Route(method="GET", path="/", handler=index, rule=_RULE, role=NOBODY_NEEDED, summary="List versions"),
    Route(method="GET", path="/v2", handler=legacy, rule=_RULE, role=NOBODY_NEEDED, summary="Show v2"),
    Route(method="GET", path="/v2.1", handler=current, rule=_RULE, role=NOBODY_NEEDED, summary="Show v2.1"),
    Route(
        method="GET",
        path="/v2.1/versions/{id}",
        handler=show,
        rule=_RULE,
        role=NOBODY_NEEDED,
        summary="Show a version",
    ),
]
