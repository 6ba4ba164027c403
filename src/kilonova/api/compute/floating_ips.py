"""Floating addresses through Compute: lists and changes up to 2.35, a server's up to 2.43. Passed on to the network service."""

import ipaddress
from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import document
from kilonova.api.compute.network_proxy import UNTIL, networks_of
from kilonova.api.compute.submission import find
from kilonova.model.errors import Conflict, Invalid, NotFound, QuotaExceeded
from kilonova.network.inside import ask
from kilonova.web.call import Call, Reply
from kilonova.web.policy import ANY
from kilonova.web.routes import Handler, Route
from kilonova.web.schema import Schema, always, is_uuid

_ACTIONS_UNTIL = 43

Address = dict[str, Any]


async def _pools(cloud: Deployment, call: Call) -> dict[str, str]:
    """The names of the external networks by their ids."""
    found = await ask(networks_of(cloud), call.caller, "GET", "networks", query={"router:external": ["True"]})
    return {network["id"]: network["name"] or network["id"] for network in found["networks"]}


async def list_pools(cloud: Deployment, call: Call) -> Reply:
    """Where floating addresses come from."""
    return Reply(200, {"floating_ip_pools": [{"name": name} for name in (await _pools(cloud, call)).values()]})


async def index(cloud: Deployment, call: Call) -> Reply:
    """Those of the project."""
    query = {"project_id": [call.project_id]}
    found = await ask(networks_of(cloud), call.caller, "GET", "floatingips", query=query)
    pools = await _pools(cloud, call)
    return Reply(200, {"floating_ips": [_view(entry, pools) for entry in found["floatingips"]]})


async def show(cloud: Deployment, call: Call) -> Reply:
    """One."""
    entry = await _one(cloud, call)
    return Reply(200, {"floating_ip": _view(entry, await _pools(cloud, call))})


async def _one(cloud: Deployment, call: Call) -> Address:
    floating_id = call.params["id"]
    if not is_uuid(floating_id):
        raise Invalid(f"Invalid ID received {floating_id[:64]}.")
    try:
        found = await ask(networks_of(cloud), call.caller, "GET", f"floatingips/{floating_id}")
    except NotFound:
        raise NotFound(f"Floating IP not found for ID {floating_id}") from None
    return dict(found["floatingip"])


def _view(entry: Address, pools: dict[str, str]) -> Address:
    network_id = entry["floating_network_id"]
    return {
        "id": entry["id"],
        "ip": entry["floating_ip_address"],
        "pool": pools.get(network_id, network_id),
        "fixed_ip": entry["fixed_ip_address"],
        "instance_id": (entry["port_details"] or {}).get("device_id") or None,
    }


async def create(cloud: Deployment, call: Call) -> Reply:
    """A new one out of a pool that is named by its name or its id; the first there is, if none is."""
    wanted = (call.body or {}).get("pool")
    pools = await _pools(cloud, call)
    network_id = next((key for key, name in pools.items() if wanted in (None, key, name)), None)
    if network_id is None:
        raise NotFound("Floating IP pool not found.")
    body = {"floatingip": {"floating_network_id": network_id}}
    try:
        made = await ask(networks_of(cloud), call.caller, "POST", "floatingips", body=body)
    except Conflict as error:
        where = f" in pool {pools[network_id]}." if wanted else "."
        if error.name == "OverQuota":
            raise QuotaExceeded(f"IP allocation over quota{where}") from None
        raise NotFound(f"No more floating IPs{where}" if wanted else "No more floating IPs available.") from None
    return Reply(200, {"floating_ip": _view(made["floatingip"], pools)})


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Give one back, wherever it stands for something."""
    entry = await _one(cloud, call)
    await ask(networks_of(cloud), call.caller, "DELETE", f"floatingips/{entry['id']}")
    return Reply(202)


# --- a server's --------------------------------------------------------------------------------------------


async def add(cloud: Deployment, call: Call) -> Reply:
    """Let one stand for an address of a server: the one that is named, else its first IPv4 address."""
    asked = call.body["addFloatingIp"]
    server = await cloud.database.run(find, call, call.params["id"])
    nics = [nic for nic in server.addresses if ":" not in nic["address"]]
    if not server.addresses:
        raise Invalid("Instance network is not ready yet")
    if "fixed_address" in asked:
        nics = [nic for nic in server.addresses if _same(nic["address"], asked["fixed_address"])]
        if not nics:
            raise Invalid("Specified fixed address not assigned to instance")
    if not nics:
        raise Invalid(f"Unable to associate floating IP with instance {server.id}: it has no fixed IPv4 addresses.")
    entry = await _by_address(cloud, call, asked["address"])
    await _stand_for(cloud, call, entry, {"port_id": nics[0]["port_id"], "fixed_ip_address": nics[0]["address"]})
    return Reply(202)


def _same(one: str, other: str) -> bool:
    return ipaddress.ip_address(one) == ipaddress.ip_address(other)


async def _by_address(cloud: Deployment, call: Call, address: str) -> Address:
    query = {"floating_ip_address": [str(ipaddress.ip_address(address))]}
    found = (await ask(networks_of(cloud), call.caller, "GET", "floatingips", query=query))["floatingips"]
    if not found:
        raise NotFound("floating IP not found")
    return dict(found[0])


async def _stand_for(cloud: Deployment, call: Call, entry: Address, what: dict[str, Any]) -> None:
    try:
        await ask(networks_of(cloud), call.caller, "PUT", f"floatingips/{entry['id']}", body={"floatingip": what})
    except (Conflict, NotFound) as error:
        raise Invalid(error.message) from None


async def remove(cloud: Deployment, call: Call) -> Reply:
    """Let one stand for nothing that stands for an address of the server."""
    server = await cloud.database.run(find, call, call.params["id"])
    address = call.body["removeFloatingIp"]["address"]
    entry = await _by_address(cloud, call, address)
    if (entry["port_details"] or {}).get("device_id") != server.id:
        raise Conflict(f"Floating IP {address} is not associated with instance {server.id}.")
    await _stand_for(cloud, call, entry, {"port_id": None})
    return Reply(202)


_IP: Schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
_ADD = document(["addFloatingIp"], {"addFloatingIp": document(["address"], {"address": _IP, "fixed_address": _IP})})
_REMOVE = document(["removeFloatingIp"], {"removeFloatingIp": document(["address"], {"address": _IP})})
_CREATE: Schema = {"type": ["object", "null"], "properties": {"pool": {"type": ["string", "null"]}}}
_RULE = "os_compute_api:os-floating-ips"
_PATH = "/os-floating-ips"


def _route(method: str, path: str, name: str, role: str, handler: Handler, summary: str, **rest: Any) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=f"{_RULE}:{name}",
        role=role,
        summary=summary,
        **{"until": UNTIL, **rest},
    )


def _action(name: str, rule: str, handler: Handler, body: Schema, summary: str) -> Route:
    more = {"action": name, "body": always(body), "until": _ACTIONS_UNTIL}
    return _route("POST", "/servers/{id}/action", rule, "member", handler, summary, **more)


ROUTES = [
    Route(
        method="GET",
        path="/os-floating-ip-pools",
        handler=list_pools,
        rule="os_compute_api:os-floating-ip-pools",
        role=ANY,
        until=UNTIL,
        summary="List where floating addresses come from",
    ),
    _route("GET", _PATH, "list", "reader", index, "List floating addresses"),
    _route("POST", _PATH, "create", "member", create, "Allocate a floating address", body=always(_CREATE)),
    _route("GET", f"{_PATH}/{{id}}", "show", "reader", show, "Show a floating address"),
    _route("DELETE", f"{_PATH}/{{id}}", "delete", "member", delete, "Give a floating address back"),
    _action("addFloatingIp", "add", add, _ADD, "Let a floating address stand for a server's"),
    _action("removeFloatingIp", "remove", remove, _REMOVE, "Let it stand for nothing"),
]
