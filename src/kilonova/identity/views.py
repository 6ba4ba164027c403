"""The directory in Identity v3's words. Reference: Identity API v3, responses of each resource."""

from typing import Any

from kilonova.identity.service import Issued
from kilonova.model.identity import ApplicationCredential, Domain, Project, Role, User
from kilonova.web.moments import iso_micros_z


def domain_view(domain: Domain, base: str) -> dict[str, Any]:
    """A domain; ``base`` is the URL this API is reached at, up to and without ``/v3``."""
    return {
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": [],
        "options": {},
        "links": {"self": f"{base}/v3/domains/{domain.id}"},
    }


def project_view(project: Project, base: str) -> dict[str, Any]:
    """A project. There is no hierarchy: the parent is the domain."""
    return {
        **project.extra,
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain_id,
        "parent_id": project.domain_id,
        "description": project.description,
        "enabled": project.enabled,
        "is_domain": False,
        "tags": project.tags,
        "options": {},
        "links": {"self": f"{base}/v3/projects/{project.id}"},
    }


def user_view(user: User, base: str) -> dict[str, Any]:
    """A user, never with anything about the password but that it does not expire."""
    view = {
        **user.extra,
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{base}/v3/users/{user.id}"},
    }
    if user.default_project_id is not None:
        view["default_project_id"] = user.default_project_id
    return view


def role_view(role: Role, base: str) -> dict[str, Any]:
    """A role; all roles are global."""
    return {
        "id": role.id,
        "name": role.name,
        "domain_id": None,
        "description": role.description,
        "options": {},
        "links": {"self": f"{base}/v3/roles/{role.id}"},
    }


def credential_view(
    credential: ApplicationCredential, role_names: dict[str, str], base: str, secret: str | None = None
) -> dict[str, Any]:
    """An application credential; ``secret`` is given only in the answer that creates it."""
    view: dict[str, Any] = {
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "project_id": credential.project_id,
        "user_id": credential.user_id,
        "roles": [{"id": r, "name": role_names[r], "domain_id": None} for r in credential.roles if r in role_names],
        "expires_at": iso_micros_z(credential.expires_at),
        "unrestricted": credential.unrestricted,
        "system": None,
        "links": {"self": f"{base}/v3/users/{credential.user_id}/application_credentials/{credential.id}"},
    }
    if secret is not None:
        view["secret"] = secret
    return view


def token_view(issued: Issued, catalog: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The body beside a token. ``catalog`` None leaves it out, as an unscoped token has none."""
    found, claims = issued.standing, issued.claims
    view: dict[str, Any] = {
        "methods": claims.methods,
        "user": {
            "id": found.user.id,
            "name": found.user.name,
            "domain": _named(found.user_domain),
            "password_expires_at": None,
        },
        "audit_ids": claims.audit_ids,
        "issued_at": iso_micros_z(claims.issued_at),
        "expires_at": iso_micros_z(claims.expires_at),
    }
    if not claims.scope.kind:
        return {"token": view}
    view["roles"] = [{"id": role.id, "name": role.name} for role in found.all_roles]
    if found.project is not None and found.scope_domain is not None:
        view["project"] = {
            "id": found.project.id,
            "name": found.project.name,
            "domain": _named(found.scope_domain),
        }
        view["is_domain"] = False
    elif found.domain is not None:
        view["domain"] = _named(found.domain)
    else:
        view["system"] = {"all": True}
    if found.credential is not None:
        view["application_credential"] = {
            "id": found.credential.id,
            "name": found.credential.name,
            "restricted": not found.credential.unrestricted,
        }
    if catalog is not None:
        view["catalog"] = catalog
    return {"token": view}


def _named(domain: Domain) -> dict[str, str]:
    return {"id": domain.id, "name": domain.name}
