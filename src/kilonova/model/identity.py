"""The directory's vocabulary: domains, projects, users, roles, and who has which role where.

Plain values, one for each row. Password and secret hashes are deliberately in none of them: they never leave the
two queries that compare them.
"""

from typing import Any

import msgspec


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A name space for projects and users."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What owns servers, images and ports. ``extra`` holds whatever else its creator wrote."""

    id: str
    domain_id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: list[str] = []
    extra: dict[str, Any] = {}


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Someone who can log in. ``tokens_valid_from`` (microseconds) voids every token issued before it."""

    id: str
    domain_id: str
    name: str
    enabled: bool = True
    default_project_id: str | None = None
    extra: dict[str, Any] = {}
    tokens_valid_from: int = 0


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A name that policy rules ask for."""

    id: str
    name: str
    description: str | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A user's role on a project, a domain or the system (``target_type``; ``target_id`` is ``all`` for the last)."""

    user_id: str
    target_type: str
    target_id: str
    role_id: str


class ApplicationCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A login for a program: one user, one project, some of the user's roles (ids), perhaps an end."""

    id: str
    user_id: str
    project_id: str
    name: str
    description: str | None = None
    roles: list[str] = []
    unrestricted: bool = False
    expires_at: int | None = None


class Scope(msgspec.Struct, frozen=True, array_like=True):
    """What a token is for. ``kind`` is ``project``, ``domain``, ``system`` or empty (unscoped)."""

    kind: str = ""
    id: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known now of a user within a scope: read fresh, so that a token's body and its validity agree.

    ``roles`` are the assigned ones and ``implied`` what policy adds to them. ``project`` and ``domain`` are set by
    the scope's kind; ``scope_domain`` is the project's domain.
    """

    user: User
    user_domain: Domain
    project: Project | None = None
    scope_domain: Domain | None = None
    domain: Domain | None = None
    roles: tuple[Role, ...] = ()
    implied: tuple[Role, ...] = ()
    revoked: bool = False
    credential: ApplicationCredential | None = None

    @property
    def all_roles(self) -> tuple[Role, ...]:
        """Assigned and implied roles."""
        return self.roles + self.implied
