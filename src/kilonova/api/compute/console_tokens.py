"""What a console token stands for, as proxies ask it. Up to 2.30 only for a kind of console that is gone: always 400."""

from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import query_object
from kilonova.database import console_tokens
from kilonova.model.errors import Invalid, NotFound
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Versioned

_SINCE = 31
_TLS_SINCE = 99


async def show(cloud: Deployment, call: Call) -> Reply:
    """Where the console is; 404 for a token that is unknown or has expired."""
    if call.version < _SINCE:
        raise Invalid("Console tokens can be shown from microversion 2.31 on.")
    found = await cloud.database.run(console_tokens.find, call.params["id"], cloud.clock.now())
    if found is None:
        raise NotFound("Token not found")
    view: dict[str, Any] = {
        "instance_uuid": found.server_id,
        "host": found.host,
        "port": found.port,
        "internal_access_path": found.internal_access_path,
    }
    if call.version >= _TLS_SINCE and found.console_type == "spice-direct":
        view["tls_port"] = found.tls_port
    return Reply(200, {"console": view})


ROUTES = [
    Route(
        method="GET",
        path="/os-console-auth-tokens/{id}",
        handler=show,
        rule="os_compute_api:os-console-auth-tokens",
        role="admin",
        query=(Versioned(query_object({}, strict=True), _TLS_SINCE),),
        summary="Show what a console token stands for",
    ),
]
