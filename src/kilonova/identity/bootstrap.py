"""What a new cloud's directory holds: a domain, five roles, four projects, three users, under DevStack's names.

Idempotent: what exists is left as it is, so every process may run it at every start.
"""

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import identity as queries
from kilonova.identity.service import Identity
from kilonova.model.clock import Ids
from kilonova.model.errors import Conflict
from kilonova.model.identity import Assignment, Domain, Project, Role, User

DOMAIN = "default"
ROLES = ("admin", "manager", "member", "reader", "service")
PROJECTS = {
    "admin": "The administrators' project.",
    "demo": "A project to try things in.",
    "alt_demo": "Another, to try how projects are kept apart.",
    "service": "The services' own.",
}


class Bootstrapped(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of what exists now. ``password`` is set only if it was made up now: nobody can ask for it again."""

    admin_project_id: str
    demo_project_id: str
    service_project_id: str
    admin_user_id: str
    password: str | None = None

    def __repr__(self) -> str:
        return f"Bootstrapped(admin_user_id={self.admin_user_id!r})"


async def bootstrap_identity(identity: Identity, admin_password: str | None = None) -> Bootstrapped:
    """Fill the directory. Without ``admin_password`` one is made up at the first start and returned once."""
    known = await identity.database.run(queries.by_name, User, "admin", domain_id=DOMAIN)
    password = made = digest = None
    if known is None:
        made = None if admin_password else identity.rng.randbytes(15).hex()
        password = admin_password or made
        digest = await identity.passwords.digest(password or "")
    try:
        found, created = await identity.database.run(fill, identity.ids, digest)
    except Conflict:  # another process did it at the same moment; then it is its password that counts
        found, created = await identity.database.run(fill, identity.ids, None)
    return msgspec.structs.replace(found, password=made if created else None)


def fill(connection: Connection, ids: Ids, digest: str | None) -> tuple[Bootstrapped, bool]:
    """The transaction: add what is missing. Users are only made together with the first ``admin``, whose
    password's ``digest`` is given; whether they were is the second value."""
    if queries.get(connection, Domain, DOMAIN) is None:
        queries.insert(connection, Domain(id=DOMAIN, name="Default", description="The default domain"))
    roles = {name: _role(connection, ids, name) for name in ROLES}
    projects = {name: _project(connection, ids, name, text) for name, text in PROJECTS.items()}
    admin = queries.by_name(connection, User, "admin", domain_id=DOMAIN)
    created = admin is None and digest is not None
    if created:
        _users(connection, ids, projects, roles, digest)
        admin = queries.by_name(connection, User, "admin", domain_id=DOMAIN)
    found = Bootstrapped(
        admin_project_id=projects["admin"],
        demo_project_id=projects["demo"],
        service_project_id=projects["service"],
        admin_user_id=admin.id if admin else "",
    )
    return found, created


def _users(
    connection: Connection, ids: Ids, projects: dict[str, str], roles: dict[str, str], digest: str | None
) -> None:
    admin = _user(connection, ids, "admin", projects["admin"], digest)
    demo = _user(connection, ids, "demo", projects["demo"], digest)
    other = _user(connection, ids, "alt_demo", projects["alt_demo"], digest)
    for user, kind, target, role in (
        (admin, "project", projects["admin"], "admin"),
        (admin, "project", projects["demo"], "admin"),
        (admin, "system", "all", "admin"),
        (demo, "project", projects["demo"], "member"),
        (other, "project", projects["alt_demo"], "member"),
    ):
        given = Assignment(user_id=user, target_type=kind, target_id=target, role_id=roles[role])
        queries.assign(connection, given)


def _role(connection: Connection, ids: Ids, name: str) -> str:
    found = queries.by_name(connection, Role, name)
    if found is None:
        found = Role(id=ids.hex(), name=name)
        queries.insert(connection, found)
    return found.id


def _project(connection: Connection, ids: Ids, name: str, description: str) -> str:
    found = queries.by_name(connection, Project, name, domain_id=DOMAIN)
    if found is None:
        found = Project(id=ids.hex(), domain_id=DOMAIN, name=name, description=description)
        queries.insert(connection, found)
    return found.id


def _user(connection: Connection, ids: Ids, name: str, project_id: str, digest: str | None) -> str:
    found = queries.by_name(connection, User, name, domain_id=DOMAIN)
    if found is None:
        found = User(id=ids.hex(), domain_id=DOMAIN, name=name, default_project_id=project_id)
        queries.insert(connection, found, password_hash=digest)
    return found.id
