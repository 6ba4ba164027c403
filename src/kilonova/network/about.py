"""What the network service says of itself: versions, extensions, agents, zones."""

from kilonova.model.errors import NotFound
from kilonova.network import reference
from kilonova.network.service import EmbeddedNetworks
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
    raise NotFound(f"Extension with alias {call.params['alias'][:64]} does not exist.", name="ExtensionNotFound")


async def list_nothing(networks: EmbeddedNetworks, call: Call) -> Reply:
    """Collections that clients look into and that are empty here: subnet pools, address scopes …"""
    return Reply(200, {call.path.rstrip("/").rpartition("/")[2].replace("-", "_"): []})


async def list_agents(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/agents``: nova-compute looks after the bridges; there are no agents."""
    return Reply(200, {"agents": []})


async def list_availability_zones(networks: EmbeddedNetworks, call: Call) -> Reply:
    """``GET /v2.0/availability_zones``"""
    names = ("name", "resource", "state")
    found = [
        zone
        for zone in reference.ZONES
        if all(name not in call.query or zone[name] in call.query[name] for name in names)
    ]
    return Reply(200, {"availability_zones": found})
