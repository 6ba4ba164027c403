"""Queries of the image service. Functions of a transaction; they return ``StoredImage``.

An upload owns its image while ``upload_id`` is its own: every later step asks for that again, so that whoever was
overtaken (paused for minutes, taken for dead) changes nothing any more.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from kilonova.database import image_members
from kilonova.database.tables import images
from kilonova.model.errors import Conflict
from kilonova.model.image import StoredImage

c = images.c
_COLUMNS = [c[field] for field in StoredImage.__struct_fields__]
_GET = sa.select(*_COLUMNS).where(c.id == sa.bindparam("image_id"), c.deleted_at.is_(None))
_MINE = sa.and_(
    c.id == sa.bindparam("image_id"),
    c.status == "saving",
    c.upload_id == sa.bindparam("upload"),
    c.deleted_at.is_(None),
)

SORT_KEYS: Mapping[str, sa.ColumnElement[Any]] = {
    "name": sa.func.coalesce(c.name, ""),
    "status": c.status,
    "size": sa.func.coalesce(c.size, -1),
    "created_at": c.created_at,
    "updated_at": c.updated_at,
    "id": c.id,
    "disk_format": sa.func.coalesce(c.disk_format, ""),
    "container_format": sa.func.coalesce(c.container_format, ""),
}


def get(connection: Connection, image_id: str) -> StoredImage | None:
    """The image, unless it was deleted."""
    row = connection.execute(_GET, {"image_id": image_id}).first()
    return None if row is None else StoredImage(**row._mapping)


def ever_existed(connection: Connection, image_id: str) -> bool:
    """Whether the id is or was an image's."""
    return connection.execute(sa.select(c.seq).where(c.id == image_id)).first() is not None


def insert(connection: Connection, image: StoredImage) -> None:
    """Add an image. Raises ``Conflict`` if the id was ever used."""
    try:
        connection.execute(images.insert(), msgspec.structs.asdict(image))
    except IntegrityError:
        raise Conflict(f"Image ID {image.id} already exists!") from None


def change(
    connection: Connection, image_id: str, edit: Callable[[StoredImage], StoredImage], now: int
) -> StoredImage | None:
    """Read, ``edit``, write: one step, nobody in between. None if there is no such image."""
    row = connection.execute(_GET.with_for_update(), {"image_id": image_id}).first()
    if row is None:
        return None
    before = StoredImage(**row._mapping)
    after = msgspec.structs.replace(edit(before), updated_at=now)
    fields = {
        field: getattr(after, field)
        for field in StoredImage.__struct_fields__
        if getattr(after, field) != getattr(before, field)
    }
    if fields:
        connection.execute(images.update().where(c.id == image_id).values(**fields))
    return after


def delete(connection: Connection, image_id: str, now: int) -> StoredImage | None:
    """Mark it deleted; the row stays so that the id is never used again. The image as it was then: an upload may have ended
    since anybody looked, and its bytes go as well. None if there is none, or it is protected."""
    row = connection.execute(_GET.with_for_update(), {"image_id": image_id}).first()
    if row is None or row.protected:
        return None
    gone = images.update().where(c.id == image_id).values(status="deleted", deleted_at=now, updated_at=now)
    connection.execute(gone)
    image_members.remove(connection, image_id)
    return StoredImage(**row._mapping)


# --- uploads -----------------------------------------------------------------------------------------------

_CLAIM = (
    images.update()
    .where(
        c.id == sa.bindparam("image_id"),
        c.deleted_at.is_(None),
        sa.or_(c.status == "queued", sa.and_(c.status == "saving", c.updated_at < sa.bindparam("stale"))),
    )
    .values(status="saving", upload_id=sa.bindparam("upload"), updated_at=sa.bindparam("now"))
)
_TOUCH = images.update().where(_MINE).values(updated_at=sa.bindparam("now"))


def claim_upload(connection: Connection, image_id: str, upload_id: str, now: int, stale: int) -> bool:
    """Begin an upload; False if the image has data or another upload that moved since ``stale``."""
    values = {"image_id": image_id, "upload": upload_id, "now": now, "stale": stale}
    return connection.execute(_CLAIM, values).rowcount > 0


def touch_upload(connection: Connection, image_id: str, upload_id: str, now: int) -> bool:
    """Say that it goes on; False if it is nobody's business any more."""
    return connection.execute(_TOUCH, {"image_id": image_id, "upload": upload_id, "now": now}).rowcount > 0


def finish_upload(connection: Connection, image_id: str, upload_id: str, values: Mapping[str, object]) -> bool:
    """The bytes are there: make it active with their size and digests; False as above."""
    query = images.update().where(_MINE).values(status="active", **values)
    return connection.execute(query, {"image_id": image_id, "upload": upload_id}).rowcount > 0


def abandon_upload(connection: Connection, image_id: str, upload_id: str, now: int, status: str) -> bool:
    """The bytes are not there: back to ``queued``, or ``killed`` if they never can be."""
    query = images.update().where(_MINE).values(status=status, upload_id=None, updated_at=now)
    return connection.execute(query, {"image_id": image_id, "upload": upload_id}).rowcount > 0


def uploads_of(connection: Connection, image_ids: Sequence[str]) -> dict[str, tuple[str | None, str, int]]:
    """Upload id, status and last change of the images that exist among ``image_ids``."""
    query = sa.select(c.id, c.upload_id, c.status, c.updated_at).where(c.id.in_(image_ids), c.deleted_at.is_(None))
    return {row.id: (row.upload_id, row.status, row.updated_at) for row in connection.execute(query)}


# --- lists -------------------------------------------------------------------------------------------------


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. ``project_id`` None with ``everything``: an administrator's view. ``sort`` pairs a key of
    ``SORT_KEYS`` with whether it descends; ties are broken by age, newest first."""

    project_id: str | None
    everything: bool = False
    visibility: str | None = None
    equal: dict[str, object] = {}
    member_statuses: tuple[str, ...] = ("accepted",)
    tags: list[str] = []
    properties: dict[str, str] = {}
    changed_since: int | None = None
    size_min: int | None = None
    size_max: int | None = None
    sort: list[tuple[str, bool]] = []
    marker: str | None = None
    limit: int = 25


def find(connection: Connection, listing: Listing) -> list[StoredImage] | None:
    """A page of images; None if the marker is unknown."""
    query = sa.select(*_COLUMNS).where(c.deleted_at.is_(None), *_visible(listing))
    for name, value in listing.equal.items():
        query = query.where(c[name].in_(value) if isinstance(value, list) else c[name] == value)
    for tag in listing.tags:
        query = query.where(_contains(connection, c.tags, msgspec.json.encode(tag).decode()))
    for name, value in listing.properties.items():
        text = f"{msgspec.json.encode(name).decode()}:{msgspec.json.encode(value).decode()}"
        query = query.where(_contains(connection, c.properties, text))
    if listing.changed_since is not None:
        query = query.where(c.updated_at >= listing.changed_since)
    if listing.size_min is not None:
        query = query.where(c.size >= listing.size_min)
    if listing.size_max is not None:
        query = query.where(c.size <= listing.size_max)
    keys = [(SORT_KEYS[name], falls) for name, falls in listing.sort] + [(c.seq, True)]
    if listing.marker is not None:
        at = connection.execute(
            sa.select(*(key for key, _ in keys)).where(c.id == listing.marker, c.deleted_at.is_(None))
        ).first()
        if at is None:
            return None
        query = query.where(_after(keys, tuple(at)))
    query = query.order_by(*(key.desc() if falls else key.asc() for key, falls in keys)).limit(listing.limit)
    return [StoredImage(**row._mapping) for row in connection.execute(query)]


def _visible(listing: Listing) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if listing.visibility is not None and listing.visibility != "all":
        conditions.append(c.visibility == listing.visibility)
    if not listing.everything:
        open_to_all = ["public"] if listing.visibility is None else ["public", "community"]
        shared = image_members.shared_with(listing.project_id or "", listing.member_statuses)
        conditions.append(
            sa.or_(
                c.visibility.in_(open_to_all),
                c.owner == (listing.project_id or ""),
                sa.and_(c.visibility == "shared", c.id.in_(shared)),
            )
        )
    return conditions


def _contains(connection: Connection, column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """Whether the JSON text holds ``text``: byte for byte, which LIKE is not on SQLite."""
    find_in = sa.func.strpos if connection.dialect.name == "postgresql" else sa.func.instr
    found: sa.ColumnElement[bool] = find_in(sa.type_coerce(column, sa.Text()), text) > 0
    return found


def _after(keys: Sequence[tuple[sa.ColumnElement[Any], bool]], values: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    """Rows that come after ``values`` in the order of ``keys``."""
    steps = []
    for at, (key, falls) in enumerate(keys):
        equal = [keys[i][0] == values[i] for i in range(at)]
        steps.append(sa.and_(*equal, key < values[at] if falls else key > values[at]))
    return sa.or_(*steps)
