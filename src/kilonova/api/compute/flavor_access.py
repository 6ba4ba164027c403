"""Which projects see a private flavor."""

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_identity_id, document, queries
from kilonova.database import flavors
from kilonova.model.errors import Conflict, NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schemas, always


async def index(cloud: Deployment, call: Call) -> Reply:
    """The projects of one flavor; a public one has no such list."""
    flavorid = call.params["flavor_id"]
    return _reply(flavorid, await cloud.database.run(_list, flavorid))


async def add(cloud: Deployment, call: Call) -> Reply:
    """Give a project access; from 2.7 a public flavor, which needs none, is a conflict."""
    flavorid, project_id = call.params["id"], as_identity_id(call.body["addTenantAccess"]["tenant"], "Project")
    return _reply(flavorid, await cloud.database.run(_add, flavorid, project_id, call.version >= 7))


async def remove(cloud: Deployment, call: Call) -> Reply:
    """Take a project's access away."""
    flavorid, project_id = call.params["id"], as_identity_id(call.body["removeTenantAccess"]["tenant"], "Project")
    return _reply(flavorid, await cloud.database.run(_remove, flavorid, project_id))


def _list(connection: Connection, flavorid: str) -> list[str]:
    if flavors.get_flavor(connection, flavorid, None, True).is_public:
        raise NotFound("Access list not available for public flavors.")
    return flavors.list_access(connection, flavorid)


def _add(connection: Connection, flavorid: str, project_id: str, private_only: bool) -> list[str]:
    if flavors.hold_flavor(connection, flavorid).is_public and private_only:
        raise Conflict("Can not add access to a public flavor.")
    flavors.add_access(connection, flavorid, project_id)
    return flavors.list_access(connection, flavorid)


def _remove(connection: Connection, flavorid: str, project_id: str) -> list[str]:
    flavors.get_flavor(connection, flavorid, None, True)
    flavors.remove_access(connection, flavorid, project_id)
    return flavors.list_access(connection, flavorid)


def _reply(flavorid: str, projects: list[str]) -> Reply:
    return Reply(200, {"flavor_access": [{"flavor_id": flavorid, "tenant_id": project} for project in projects]})


def _body(action: str) -> Schemas:
    return always(document([action], {action: document(["tenant"], {"tenant": {"type": "string", "minLength": 1}})}))


_RULE = "os_compute_api:os-flavor-access"
ROUTES = [
    Route(
        method="GET",
        path="/flavors/{flavor_id}/os-flavor-access",
        handler=index,
        rule=_RULE,
        role="admin",
        query=queries(102),
        summary="List projects with access to a flavor",
    ),
    Route(
        method="POST",
        path="/flavors/{id}/action",
        action="addTenantAccess",
        handler=add,
        rule=f"{_RULE}:add_tenant_access",
        role="admin",
        body=_body("addTenantAccess"),
        summary="Give a project access to a flavor",
    ),
    Route(
        method="POST",
        path="/flavors/{id}/action",
        action="removeTenantAccess",
        handler=remove,
        rule=f"{_RULE}:remove_tenant_access",
        role="admin",
        body=_body("removeTenantAccess"),
        summary="Take a project's access to a flavor away",
    ),
]
