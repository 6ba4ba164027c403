"""Key pairs: import (and up to 2.91 make), list, show, delete; for others by an administrator from 2.10.

A private key leaves in the one answer that made it; it is neither stored nor logged.
"""

import asyncio
from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import as_identity_id, document, query_object
from kilonova.api.compute.key_material import fingerprint, generate
from kilonova.api.compute.rules import OTHER_KEYPAIRS
from kilonova.api.paging import links, page
from kilonova.database import keypairs
from kilonova.model.flavor import Keypair
from kilonova.web.call import Call, Reply
from kilonova.web.moments import iso_micros
from kilonova.web.policy import ANY
from kilonova.web.routes import Route
from kilonova.web.schema import NON_NEGATIVE, TEXT, Schema, Schemas, Versioned

_TYPES_SINCE = 2
_USERS_SINCE = 10
_PAGES_SINCE = 35


async def index(cloud: Deployment, call: Call) -> Reply:
    """A user's key pairs, in pages from 2.35."""
    limit, marker = page(call, cloud.config.api.max_limit) if call.version >= _PAGES_SINCE else (None, None)
    found = await cloud.database.run(keypairs.list_keypairs, _owner(call), limit, marker)
    entries = [{"keypair": _summary(call, keypair)} for keypair in found]
    more = {} if limit is None else links(call, "keypairs", entries, limit, found[-1].name if found else None)
    return Reply(200, {"keypairs": entries, **more})


async def show(cloud: Deployment, call: Call) -> Reply:
    """One by its name."""
    keypair = await cloud.database.run(keypairs.get_keypair, _owner(call), call.params["id"])
    view = _summary(call, keypair) | {
        "id": keypair.id,
        "user_id": keypair.user_id,
        "created_at": iso_micros(keypair.created_at),
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    return Reply(200, {"keypair": view})


async def create(cloud: Deployment, call: Call) -> Reply:
    """Import the given public key, or make a pair and hand out its private half."""
    body: dict[str, Any] = call.body["keypair"]
    kind = body.get("type", "ssh")
    user_id = _allowed(call, body.get("user_id"))
    secret: dict[str, str] = {}
    quota = cloud.config.quota.model_dump()
    if "public_key" in body:
        public_key: str = body["public_key"]
    else:
        await cloud.database.run(keypairs.check_quota, user_id, call.project_id, quota)  # before the costly part
        secret["private_key"], public_key = await asyncio.to_thread(generate, kind, user_id, call.started_at)
    values = {
        "user_id": user_id,
        "name": body["name"],
        "type": kind,
        "fingerprint": fingerprint(kind, public_key),
        "public_key": public_key,
        "created_at": call.started_at,
    }
    keypair = await cloud.database.run(_insert, values, call.project_id, quota)
    view = _summary(call, keypair) | {"user_id": user_id} | secret
    return Reply(201 if call.version >= _TYPES_SINCE else 200, {"keypair": view})


def _insert(connection: Connection, values: dict[str, Any], project_id: str, quota: dict[str, int]) -> Keypair:
    keypairs.insert_keypair(connection, values, project_id, quota)
    return keypairs.get_keypair(connection, values["user_id"], values["name"])


async def delete(cloud: Deployment, call: Call) -> Reply:
    """Forget it; servers keep the key they were made with."""
    await cloud.database.run(keypairs.delete_keypair, _owner(call), call.params["id"])
    return Reply(204 if call.version >= _TYPES_SINCE else 202)


def _owner(call: Call) -> str:
    return _allowed(call, call.first("user_id") if call.version >= _USERS_SINCE else None)


def _allowed(call: Call, user_id: str | None) -> str:
    """Whose key pairs are meant. Raises ``Forbidden`` for another user's, unless an administrator asks; ``Invalid``
    for what can be no user's id."""
    if user_id is None or user_id == call.caller.user_id:
        return call.caller.user_id
    call.require(OTHER_KEYPAIRS)
    return as_identity_id(user_id, "User")


def _summary(call: Call, keypair: Keypair) -> dict[str, Any]:
    view: dict[str, Any] = {
        "name": keypair.name,
        "public_key": keypair.public_key,
        "fingerprint": keypair.fingerprint,
    }
    if call.version >= _TYPES_SINCE:
        view["type"] = keypair.type
    return view


def _name(letters: str) -> Schema:
    """One or more of ``letters``, and spaces between them."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": f"^[{letters}]([ {letters}]*[{letters}])?$",
    }


_NAME = _name("a-zA-Z0-9_-")
_NAME_92 = _name("a-zA-Z0-9_@.-")
_KEY: Schema = {"type": "string", "maxLength": 16384, "pattern": r"^[^\x00]*$"}
_TYPE: Schema = {"type": "string", "enum": ["ssh", "x509"]}
_USER: Schema = {"type": "string"}


def _creation(required: list[str], properties: dict[str, Schema]) -> Schema:
    return document(["keypair"], {"keypair": document(required, properties)})


_CREATE = (
    Versioned(_creation(["name"], {"name": _NAME, "public_key": _KEY}), 0, 1),
    Versioned(_creation(["name"], {"name": _NAME, "public_key": _KEY, "type": _TYPE}), 2, 9),
    Versioned(_creation(["name"], {"name": _NAME, "public_key": _KEY, "type": _TYPE, "user_id": _USER}), 10, 91),
    Versioned(
        _creation(["name", "public_key"], {"name": _NAME_92, "public_key": _KEY, "type": _TYPE, "user_id": _USER}), 92
    ),
)
_ONE: Schemas = (
    Versioned(query_object({"user_id": TEXT}), 10, 74),
    Versioned(query_object({"user_id": TEXT}, strict=True), 75),
)
_PAGE: dict[str, Schema] = {"user_id": TEXT, "limit": NON_NEGATIVE, "marker": TEXT}
_LIST: Schemas = (
    Versioned(query_object({"user_id": TEXT}), 10, 34),
    Versioned(query_object(_PAGE), 35, 74),
    Versioned(query_object(_PAGE, strict=True), 75),
)
_RULE = "os_compute_api:os-keypairs"

ROUTES = [
    Route(
        method="GET",
        path="/os-keypairs",
        handler=index,
        rule=f"{_RULE}:index",
        role=ANY,
        query=_LIST,
        summary="List key pairs",
    ),
    Route(
        method="POST",
        path="/os-keypairs",
        handler=create,
        rule=f"{_RULE}:create",
        role=ANY,
        body=_CREATE,
        summary="Import or make a key pair",
    ),
    Route(
        method="GET",
        path="/os-keypairs/{id}",
        handler=show,
        rule=f"{_RULE}:show",
        role=ANY,
        query=_ONE,
        summary="Show a key pair",
    ),
    Route(
        method="DELETE",
        path="/os-keypairs/{id}",
        handler=delete,
        rule=f"{_RULE}:delete",
        role=ANY,
        query=_ONE,
        summary="Delete a key pair",
    ),
]
