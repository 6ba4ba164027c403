"""``/v3/auth``: how a password, a token or an application credential becomes a token.

Every failure is the same 401, after the same work. Reference: Identity API v3, "Authentication and token management".
"""

from typing import Any

from kilonova.database import identity as directory
from kilonova.database import standing as queries
from kilonova.identity.service import REFUSED, Identity, Issued
from kilonova.identity.tokens import Claims
from kilonova.identity.views import domain_view, project_view, token_view
from kilonova.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from kilonova.model.identity import Domain, Scope, User
from kilonova.web.call import Call, Reply

_METHODS = ("password", "token", "application_credential")


async def create_token(identity: Identity, call: Call) -> Reply:
    """``POST /v3/auth/tokens``"""
    issued = await authenticate(identity, call.body["auth"])
    return Reply(201, _body(identity, call, issued), _headers(issued.token))


async def authenticate(identity: Identity, auth: dict[str, Any]) -> Issued:
    """The token for the ``auth`` object of a request (checked by schema). Raises ``Unauthenticated``."""
    # Taken before anything is compared: a password changed meanwhile voids what the old one was good for.
    started = identity.clock.now()
    proof = auth["identity"]
    method: str = proof["methods"][0]
    if len(proof["methods"]) != 1 or method not in _METHODS or method not in proof:
        raise Invalid(f"Give exactly one of the methods {', '.join(_METHODS)}, and the object of that name.")
    if method == "password":
        login = await _by_password(identity, proof["password"]["user"])
        scope = await _scope(identity, auth.get("scope"), login.user_id)
        return await identity.issue(login.user_id, scope, method, issued_at=started)
    if method == "token":
        return await _by_token(identity, proof["token"]["id"], auth.get("scope"), started)
    login = await _by_credential(identity, proof["application_credential"])
    assert login.credential is not None
    if auth.get("scope") not in (None, "unscoped"):
        raise Unauthenticated("An application credential has its own scope; leave the scope out.")
    own = Scope("project", login.credential.project_id)
    return await identity.issue(login.user_id, own, method, issued_at=started, credential_id=login.credential.id)


async def _by_password(identity: Identity, user: dict[str, Any]) -> queries.Login:
    login = await identity.database.run(queries.login, *_user_reference(user))
    right = await identity.passwords.matches(user["password"], None if login is None else login.digest)
    if login is None or not right or not login.usable:
        raise Unauthenticated(REFUSED)
    return login


async def _by_credential(identity: Identity, proof: dict[str, Any]) -> queries.Login:
    owner = None
    if "id" not in proof and "user" in proof:
        owner = await identity.database.run(queries.login, *_user_reference(proof["user"]))
    login = await identity.database.run(queries.credential_login, proof.get("id"), owner, proof.get("name"))
    right = await identity.passwords.matches(proof["secret"], None if login is None else login.digest)
    if login is None or not right or not login.usable:
        raise Unauthenticated(REFUSED)
    return login


async def _by_token(identity: Identity, token: str, wanted: Any, started: int) -> Issued:
    parent = await identity.examine(token)
    claims: Claims = parent.claims
    if claims.credential_id is not None:
        raise Forbidden("A token of an application credential cannot be exchanged for another.")
    scope = await _scope(identity, wanted, claims.user_id)
    method = claims.method if "token" in claims.methods else f"token+{claims.method}"
    return await identity.issue(claims.user_id, scope, method, issued_at=started, parent=claims)


async def _scope(identity: Identity, wanted: Any, user_id: str) -> Scope:
    if wanted is None:
        return await _default_scope(identity, user_id)
    if wanted == "unscoped" or "unscoped" in wanted:
        return Scope()
    kind, reference = next(iter(wanted.items()))
    domain = reference.get("domain", {})
    found = await identity.database.run(
        queries.resolve_scope,
        kind,
        reference.get("id"),
        reference.get("name"),
        domain.get("id"),
        domain.get("name"),
    )
    if found is None:
        raise Unauthenticated(REFUSED)
    return found


async def _default_scope(identity: Identity, user_id: str) -> Scope:
    """The user's default project if there is one he may use, else none."""
    user = await identity.database.run(directory.get, User, user_id)
    if user is None or user.default_project_id is None:
        return Scope()
    mine = await identity.database.run(directory.projects_of, user_id)
    return Scope("project", user.default_project_id) if user.default_project_id in {p.id for p in mine} else Scope()


def _user_reference(user: dict[str, Any]) -> tuple[str | None, str | None, str | None, str | None]:
    domain = user.get("domain", {})
    return user.get("id"), user.get("name"), domain.get("id"), domain.get("name")


async def show_token(identity: Identity, call: Call) -> Reply:
    """``GET`` and ``HEAD /v3/auth/tokens``: one's own token, or any for administrators and services."""
    token = _subject(call)
    try:
        issued = await identity.examine(token)
    except Unauthenticated:
        raise NotFound("Could not find token.") from None
    _own_or(call, issued.claims.user_id, "identity:validate_token")
    return Reply(200, _body(identity, call, issued), _headers(token))


async def delete_token(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/auth/tokens``"""
    token = _subject(call)
    try:
        issued = await identity.examine(token)
    except Unauthenticated:
        raise NotFound("Could not find token.") from None
    _own_or(call, issued.claims.user_id, "identity:revoke_token")
    await identity.revoke(token)
    return Reply(204)


def _subject(call: Call) -> str:
    token = call.headers.get("x-subject-token")
    if not token:
        raise Invalid("X-Subject-Token names the token in question; it is missing.")
    return token


def _own_or(call: Call, user_id: str, rule: str) -> None:
    if call.caller.user_id != user_id:
        call.require(rule)


def _body(identity: Identity, call: Call, issued: Issued) -> dict[str, Any]:
    with_catalog = "nocatalog" not in call.query and issued.claims.scope.kind != ""
    return token_view(issued, identity.catalog(identity.base(call.base_url)) if with_catalog else None)


def _headers(token: str) -> dict[str, str]:
    return {"x-subject-token": token, "vary": "X-Auth-Token"}


async def show_catalog(identity: Identity, call: Call) -> Reply:
    """``GET /v3/auth/catalog``"""
    links = {"self": f"{call.base_url}/v3/auth/catalog", "next": None, "previous": None}
    return Reply(200, {"catalog": identity.catalog(identity.base(call.base_url)), "links": links})


async def list_own_projects(identity: Identity, call: Call) -> Reply:
    """``GET /v3/auth/projects``: where the caller could get a token for."""
    found = await identity.database.run(directory.projects_of, call.caller.user_id)
    links = {"self": f"{call.base_url}/v3/auth/projects", "next": None, "previous": None}
    return Reply(200, {"projects": [project_view(p, call.base_url) for p in found], "links": links})


async def list_own_domains(identity: Identity, call: Call) -> Reply:
    """``GET /v3/auth/domains``"""
    mine = {"user_id": call.caller.user_id, "target_type": "domain"}
    ids = {a.target_id for a in await identity.database.run(directory.assignments, mine)}
    found = await identity.database.run(directory.find, Domain, {"id": ids, "enabled": True}) if ids else []
    links = {"self": f"{call.base_url}/v3/auth/domains", "next": None, "previous": None}
    return Reply(200, {"domains": [domain_view(d, call.base_url) for d in found], "links": links})


async def list_own_systems(identity: Identity, call: Call) -> Reply:
    """``GET /v3/auth/system``"""
    mine = {"user_id": call.caller.user_id, "target_type": "system"}
    found = await identity.database.run(directory.assignments, mine)
    links = {"self": f"{call.base_url}/v3/auth/system", "next": None, "previous": None}
    return Reply(200, {"system": [{"all": True}] if found else [], "links": links})
