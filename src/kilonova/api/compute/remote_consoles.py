"""Remote consoles: a URL with a token in it, which a console proxy changes for the guest's console.

Up to 2.5 by actions, one for each protocol; from 2.6 by ``remote-consoles``. What a console is asked for must be offered by the
driver of the server's host.
"""

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.host_questions import find_on_host
from kilonova.api.compute.inputs import document
from kilonova.database import console_tokens, membership
from kilonova.model.console import GONE_PROTOCOLS, KINDS, ConsoleKind, ConsoleToken
from kilonova.model.errors import Conflict, Invalid
from kilonova.model.server import Server, VmState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, Versioned, always

_OLD_UNTIL = 5
_BUSY = {"deleting", "migrating"}


async def create(cloud: Deployment, call: Call) -> Reply:
    """``POST /servers/{id}/remote-consoles``."""
    asked = call.body["remote_console"]
    url = await _open(cloud, call, call.params["server_id"], asked["protocol"], asked["type"])
    return Reply(200, {"remote_console": {**asked, "url": url}})


async def get_vnc(cloud: Deployment, call: Call) -> Reply:
    """``os-getVNCConsole``."""
    return await _old(cloud, call, "os-getVNCConsole", "vnc")


async def get_spice(cloud: Deployment, call: Call) -> Reply:
    """``os-getSPICEConsole``."""
    return await _old(cloud, call, "os-getSPICEConsole", "spice")


async def get_serial(cloud: Deployment, call: Call) -> Reply:
    """``os-getSerialConsole``."""
    return await _old(cloud, call, "os-getSerialConsole", "serial")


async def _old(cloud: Deployment, call: Call, action: str, protocol: str) -> Reply:
    name = call.body[action]["type"]
    return Reply(200, {"console": {"type": name, "url": await _open(cloud, call, call.params["id"], protocol, name)}})


async def _open(cloud: Deployment, call: Call, server_id: str, protocol: str, name: str) -> str:
    token = cloud.ids.uuid()
    base = await cloud.database.run(_authorize, cloud, call, server_id, protocol, name, token)
    return _with_token(base, name, token)


def _authorize(
    connection: Connection, cloud: Deployment, call: Call, server_id: str, protocol: str, name: str, token: str
) -> str:
    """Write the token down; the URL it goes into. Raises ``Conflict`` or, in Nova's words, ``Invalid``."""
    server = find_on_host(connection, call, server_id)
    if server.vm_state == VmState.BUILDING:
        raise Conflict(f"Instance {server.id} is not ready")
    if server.task_state in _BUSY:
        raise Conflict(
            f"Cannot 'get_{protocol}_console' instance {server.id} while it is in task_state {server.task_state}"
        )
    if protocol in GONE_PROTOCOLS:
        raise Invalid(f"Unavailable console type {protocol}.")
    kind = KINDS.get(name)
    if kind is None or kind.protocol != protocol:
        raise Invalid(f"Invalid console type {name}")
    base = cloud.config.console.urls[name]
    now = cloud.clock.now()
    stands_for = ConsoleToken(
        server_id=server.id,
        console_type=name,
        host=_address(connection, cloud, server, kind, now),
        port=cloud.config.console.host_port,
        tls_port=None,
        internal_access_path=server.id,
        access_url_base=base,
        expires_at=now + int(cloud.config.console.token_seconds * 1_000_000),
    )
    console_tokens.insert(connection, token, stands_for, now)
    return base


def _address(connection: Connection, cloud: Deployment, server: Server, kind: ConsoleKind, now: int) -> str:
    """Of the server's host, if it is up and offers such a console."""
    host = membership.find_host(connection, server.host or "")
    if host is None or not membership.compute_up(connection, host.host, now, cloud.config.membership.down_after):
        raise Conflict(f"The host of instance {server.id} does not answer; ask again later.")
    features = host.capabilities.get("features")
    if not isinstance(features, list) or kind.feature not in features:
        raise Invalid(f"Unavailable console type {kind.name}.")
    return host.address


def _with_token(base: str, name: str, token: str) -> str:
    """noVNC takes the token inside its ``path``, all others as a parameter of their own."""
    if name != "novnc":
        return f"{base}?token={token}"
    parts = urlsplit(base)
    query = parse_qs(parts.query)
    query["path"] = [f"{query.get('path', [''])[0]}?token={token}"]
    return urlunsplit(parts._replace(query=urlencode(query, doseq=True)))


_PROTOCOLS = ["vnc", "spice", "serial", "rdp"]
_TYPES = ["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5"]


def _body(protocols: list[str], types: list[str]) -> Schema:
    asked = document(["protocol", "type"], {"protocol": _word(protocols), "type": _word(types)})
    return document(["remote_console"], {"remote_console": asked})


def _word(words: list[str]) -> Schema:
    return {"type": "string", "enum": words}


_CREATE = (
    Versioned(_body(_PROTOCOLS, _TYPES), 6, 7),
    Versioned(_body([*_PROTOCOLS, "mks"], [*_TYPES, "webmks"]), 8, 98),
    Versioned(_body([*_PROTOCOLS, "mks"], [*_TYPES, "webmks", "spice-direct"]), 99),
)
_RULE = "os_compute_api:os-remote-consoles"


def _action(name: str, handler: Any, types: list[str]) -> Route:
    return Route(
        method="POST",
        path="/servers/{id}/action",
        action=name,
        handler=handler,
        rule=_RULE,
        role="member",
        until=_OLD_UNTIL,
        body=always(document([name], {name: document(["type"], {"type": _word(types)})})),
        summary="Open a remote console",
    )


ROUTES = [
    Route(
        method="POST",
        path="/servers/{server_id}/remote-consoles",
        handler=create,
        rule=_RULE,
        role="member",
        since=_OLD_UNTIL + 1,
        body=_CREATE,
        summary="Open a remote console",
    ),
    _action("os-getVNCConsole", get_vnc, ["novnc", "xvpvnc"]),
    _action("os-getSPICEConsole", get_spice, ["spice-html5"]),
    _action("os-getSerialConsole", get_serial, ["serial"]),
]
