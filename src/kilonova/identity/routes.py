"""Identity's route table and its application.

Reference: Identity API v3. Reading about oneself needs any token; the handlers ask for an ``…any…`` rule when it is
about somebody else.
"""

from kilonova.identity import authentication, credentials, directory, grants, project_tags, schemas, versions
from kilonova.identity.service import Identity
from kilonova.web.application import Application, Family, TokenValidator
from kilonova.web.faults import identity_fault
from kilonova.web.policy import ANY, NOBODY_NEEDED, Policy
from kilonova.web.routes import Handler, Route, RouteTable
from kilonova.web.schema import Schemas

# Asked by handlers, not by rows: what it takes to look at somebody else's things.
EXTRA_RULES = {
    "identity:validate_token": "service",
    "identity:revoke_token": "admin",
    "identity:get_any_project": "admin",
    "identity:get_any_user": "admin",
    "identity:list_any_role_assignments": "admin",
}


def _row(method: str, path: str, handler: Handler, role: str, body: Schemas = ()) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=f"identity:{handler.__name__}",
        role=role,
        body=body,
        summary=(handler.__doc__ or "").strip().splitlines()[0],
    )


def _grants(path: str) -> list[Route]:
    one = f"{path}/users/{{user_id}}/roles/{{role_id}}"
    return [
        _row("PUT", one, grants.grant, "admin"),
        _row("HEAD", one, grants.check, "admin"),
        _row("GET", one, grants.check, "admin"),
        _row("DELETE", one, grants.ungrant, "admin"),
        _row("GET", f"{path}/users/{{user_id}}/roles", grants.list_granted, "admin"),
    ]


def routes() -> list[Route]:
    """Every operation of the embedded Identity service."""
    d = directory
    mine, tags = "/v3/users/{user_id}/application_credentials", "/v3/projects/{project_id}/tags"
    return [
        _row("GET", "/", versions.list_versions, NOBODY_NEEDED),
        _row("GET", "/v3", versions.show_version, NOBODY_NEEDED),
        _row("POST", "/v3/auth/tokens", authentication.create_token, NOBODY_NEEDED, schemas.AUTH),
        _row("GET", "/v3/auth/tokens", authentication.show_token, ANY),
        _row("HEAD", "/v3/auth/tokens", authentication.show_token, ANY),
        _row("DELETE", "/v3/auth/tokens", authentication.delete_token, ANY),
        _row("GET", "/v3/auth/catalog", authentication.show_catalog, ANY),
        _row("GET", "/v3/auth/projects", authentication.list_own_projects, ANY),
        _row("GET", "/v3/auth/domains", authentication.list_own_domains, ANY),
        _row("GET", "/v3/auth/system", authentication.list_own_systems, ANY),
        _row("GET", "/v3/domains", d.list_domains, "admin"),
        _row("POST", "/v3/domains", d.create_domain, "admin", schemas.DOMAIN_CREATE),
        _row("GET", "/v3/domains/{domain_id}", d.show_domain, "admin"),
        _row("PATCH", "/v3/domains/{domain_id}", d.update_domain, "admin", schemas.DOMAIN_UPDATE),
        _row("DELETE", "/v3/domains/{domain_id}", d.delete_domain, "admin"),
        _row("GET", "/v3/projects", d.list_projects, "admin"),
        _row("POST", "/v3/projects", d.create_project, "admin", schemas.PROJECT_CREATE),
        _row("GET", "/v3/projects/{project_id}", d.show_project, ANY),
        _row("PATCH", "/v3/projects/{project_id}", d.update_project, "admin", schemas.PROJECT_UPDATE),
        _row("DELETE", "/v3/projects/{project_id}", d.delete_project, "admin"),
        _row("GET", tags, project_tags.list_project_tags, ANY),
        _row("PUT", tags, project_tags.update_project_tags, "admin", schemas.PROJECT_TAGS),
        _row("DELETE", tags, project_tags.delete_project_tags, "admin"),
        _row("GET", tags + "/{tag}", project_tags.check_project_tag, ANY),
        _row("HEAD", tags + "/{tag}", project_tags.check_project_tag, ANY),
        _row("PUT", tags + "/{tag}", project_tags.create_project_tag, "admin"),
        _row("DELETE", tags + "/{tag}", project_tags.delete_project_tag, "admin"),
        _row("GET", "/v3/users", d.list_users, "admin"),
        _row("POST", "/v3/users", d.create_user, "admin", schemas.USER_CREATE),
        _row("GET", "/v3/users/{user_id}", d.show_user, ANY),
        _row("PATCH", "/v3/users/{user_id}", d.update_user, "admin", schemas.USER_UPDATE),
        _row("DELETE", "/v3/users/{user_id}", d.delete_user, "admin"),
        _row("GET", "/v3/users/{user_id}/projects", d.list_user_projects, ANY),
        _row("POST", "/v3/users/{user_id}/password", d.change_password, ANY, schemas.PASSWORD_CHANGE),
        _row("GET", "/v3/roles", d.list_roles, "admin"),
        _row("POST", "/v3/roles", d.create_role, "admin", schemas.ROLE_CREATE),
        _row("GET", "/v3/roles/{role_id}", d.show_role, "admin"),
        _row("PATCH", "/v3/roles/{role_id}", d.update_role, "admin", schemas.ROLE_UPDATE),
        _row("DELETE", "/v3/roles/{role_id}", d.delete_role, "admin"),
        *_grants("/v3/projects/{project_id}"),
        *_grants("/v3/domains/{domain_id}"),
        *_grants("/v3/system"),
        _row("GET", "/v3/role_assignments", grants.list_assignments, ANY),
        _row("GET", mine, credentials.list_credentials, ANY),
        _row("POST", mine, credentials.create_credential, ANY, schemas.CREDENTIAL_CREATE),
        _row("GET", mine + "/{credential_id}", credentials.show_credential, ANY),
        _row("DELETE", mine + "/{credential_id}", credentials.delete_credential, ANY),
        _row("GET", "/v3/services", versions.list_services, "admin"),
        _row("GET", "/v3/services/{id}", versions.show_service, "admin"),
        _row("GET", "/v3/endpoints", versions.list_endpoints, "admin"),
        _row("GET", "/v3/endpoints/{id}", versions.show_endpoint, "admin"),
        _row("GET", "/v3/regions", versions.list_regions, ANY),
        _row("GET", "/v3/regions/{id}", versions.show_region, ANY),
    ]


def application(
    identity: Identity, *, tokens: TokenValidator | None = None, overrides: dict[str, str] | None = None
) -> Application:
    """The HTTP API of ``identity``; mount it at ``IdentitySettings.mount``. ``overrides`` are policy rules."""
    table = RouteTable(routes())
    rules = {route.rule: route.role for route in table.routes} | EXTRA_RULES
    return Application(
        Family(name="identity", fault=identity_fault),
        table,
        identity,
        tokens=tokens or identity,
        policy=Policy(rules, overrides),
        clock=identity.clock,
        ids=identity.ids,
    )
