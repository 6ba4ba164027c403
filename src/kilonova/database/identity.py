"""Queries of the directory: domains, projects, users, roles, assignments, application credentials, revocations.

Each function runs inside a transaction (``database/connection.py``) and returns values of ``model/identity.py``. A
name that is taken raises ``Conflict``; what is not there is None or False.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database import tables as t
from kilonova.model.errors import Conflict
from kilonova.model.identity import ApplicationCredential, Assignment, Domain, Project, Role, User

Record = Domain | Project | User | Role | ApplicationCredential
R = TypeVar("R", Domain, Project, User, Role, ApplicationCredential)

_TABLES: dict[type, sa.Table] = {
    Domain: t.domains,
    Project: t.projects,
    User: t.users,
    Role: t.roles,
    ApplicationCredential: t.application_credentials,
}
NOUNS: dict[type, str] = {
    Domain: "domain",
    Project: "project",
    User: "user",
    Role: "role",
    ApplicationCredential: "application credential",
}


def _columns(kind: type[Record]) -> list[sa.Column[Any]]:
    table = _TABLES[kind]
    return [table.c[field] for field in kind.__struct_fields__]


def _one(kind: type[R], row: sa.Row[Any] | None) -> R | None:
    return None if row is None else kind(**row._mapping)


_BY_ID = {kind: sa.select(*_columns(kind)).where(table.c.id == sa.bindparam("id")) for kind, table in _TABLES.items()}


def get(connection: Connection, kind: type[R], record_id: str, *, lock: bool = False) -> R | None:
    """The record with that id; with ``lock`` nobody else changes it until this transaction ends."""
    query = _BY_ID[kind].with_for_update() if lock else _BY_ID[kind]
    return _one(kind, connection.execute(query, {"id": record_id}).first())


def find(
    connection: Connection,
    kind: type[R],
    filters: Mapping[str, object],
    *,
    limit: int = 1000,
    marker: str | None = None,
    tagged: Sequence[tuple[str, Sequence[str]]] = (),
) -> list[R]:
    """Records whose columns equal ``filters`` (a collection: any of them), by id, after ``marker``, bounded.

    ``tagged``: projects by their tags, in the ways of the API's ``tags``, ``tags-any``, ``not-tags`` and ``not-tags-any``.
    """
    table = _TABLES[kind]
    query = sa.select(*_columns(kind)).order_by(table.c.id).limit(limit)
    for name, value in filters.items():
        column = table.c[name]
        query = query.where(column.in_(value) if isinstance(value, list | tuple | set) else column == value)
    for how, tags in tagged:
        query = query.where(_bears(table.c.tags, how, tags))
    if marker is not None:
        query = query.where(table.c.id > marker)
    return [kind(**row._mapping) for row in connection.execute(query)]


def _bears(column: sa.Column[Any], how: str, tags: Sequence[str]) -> sa.ColumnElement[bool]:
    """Tags are kept as a JSON list: one is there with its quotes."""
    there = [sa.cast(column, sa.Text).contains(msgspec.json.encode(tag).decode(), autoescape=True) for tag in tags]
    clause = sa.or_(sa.false(), *there) if how.endswith("any") else sa.and_(sa.true(), *there)
    return sa.not_(clause) if how.startswith("not") else clause


def by_name(connection: Connection, kind: type[R], name: str, **within: str) -> R | None:
    """The one record of that name (within a domain, for users and projects)."""
    found = find(connection, kind, {"name": name, **within}, limit=1)
    return found[0] if found else None


def insert(connection: Connection, record: Record, /, **hidden: str | None) -> None:
    """Add a record; ``hidden`` are the columns no record shows (hashes)."""
    values = {**msgspec.structs.asdict(record), **hidden}
    try:
        connection.execute(_TABLES[type(record)].insert(), values)
    except IntegrityError:
        raise Conflict(f"There is already a {NOUNS[type(record)]} with this name or id.") from None


def update(connection: Connection, kind: type[R], record_id: str, changes: Mapping[str, object]) -> R | None:
    """Change columns of a record; the record as it is afterwards."""
    table = _TABLES[kind]
    if changes:
        try:
            connection.execute(table.update().where(table.c.id == record_id).values(**changes))
        except IntegrityError:
            raise Conflict(f"There is already a {NOUNS[kind]} with this name.") from None
    return get(connection, kind, record_id)


def set_password(connection: Connection, user_id: str, proven: str | None, digest: str, now: int) -> bool:
    """A user's new password, which ends their tokens; False if the one they have proven, by its digest, is theirs no more."""
    own = (t.users.c.id == user_id, t.users.c.password_hash == proven)
    changed = t.users.update().where(*own).values(password_hash=digest, tokens_valid_from=now)
    return connection.execute(changed).rowcount == 1


def delete_user(connection: Connection, user_id: str) -> bool:
    """Remove a user with all that only existed through it."""
    _delete(connection, t.role_assignments, user_id=user_id)
    _delete(connection, t.application_credentials, user_id=user_id)
    return _delete(connection, t.users, id=user_id)


def delete_project(connection: Connection, project_id: str) -> bool:
    """Remove a project, its assignments and application credentials."""
    _delete(connection, t.role_assignments, target_type="project", target_id=project_id)
    _delete(connection, t.application_credentials, project_id=project_id)
    return _delete(connection, t.projects, id=project_id)


def delete_domain(connection: Connection, domain_id: str) -> bool:
    """Remove a domain, its projects and its users."""
    for user in connection.execute(sa.select(t.users.c.id).where(t.users.c.domain_id == domain_id)).scalars().all():
        delete_user(connection, user)
    mine = t.projects.c.domain_id == domain_id
    for project in connection.execute(sa.select(t.projects.c.id).where(mine)).scalars().all():
        delete_project(connection, project)
    _delete(connection, t.role_assignments, target_type="domain", target_id=domain_id)
    return _delete(connection, t.domains, id=domain_id)


def delete_role(connection: Connection, role_id: str) -> bool:
    """Remove a role from the directory and from everyone who has it."""
    _delete(connection, t.role_assignments, role_id=role_id)
    return _delete(connection, t.roles, id=role_id)


def delete_credential(connection: Connection, user_id: str, credential_id: str) -> bool:
    """Remove an application credential of that user."""
    return _delete(connection, t.application_credentials, id=credential_id, user_id=user_id)


def _delete(connection: Connection, table: sa.Table, **where: str) -> bool:
    conditions = [table.c[name] == value for name, value in where.items()]
    return connection.execute(table.delete().where(*conditions)).rowcount > 0


# --- role assignments --------------------------------------------------------------------------------------


def assign(connection: Connection, assignment: Assignment) -> None:
    """Give the role; nothing happens if the user has it."""
    if not assignments(connection, msgspec.structs.asdict(assignment)):
        try:
            with connection.begin_nested():
                connection.execute(t.role_assignments.insert(), msgspec.structs.asdict(assignment))
        except IntegrityError:
            return  # given at the same moment by someone else


def unassign(connection: Connection, assignment: Assignment) -> bool:
    """Take the role away; False if the user did not have it."""
    return _delete(connection, t.role_assignments, **msgspec.structs.asdict(assignment))


def assignments(connection: Connection, filters: Mapping[str, str], limit: int = 10_000) -> list[Assignment]:
    """Assignments whose columns equal ``filters``, bounded."""
    c = t.role_assignments.c
    query = sa.select(c.user_id, c.target_type, c.target_id, c.role_id).limit(limit)
    query = query.where(*(c[name] == value for name, value in filters.items()))
    query = query.order_by(c.user_id, c.target_type, c.target_id, c.role_id)
    return [Assignment(**row._mapping) for row in connection.execute(query)]


def projects_of(connection: Connection, user_id: str) -> list[Project]:
    """Enabled projects the user has a role on."""
    roles = t.role_assignments
    mine = sa.select(roles.c.target_id).where(roles.c.user_id == user_id, roles.c.target_type == "project")
    query = sa.select(*_columns(Project)).where(t.projects.c.id.in_(mine), t.projects.c.enabled.is_(True))
    return [Project(**row._mapping) for row in connection.execute(query.order_by(t.projects.c.id).limit(1000))]
