"""Rows of ``keypairs``. They belong to a user, not to a project."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import ledger
from kilonova.database.tables import keypairs
from kilonova.model.errors import Conflict, Invalid, NotFound, QuotaExceeded
from kilonova.model.flavor import Keypair

_k = keypairs.c
_ONE = sa.select(keypairs).where(_k.user_id == sa.bindparam("of_user"), _k.name == sa.bindparam("of_name"))
_COUNT = sa.select(sa.func.count()).select_from(keypairs).where(_k.user_id == sa.bindparam("of_user"))


def find_keypair(connection: Connection, user_id: str, name: str) -> Keypair | None:
    """One key pair of a user, or None."""
    row = connection.execute(_ONE, {"of_user": user_id, "of_name": name}).first()
    return None if row is None else Keypair(**row._mapping)


def get_keypair(connection: Connection, user_id: str, name: str) -> Keypair:
    """The same; raises ``NotFound``."""
    keypair = find_keypair(connection, user_id, name)
    if keypair is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return keypair


def list_keypairs(connection: Connection, user_id: str, limit: int | None, marker: str | None) -> list[Keypair]:
    """A user's key pairs by name. Raises ``Invalid`` for a marker that is none of them."""
    query = sa.select(keypairs).where(_k.user_id == user_id).order_by(_k.name)
    if marker is not None:
        if find_keypair(connection, user_id, marker) is None:
            raise Invalid(f"marker [{marker}] not found")
        query = query.where(_k.name > marker)
    if limit is not None:
        query = query.limit(limit)
    return [Keypair(**row._mapping) for row in connection.execute(query)]


def insert_keypair(
    connection: Connection, values: dict[str, Any], project_id: str, quota_defaults: dict[str, int]
) -> None:
    """A new key pair. Raises ``QuotaExceeded``, or ``Conflict`` when the name is taken.

    The limit is the caller's project's, the count the owner's, as in Nova. Counted, not charged: two at the same
    instant may pass the limit by one, which costs nobody anything.
    """
    check_quota(connection, values["user_id"], project_id, quota_defaults)
    try:
        with connection.begin_nested():
            connection.execute(keypairs.insert(), values)
    except sa.exc.IntegrityError:
        raise Conflict(f"Key pair '{values['name']}' already exists.") from None


def check_quota(connection: Connection, user_id: str, project_id: str, quota_defaults: dict[str, int]) -> None:
    """Raise ``QuotaExceeded`` if the user may have no further key pair."""
    allowed = ledger.limits(connection, project_id, quota_defaults).get("key_pairs", -1)
    if 0 <= allowed <= int(connection.execute(_COUNT, {"of_user": user_id}).scalar_one()):
        raise QuotaExceeded("Quota exceeded, too many key pairs.")


def delete_keypair(connection: Connection, user_id: str, name: str) -> None:
    """Forget one; servers keep the copy they were made with. Raises ``NotFound``."""
    gone = connection.execute(keypairs.delete().where(_k.user_id == user_id, _k.name == name))
    if gone.rowcount != 1:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
