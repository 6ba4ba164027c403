"""``rebuild``: a server made anew from an image, on its host and with its addresses; with new settings, if any are given."""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute import boot, personality, server_schemas, server_views
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.features import look
from kilonova.api.compute.inputs import as_address, as_bool
from kilonova.api.compute.links import resource_links
from kilonova.api.compute.submission import Intent, submit
from kilonova.database import keypairs, server_groups, servers
from kilonova.image.protocol import Image
from kilonova.model.action import Action
from kilonova.model.errors import Forbidden, Invalid
from kilonova.model.flavor import Flavor
from kilonova.model.kinds.rebuild import REBUILD
from kilonova.model.server import Server, TaskState, VmState
from kilonova.model.topology.request import of_flavor, same_cells
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

_ALL_SINCE = 75  # from here on the answer is that of GET
_SETTINGS = {
    "description": "description",
    "accessIPv4": "access_ip_v4",
    "accessIPv6": "access_ip_v6",
    "OS-DCF:diskConfig": "disk_config",
    "metadata": "metadata",
    "user_data": "user_data",
    "hostname": "hostname",
}


async def rebuild(cloud: Deployment, call: Call) -> Reply:
    """Check what it names, write the new settings with the action, and answer with the server as it is then."""
    body: dict[str, Any] = call.body["rebuild"]
    boot.check_user_data(body)
    files = personality.files(body)
    await look(cloud, call, REBUILD)
    _refuse_what_we_lack(body)
    limit = cloud.config.quota.metadata_items
    if 0 <= limit < len(body.get("metadata", {})):
        raise Forbidden("Maximum number of metadata items exceeds quota limit.")
    image = await boot.find_image(cloud, call, body["imageRef"])
    password = body.get("adminPass") or cloud.ids.short(12)
    shown: list[tuple[Server, list[str]]] = []

    def plan(connection: Connection, server: Server) -> Intent:
        flavor = msgspec.convert(server.flavor, Flavor)
        boot.check_fit(flavor, image)
        if not same_cells(flavor, image.properties, of_flavor(server.flavor)):
            raise Invalid("An instance's NUMA topology cannot be changed as part of a rebuild. Use resize instead.")
        personality.check_quota(connection, cloud, server.project_id, files)
        # As with Nova, files are those of this request: the new disk has none of the old one's.
        values = {**_settings(connection, call, body, image), "personality": files or None}

        def admitted(action: Action) -> None:
            servers.update(connection, server.id, **values)
            after = servers.get(connection, server.id, None)
            shown[:] = [(after, server_groups.of_server(connection, server.id))]

        work = {"stays_off": server.vm_state == VmState.STOPPED}
        return Intent(work=work, admitted=admitted, password=password)

    await submit(cloud, call, call.params["id"], REBUILD, TaskState.REBUILDING, plan=plan)
    view = _view(call, *shown[-1], password)
    return Reply(202, {"server": view}, {"location": resource_links(call, "servers", view["id"])[0]["href"]})


def _refuse_what_we_lack(body: dict[str, Any]) -> None:
    if as_bool(body.get("preserve_ephemeral", False)):
        raise Invalid("The ephemeral disk cannot be preserved by the hypervisors of this cloud.")
    if body.get("trusted_image_certificates"):
        raise Invalid("Image certificates are not validated in this cloud.")


def _settings(connection: Connection, call: Call, body: dict[str, Any], image: Image) -> dict[str, Any]:
    """The columns of the server that change with it."""
    values = {column: body[key] for key, column in _SETTINGS.items() if key in body}
    for address in ("access_ip_v4", "access_ip_v6"):
        if address in values:
            values[address] = as_address(values[address])
    if "name" in body:
        values["name"] = body["name"].strip()
    if "key_name" in body:
        values |= _keypair(connection, call, body["key_name"])
    return {**values, "image_id": image.id, "image": boot.image_record(image), "progress": 0}


def _keypair(connection: Connection, call: Call, name: str | None) -> dict[str, Any]:
    if name is None:
        return {"key_name": None, "public_key": None}
    found = keypairs.find_keypair(connection, call.caller.user_id, name)
    if found is None:
        raise Invalid("Invalid key_name provided.")
    return {"key_name": found.name, "public_key": found.public_key}


def _view(call: Call, server: Server, groups: list[str], password: str) -> dict[str, Any]:
    view = server_views.updated(call, server, host_up=True, groups=groups)
    view.pop("OS-EXT-SRV-ATTR:user_data", None)
    if 54 <= call.version < _ALL_SINCE:
        view["key_name"] = server.key_name
    if call.version >= 57:
        view["user_data"] = server.user_data
    return {**view, "adminPass": password}


ROUTES = [
    Route(
        method="POST",
        path="/servers/{id}/action",
        action="rebuild",
        handler=rebuild,
        rule="os_compute_api:servers:rebuild",
        role="member",
        body=server_schemas.REBUILD,
        summary="Make a server anew from an image",
    ),
]
