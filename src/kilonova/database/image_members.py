"""Queries on which projects a shared image is shared with."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database.tables import image_members
from kilonova.model.errors import Conflict
from kilonova.model.image import ImageMember

_m = image_members.c
_COLUMNS = [_m[field] for field in ImageMember.__struct_fields__]


def members_of(connection: Connection, image_id: str) -> list[ImageMember]:
    """All members of an image, in the order they were added."""
    query = sa.select(*_COLUMNS).where(_m.image_id == image_id).order_by(_m.created_at, _m.member_id).limit(1000)
    return [ImageMember(**row._mapping) for row in connection.execute(query)]


def get(connection: Connection, image_id: str, member_id: str) -> ImageMember | None:
    """One member."""
    row = connection.execute(sa.select(*_COLUMNS).where(_m.image_id == image_id, _m.member_id == member_id)).first()
    return None if row is None else ImageMember(**row._mapping)


def add(connection: Connection, member: ImageMember) -> None:
    """Share an image with a project. Raises ``Conflict`` if it is."""
    try:
        connection.execute(image_members.insert(), msgspec.structs.asdict(member))
    except IntegrityError:
        raise Conflict(f"{member.member_id} is already a member of image {member.image_id}.") from None


def answer(connection: Connection, image_id: str, member_id: str, status: str, now: int) -> ImageMember | None:
    """What the member says to it; the member as it is then, None if there is none."""
    where = (_m.image_id == image_id, _m.member_id == member_id)
    connection.execute(image_members.update().where(*where).values(status=status, updated_at=now))
    return get(connection, image_id, member_id)


def remove(connection: Connection, image_id: str, member_id: str | None = None) -> bool:
    """Share an image no more with one project, or with none at all. False if it was not."""
    query = image_members.delete().where(_m.image_id == image_id)
    if member_id is not None:
        query = query.where(_m.member_id == member_id)
    return connection.execute(query).rowcount > 0


def shared_with(project_id: str, statuses: Sequence[str]) -> sa.Select[tuple[str]]:
    """The ids of images that are shared with a project, where it has answered so."""
    return sa.select(_m.image_id).where(_m.member_id == project_id, _m.status.in_(list(statuses)))
