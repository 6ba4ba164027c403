"""Application credentials: log-ins for programs, with some of one's roles on one project.

Only the owner makes them; whoever came in by a restricted one makes and deletes none. The secret is in the answer
that creates it and nowhere else. Reference: Identity API v3, "Application Credentials".
"""

from base64 import urlsafe_b64encode
from typing import Any

from kilonova.database import identity as queries
from kilonova.identity.directory import missing, own_or_admin, require
from kilonova.identity.service import Identity, Issued
from kilonova.identity.views import credential_view
from kilonova.model.errors import Forbidden, Invalid
from kilonova.model.identity import ApplicationCredential, Role, User
from kilonova.web.call import Call, Reply
from kilonova.web.moments import parse_moment


async def _role_names(identity: Identity) -> dict[str, str]:
    return {role.id: role.name for role in await identity.database.run(queries.find, Role, {})}


async def list_credentials(identity: Identity, call: Call) -> Reply:
    """``GET /v3/users/{user}/application_credentials``"""
    user_id = call.params["user_id"]
    own_or_admin(call, user_id)
    await require(identity, User, user_id)
    filters: dict[str, object] = {"user_id": user_id}
    name = call.first("name")
    if name is not None:
        filters["name"] = name
    found = await identity.database.run(queries.find, ApplicationCredential, filters)
    names = await _role_names(identity)
    links = {"self": f"{call.base_url}/v3/users/{user_id}/application_credentials", "next": None, "previous": None}
    views = [credential_view(credential, names, call.base_url) for credential in found]
    return Reply(200, {"application_credentials": views, "links": links})


async def show_credential(identity: Identity, call: Call) -> Reply:
    """``GET /v3/users/{user}/application_credentials/{id}``"""
    user_id, credential_id = call.params["user_id"], call.params["credential_id"]
    own_or_admin(call, user_id)
    found = await identity.database.run(queries.get, ApplicationCredential, credential_id)
    if found is None or found.user_id != user_id:
        raise missing(ApplicationCredential, credential_id)
    names = await _role_names(identity)
    return Reply(200, {"application_credential": credential_view(found, names, call.base_url)})


async def create_credential(identity: Identity, call: Call) -> Reply:
    """``POST /v3/users/{user}/application_credentials``"""
    body = call.body["application_credential"]
    issued = await _unrestricted(identity, call)
    if call.params["user_id"] != call.caller.user_id:
        if call.caller.is_admin:  # others are not told who exists
            await require(identity, User, call.params["user_id"])
        raise Forbidden("Application credentials are made by their owners only.")
    if body.get("project_id", call.project_id) != call.project_id:
        raise Forbidden("An application credential is for the project of the token that makes it.")
    secret = body.get("secret") or urlsafe_b64encode(identity.rng.randbytes(48)).decode()
    credential = ApplicationCredential(
        id=identity.ids.hex(),
        user_id=call.caller.user_id,
        project_id=call.project_id,
        name=body["name"],
        description=body.get("description"),
        roles=_wanted_roles(issued, body),
        unrestricted=bool(body.get("unrestricted")),
        expires_at=_expiry(identity, body.get("expires_at")),
    )
    digest = await identity.passwords.digest(secret)
    await identity.database.run(queries.insert, credential, secret_hash=digest)
    names = await _role_names(identity)
    return Reply(201, {"application_credential": credential_view(credential, names, call.base_url, secret)})


async def delete_credential(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/users/{user}/application_credentials/{id}``"""
    user_id, credential_id = call.params["user_id"], call.params["credential_id"]
    own_or_admin(call, user_id)
    await _unrestricted(identity, call)
    if not await identity.database.run(queries.delete_credential, user_id, credential_id):
        raise missing(ApplicationCredential, credential_id)
    identity.changed()
    return Reply(204)


async def _unrestricted(identity: Identity, call: Call) -> Issued:
    """The caller's own token. Raises ``Forbidden`` if it came from a restricted application credential."""
    issued = await identity.examine(call.headers["x-auth-token"])
    credential = issued.standing.credential
    if credential is not None and not credential.unrestricted:
        raise Forbidden("A restricted application credential may not manage application credentials.")
    return issued


def _wanted_roles(issued: Issued, body: dict[str, Any]) -> list[str]:
    if not body.get("roles"):
        return [role.id for role in issued.standing.roles]
    held = {role.id: role.id for role in issued.standing.all_roles}
    held |= {role.name: role.id for role in issued.standing.all_roles}
    chosen = [held.get(role.get("id", role.get("name", ""))) for role in body["roles"]]
    if None in chosen:
        raise Invalid("You can only pass on roles that you have on this project.")
    return sorted({role for role in chosen if role is not None})


def _expiry(identity: Identity, text: str | None) -> int | None:
    if text is None:
        return None
    moment = parse_moment(text, "expires_at")
    if moment <= identity.clock.now():
        raise Invalid("expires_at is in the past.")
    return moment
