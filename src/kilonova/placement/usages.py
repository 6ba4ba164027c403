"""Usages: what is claimed of a provider, and by a project. Reference: Placement API, "Usages"."""

from typing import Any

from kilonova.database import claims, providers
from kilonova.model.errors import Forbidden
from kilonova.placement import schemas
from kilonova.placement.answers import answered
from kilonova.placement.microversion import V
from kilonova.placement.providers import ONE
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

CONSUMER_TYPE = "INSTANCE"
"""The only kind of consumer there is."""


async def show_provider_usages(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /resource_providers/{uuid}/usages``"""
    found = await placement.database.run(providers.get, call.params["uuid"])
    usages = {name: inventory.used for name, inventory in found.inventories.items()}
    return answered(call, {"resource_provider_generation": found.generation, "usages": usages})


async def show_usages(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /usages``: of a project, or of one user in it. Whose it is not, only administrators and services may ask."""
    project_id = call.first("project_id") or ""
    own = project_id == call.caller.project_id and "reader" in call.caller.roles
    if not own and not call.caller.roles & {"admin", "service"}:
        raise Forbidden("Policy doesn't allow placement:usages to be performed for this project.")
    used, count = await placement.database.run(claims.usage, project_id, call.first("user_id"))
    if call.version < V(38):
        return answered(call, {"usages": used})
    return answered(call, {"usages": _by_type(call.first("consumer_type"), used, count)})


def _by_type(asked: str | None, used: dict[str, int], count: int) -> dict[str, Any]:
    if not count or asked not in (None, "all", CONSUMER_TYPE):
        return {}
    return {"all" if asked == "all" else CONSUMER_TYPE: used | {"consumer_count": count}}


ROUTES = [
    Route(
        method="GET",
        path=f"{ONE}/usages",
        handler=show_provider_usages,
        rule="placement:resource_providers:usages",
        role="service",
        summary="Show what is claimed of a provider",
    ),
    Route(
        method="GET",
        path="/usages",
        handler=show_usages,
        rule="placement:usages",
        role="any",
        since=V(9),
        query=schemas.USAGES,
        summary="Show what a project has claimed",
    ),
]
