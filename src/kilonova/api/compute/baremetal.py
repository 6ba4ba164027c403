"""Bare metal through Compute, up to 2.35: this cloud has no bare metal service, and says so as Nova without one does."""

from kilonova.api.compute.deployment import Deployment
from kilonova.model.errors import Invalid, Unsupported
from kilonova.web.call import Call, Reply
from kilonova.web.policy import ANY
from kilonova.web.routes import Route

_UNTIL = 35
_PATH = "/os-baremetal-nodes"
_RULE = "os_compute_api:os-baremetal-nodes"


async def unsupported(cloud: Deployment, call: Call) -> Reply:
    """501."""
    raise Unsupported("Ironic client unavailable, cannot access Ironic.")


async def refuse(cloud: Deployment, call: Call) -> Reply:
    """400: nodes were never changed through Compute."""
    raise Invalid("Command Not supported. Please use Ironic command to perform this action.")


def _refused(method: str, path: str, action: str | None = None) -> Route:
    return Route(
        method=method,
        path=path,
        action=action,
        handler=refuse,
        rule=f"{_RULE}:refused",
        role=ANY,
        until=_UNTIL,
        summary="Change bare metal: never through Compute",
    )


ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=unsupported,
        rule=f"{_RULE}:list",
        role="admin",
        until=_UNTIL,
        summary="List bare metal",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        handler=unsupported,
        rule=f"{_RULE}:show",
        role="admin",
        until=_UNTIL,
        summary="Show bare metal",
    ),
    _refused("POST", _PATH),
    _refused("DELETE", f"{_PATH}/{{id}}"),
    _refused("POST", f"{_PATH}/{{id}}/action", "add_interface"),
    _refused("POST", f"{_PATH}/{{id}}/action", "remove_interface"),
]
