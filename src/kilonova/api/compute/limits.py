"""Limits: what a project may use in all, and uses, as one flat list of numbers."""

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.api.compute.quota_names import defaults
from kilonova.api.compute.rules import OTHER_LIMITS
from kilonova.database import ledger
from kilonova.web.call import Call, Reply
from kilonova.web.policy import ANY
from kilonova.web.routes import Route
from kilonova.web.schema import TEXT

_LIMITS = {  # name in the answer, resource, the last minor that shows it
    "maxServerMeta": ("metadata_items", None),
    "maxImageMeta": ("metadata_items", 38),
    "maxPersonality": ("injected_files", 56),
    "maxPersonalitySize": ("injected_file_content_bytes", 56),
    "maxSecurityGroups": ("security_groups", 35),
    "maxSecurityGroupRules": ("security_group_rules", 35),
    "maxTotalFloatingIps": ("floating_ips", 35),
    "maxServerGroups": ("server_groups", None),
    "maxServerGroupMembers": ("server_group_members", None),
    "maxTotalCores": ("cores", None),
    "maxTotalInstances": ("instances", None),
    "maxTotalKeypairs": ("key_pairs", None),
    "maxTotalRAMSize": ("ram", None),
}
_USAGES = {
    "totalCoresUsed": ("cores", None),
    "totalInstancesUsed": ("instances", None),
    "totalRAMUsed": ("ram", None),
    "totalServerGroupsUsed": ("server_groups", None),
    "totalFloatingIpsUsed": ("floating_ips", 35),
    "totalSecurityGroupsUsed": ("security_groups", 35),
}


async def index(cloud: Deployment, call: Call) -> Reply:
    """Of the caller's project, or for an administrator of ``tenant_id``."""
    project_id = call.first("tenant_id")
    if project_id is not None:
        call.require(OTHER_LIMITS)
    limits, usages = await cloud.database.run(_read, project_id or call.project_id, defaults(cloud.config.quota))
    absolute = {name: limits[resource] for name, (resource, last) in _LIMITS.items() if _shown(call, last)}
    absolute |= {name: usages.get(resource, 0) for name, (resource, last) in _USAGES.items() if _shown(call, last)}
    return Reply(200, {"limits": {"rate": [], "absolute": absolute}})


def _shown(call: Call, last: int | None) -> bool:
    return last is None or call.version <= last


def _read(connection: Connection, project_id: str, usual: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    return ledger.limits(connection, project_id, usual), ledger.usages(connection, project_id)


ROUTES = [
    Route(
        method="GET",
        path="/limits",
        handler=index,
        rule="os_compute_api:limits",
        role=ANY,
        query=queries(75, {"reserved": TEXT, "tenant_id": TEXT}),
        summary="Show limits and use",
    )
]
