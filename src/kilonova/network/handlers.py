"""Network v2.0's operations but those on ports. Reference: Networking API v2.0.

Networks and subnets are read only: there is one shared network. Security groups are one virtual ``default`` group per
project. What does not exist here is refused with a sentence, never with a page that looks like success.
"""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, NotFound, Unsupported
from kilonova.model.network import Network, Subnet
from kilonova.network import reference
from kilonova.network.listing import page, paged, selected
from kilonova.network.service import SHARED_NETWORK_ID, EmbeddedNetworks
from kilonova.network.views import (
    network_view,
    security_group_id,
    security_group_rules,
    security_group_view,
    subnet_view,
)
from kilonova.web.call import Call, Reply


async def list_versions(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /``"""
    return Reply(200, reference.version_document(call.base_url))


async def show_version(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0``"""
    return Reply(200, reference.resources_document(call.base_url))


async def list_extensions(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/extensions``"""
    return Reply(200, {"extensions": reference.EXTENSIONS})


async def show_extension(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/extensions/{alias}``"""
    for extension in reference.EXTENSIONS:
        if extension["alias"] == call.params["alias"]:
            return Reply(200, {"extension": extension})
    raise NotFound(f"Extension with alias {call.params['alias'][:64]} does not exist.")


# --- networks and subnets ----------------------------------------------------------------------------------


def _seen_by(caller: Caller) -> str | None:
    """Whose things the caller sees beside shared ones; None: everybody's."""
    return None if caller.is_admin else caller.project_id or ""


def _find_networks(connection: Connection, /, **question: Any) -> tuple[list[Network], dict[str, list[str]]]:
    found = queries.find(connection, Network, **question)
    subnets: dict[str, list[str]] = {network.id: [] for network in found}
    for subnet in queries.find(connection, Subnet, {"network_id": list(subnets)}, limit=10_000) if found else []:
        subnets[subnet.network_id].append(subnet.id)
    return found, subnets


async def list_networks(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/networks``"""
    wanted = page(call, "networks", networks.settings.max_limit)
    found, subnets = await networks.database.run(
        _find_networks,
        filters=wanted.filters,
        limit=wanted.limit + 1,
        marker=wanted.marker,
        project_id=_seen_by(call.caller),
    )
    shown = found[: wanted.limit]
    more = shown[-1].id if len(found) > wanted.limit else None
    views = [network_view(network, subnets[network.id], call.caller.is_admin) for network in shown]
    return Reply(200, paged(call, "networks", views, more))


async def show_network(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/networks/{id}``"""
    network_id = call.params["network_id"]
    found, subnets = await networks.database.run(
        _find_networks, filters={"id": network_id}, project_id=_seen_by(call.caller)
    )
    if not found:
        raise NotFound(f"Network {network_id[:64]} could not be found.")
    view = network_view(found[0], subnets[network_id], call.caller.is_admin)
    return Reply(200, {"network": selected(call, view)})


async def list_subnets(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/subnets``"""
    wanted = page(call, "subnets", networks.settings.max_limit)
    found = await networks.database.run(
        queries.find,
        Subnet,
        wanted.filters,
        limit=wanted.limit + 1,
        marker=wanted.marker,
        project_id=_seen_by(call.caller),
    )
    shown = found[: wanted.limit]
    more = shown[-1].id if len(found) > wanted.limit else None
    return Reply(200, paged(call, "subnets", [subnet_view(subnet) for subnet in shown], more))


async def show_subnet(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/subnets/{id}``"""
    wanted = {"id": call.params["subnet_id"]}
    found = await networks.database.run(queries.find, Subnet, wanted, project_id=_seen_by(call.caller))
    if not found:
        raise NotFound(f"Subnet {wanted['id'][:64]} could not be found.")
    return Reply(200, {"subnet": selected(call, subnet_view(found[0]))})


# --- security groups ---------------------------------------------------------------------------------------


def _projects_asked_for(call: Call) -> list[str]:
    """Whose groups: one's own, or the ones an administrator names."""
    asked = call.query.get("project_id", []) + call.query.get("tenant_id", [])
    own = call.caller.project_id
    if call.caller.is_admin and asked:
        return asked[:1000]
    return [own] if own is not None and own in (asked or [own]) else []


def _matches(call: Call, view: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(name not in call.query or view[name] in call.query[name] for name in names)


async def list_security_groups(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/security-groups``"""
    groups = [security_group_view(project) for project in _projects_asked_for(call)]
    found = [group for group in groups if _matches(call, group, ("id", "name", "description"))]
    return Reply(200, paged(call, "security-groups", found, None))


async def show_security_group(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/security-groups/{id}``"""
    group_id, own = call.params["group_id"], call.caller.project_id
    if own is None or group_id != security_group_id(own):
        raise NotFound(f"Security group {group_id[:64]} does not exist.")
    return Reply(200, {"security_group": selected(call, security_group_view(own))})


async def delete_security_group(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/security-groups/{id}``: nothing is stored, so for an administrator nothing remains to do."""
    group_id, own = call.params["group_id"], call.caller.project_id
    if own is not None and group_id == security_group_id(own):
        raise Conflict("Removing default security group not allowed.")
    if not call.caller.is_admin:
        raise NotFound(f"Security group {group_id[:64]} does not exist.")
    return Reply(204)


async def list_security_group_rules(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/security-group-rules``"""
    rules = [rule for project in _projects_asked_for(call) for rule in security_group_rules(project)]
    names = ("id", "direction", "ethertype", "security_group_id", "remote_group_id")
    found = [rule for rule in rules if _matches(call, rule, names)]
    return Reply(200, paged(call, "security-group-rules", found, None))


# --- the rest ----------------------------------------------------------------------------------------------


async def list_nothing(networks: EmbeddedNetworks, call: Call) -> Reply:
    """Collections that clients look into and that are empty here: floating IPs, routers …"""
    return Reply(200, {call.path.rstrip("/").rpartition("/")[2].replace("-", "_"): []})


async def list_agents(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/agents``: nova-compute looks after the bridge; there are no agents."""
    return Reply(200, {"agents": []})


async def list_availability_zones(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/availability_zones``"""
    found = [zone for zone in reference.ZONES if _matches(call, zone, ("name", "resource", "state"))]
    return Reply(200, {"availability_zones": found})


async def show_quota(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/quotas/{project}`` and ``…/default``"""
    _own_quota(call)
    return Reply(200, {"quota": reference.quota(networks.settings.port_quota)})


async def reset_quota(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``DELETE /v2.0/quotas/{project}``: back to the defaults, which nothing here ever leaves."""
    return Reply(204)


async def show_quota_details(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/quotas/{project}/details``"""
    project_id = _own_quota(call)
    used = await networks.database.run(queries.count_ports, project_id)
    return Reply(200, {"quota": reference.quota_details(networks.settings.port_quota, used)})


def _own_quota(call: Call) -> str:
    project_id = call.params["project_id"]
    if project_id != call.caller.project_id and not call.caller.is_admin:
        raise NotFound(f"Quota of project {project_id[:64]} could not be found.")
    return project_id


async def show_auto_allocated_topology(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/auto-allocated-topology/{project}``: the shared network, which is always there."""
    project_id = _own_quota(call)
    found = {"id": SHARED_NETWORK_ID, "tenant_id": project_id, "project_id": project_id}
    if call.query.get("fields") == ["dry-run"]:
        found["id"] = "dry-run=pass"
    return Reply(200, {"auto_allocated_topology": found})


async def refuse(networks: EmbeddedNetworks, call: Call) -> Reply:
    """What the embedded network service does not do: 501 with a sentence."""
    raise Unsupported(
        "The embedded network service has one shared network and its ports; "
        f"{call.method} {call.path[:128]} is not offered."
    )
