"""What Identity says without a token, and the read-only catalog resources.

Reference: Identity API v3, "API versions", "Service catalog and endpoints", "Regions".
"""

from typing import Any

from kilonova.identity.catalog import endpoints, services
from kilonova.identity.service import Identity
from kilonova.model.errors import NotFound
from kilonova.web.call import Call, Reply


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/v3/"}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"},
        ],
    }


async def list_versions(identity: Identity, call: Call) -> Reply:
    """``GET /``"""
    return Reply(300, {"versions": {"values": [_version(call)]}}, {"location": f"{call.base_url}/v3/"})


async def show_version(identity: Identity, call: Call) -> Reply:
    """``GET /v3``"""
    return Reply(200, {"version": _version(call)})


def _page(call: Call, plural: str, records: list[dict[str, Any]], filters: tuple[str, ...]) -> Reply:
    for name in filters:
        wanted = call.first(name)
        if wanted is not None:
            records = [record for record in records if record.get(name) == wanted]
    for record in records:
        record["links"] = {"self": f"{call.base_url}/v3/{plural}/{record['id']}"}
    links = {"self": f"{call.base_url}/v3/{plural}", "next": None, "previous": None}
    return Reply(200, {plural: records, "links": links})


def _one(call: Call, noun: str, records: list[dict[str, Any]]) -> Reply:
    for record in records:
        if record["id"] == call.params["id"]:
            record["links"] = {"self": f"{call.base_url}/v3/{noun}s/{record['id']}"}
            return Reply(200, {noun: record})
    raise NotFound(f"Could not find {noun}: {call.params['id'][:64]}.")


async def list_services(identity: Identity, call: Call) -> Reply:
    """``GET /v3/services``"""
    return _page(call, "services", services(identity.entries), ("name", "type"))


async def show_service(identity: Identity, call: Call) -> Reply:
    """``GET /v3/services/{id}``"""
    return _one(call, "service", services(identity.entries))


def _endpoints(identity: Identity, call: Call) -> list[dict[str, Any]]:
    return endpoints(identity.entries, identity.base(call.base_url), identity.settings.region)


async def list_endpoints(identity: Identity, call: Call) -> Reply:
    """``GET /v3/endpoints``"""
    return _page(call, "endpoints", _endpoints(identity, call), ("interface", "service_id", "region_id"))


async def show_endpoint(identity: Identity, call: Call) -> Reply:
    """``GET /v3/endpoints/{id}``"""
    return _one(call, "endpoint", _endpoints(identity, call))


def _regions(identity: Identity) -> list[dict[str, Any]]:
    return [{"id": identity.settings.region, "description": "", "parent_region_id": None}]


async def list_regions(identity: Identity, call: Call) -> Reply:
    """``GET /v3/regions``"""
    return _page(call, "regions", _regions(identity), ())


async def show_region(identity: Identity, call: Call) -> Reply:
    """``GET /v3/regions/{id}``"""
    return _one(call, "region", _regions(identity))
