"""What a login and a token need: four short reads, prepared once, as every uncached token costs them."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database import tables as t
from kilonova.database.identity import by_name, get
from kilonova.model.identity import ApplicationCredential, Domain, Project, Role, Scope, Standing, User


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a password or a secret is compared with. Never logged, never sent."""

    user_id: str
    digest: str | None
    usable: bool
    credential: ApplicationCredential | None = None

    def __repr__(self) -> str:
        return f"Login(user_id={self.user_id!r})"


def _with_domain(table: sa.Table, kind: type[User] | type[Project]) -> sa.Select[Any]:
    own = [table.c[field] for field in kind.__struct_fields__]
    domain = [t.domains.c[field].label(f"domain_{field}_") for field in Domain.__struct_fields__]
    joined = table.join(t.domains, t.domains.c.id == table.c.domain_id)
    return sa.select(*own, *domain).select_from(joined).where(table.c.id == sa.bindparam("id"))


_USER = _with_domain(t.users, User)
_PROJECT = _with_domain(t.projects, Project)
_ROLES = (
    sa.select(t.roles.c.id, t.roles.c.name, t.role_assignments.c.user_id)
    .select_from(
        t.roles.outerjoin(
            t.role_assignments,
            sa.and_(
                t.role_assignments.c.role_id == t.roles.c.id,
                t.role_assignments.c.user_id == sa.bindparam("user_id"),
                t.role_assignments.c.target_type == sa.bindparam("kind"),
                t.role_assignments.c.target_id == sa.bindparam("target_id"),
            ),
        )
    )
    .order_by(t.roles.c.name)
)
_REVOKED = sa.select(t.revoked_tokens.c.audit_id).where(t.revoked_tokens.c.audit_id == sa.bindparam("audit_id"))
_DIGEST = sa.select(t.users.c.password_hash).where(t.users.c.id == sa.bindparam("id"))


def _pair(row: sa.Row[Any], kind: type[Any]) -> tuple[Any, Domain]:
    width = len(kind.__struct_fields__)
    return (
        kind(**dict(zip(kind.__struct_fields__, row[:width], strict=True))),
        Domain(**dict(zip(Domain.__struct_fields__, row[width:], strict=True))),
    )


def standing(
    connection: Connection,
    user_id: str,
    scope: Scope,
    implied: dict[str, tuple[str, ...]],
    *,
    audit_id: str | None = None,
    credential_id: str | None = None,
) -> Standing | None:
    """The user within the scope; None if the user or the scope's object is gone.

    With ``credential_id`` the roles are only those of the credential that the user still has.
    """
    row = connection.execute(_USER, {"id": user_id}).first()
    if row is None:
        return None
    user, user_domain = _pair(row, User)
    project: Project | None = None
    scope_domain: Domain | None = None
    domain: Domain | None = None
    if scope.kind == "project":
        row = connection.execute(_PROJECT, {"id": scope.id}).first()
        if row is None:
            return None
        project, scope_domain = _pair(row, Project)
    elif scope.kind == "domain":
        domain = get(connection, Domain, scope.id)
        if domain is None:
            return None
    credential = get(connection, ApplicationCredential, credential_id) if credential_id else None
    if credential_id and credential is None:
        return None
    allowed = None if credential is None else frozenset(credential.roles)
    roles, more = _roles(connection, user_id, scope, implied, allowed) if scope.kind else ((), ())
    revoked = audit_id is not None and connection.execute(_REVOKED, {"audit_id": audit_id}).first() is not None
    return Standing(
        user=user,
        user_domain=user_domain,
        project=project,
        scope_domain=scope_domain,
        domain=domain,
        roles=roles,
        implied=more,
        revoked=revoked,
        credential=credential,
    )


def _roles(
    connection: Connection,
    user_id: str,
    scope: Scope,
    implied: dict[str, tuple[str, ...]],
    allowed: frozenset[str] | None,
) -> tuple[tuple[Role, ...], tuple[Role, ...]]:
    values = {"user_id": user_id, "kind": scope.kind, "target_id": scope.id}
    rows = connection.execute(_ROLES, values).all()
    assigned = {row.name for row in rows if row.user_id is not None}
    held = assigned.union(*(implied.get(name, ()) for name in assigned))
    if allowed is not None:  # a credential's roles may themselves be implied ones of the user's
        assigned = {row.name for row in rows if row.id in allowed and row.name in held}
        held = assigned.union(*(implied.get(name, ()) for name in assigned))
    return (
        tuple(Role(id=row.id, name=row.name) for row in rows if row.name in assigned),
        tuple(Role(id=row.id, name=row.name) for row in rows if row.name in held - assigned),
    )


def resolve_domain(connection: Connection, domain_id: str | None, name: str | None) -> str | None:
    """The id of a domain that is named one way or the other."""
    if domain_id is not None:
        return domain_id
    found = None if name is None else by_name(connection, Domain, name)
    return None if found is None else found.id


def login(
    connection: Connection, user_id: str | None, name: str | None, domain_id: str | None, domain_name: str | None
) -> Login | None:
    """The user behind an id, or a name and a domain, with the digest of the password."""
    if user_id is None:
        within = resolve_domain(connection, domain_id, domain_name)
        found = by_name(connection, User, name, domain_id=within) if name is not None and within is not None else None
        user_id = None if found is None else found.id
    row = None if user_id is None else connection.execute(_USER, {"id": user_id}).first()
    if row is None:
        return None
    user, domain = _pair(row, User)
    digest = connection.execute(_DIGEST, {"id": user.id}).scalar()
    return Login(user_id=user.id, digest=digest, usable=user.enabled and domain.enabled)


def credential_login(
    connection: Connection, credential_id: str | None, owner: Login | None, name: str | None
) -> Login | None:
    """The application credential behind an id, or an owner and a name, with the digest of its secret."""
    table = t.application_credentials
    fields = [table.c[field] for field in ApplicationCredential.__struct_fields__]
    query = sa.select(*fields, table.c.secret_hash)
    if credential_id is not None:
        query = query.where(table.c.id == credential_id)
    elif owner is not None and name is not None:
        query = query.where(table.c.user_id == owner.user_id, table.c.name == name)
    else:
        return None
    row = connection.execute(query).first()
    if row is None:
        return None
    values = dict(row._mapping)
    digest = values.pop("secret_hash")
    user = connection.execute(_USER, {"id": values["user_id"]}).first()
    usable = False
    if user is not None:
        found, domain = _pair(user, User)
        usable = found.enabled and domain.enabled
    return Login(user_id=values["user_id"], digest=digest, usable=usable, credential=ApplicationCredential(**values))


def resolve_scope(
    connection: Connection,
    kind: str,
    record_id: str | None,
    name: str | None,
    domain_id: str | None,
    domain_name: str | None,
) -> Scope | None:
    """The scope a client names by id, or by name and domain; None if there is no such thing."""
    if kind == "system":
        return Scope("system", "all")
    if kind == "domain":
        found_id = resolve_domain(connection, record_id, name)
        return None if found_id is None else Scope("domain", found_id)
    if record_id is not None:
        return Scope("project", record_id)
    within = resolve_domain(connection, domain_id, domain_name)
    if within is None or name is None:
        return None
    project = by_name(connection, Project, name, domain_id=within)
    return None if project is None else Scope("project", project.id)


def revoke(connection: Connection, audit_id: str, expires_at: int, now: int) -> None:
    """Void a token until it would have ended anyway; forget the revocations that are over."""
    connection.execute(t.revoked_tokens.delete().where(t.revoked_tokens.c.expires_at < now))
    try:
        with connection.begin_nested():
            connection.execute(t.revoked_tokens.insert(), {"audit_id": audit_id, "expires_at": expires_at})
    except IntegrityError:
        return  # revoked before
