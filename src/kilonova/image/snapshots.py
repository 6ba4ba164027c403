"""Images that are made of servers: their records come from Compute, their bytes from compute hosts with a ticket.

The functions here are what ``EmbeddedImages`` does for ``ImageService``; each may be repeated.
"""

from kilonova.database import images as queries
from kilonova.database.connection import Database
from kilonova.image.protocol import NewImage
from kilonova.model.clock import Clock
from kilonova.model.errors import Conflict
from kilonova.model.image import StoredImage

_MOST_BACKUPS = 1000


async def reserve(database: Database, clock: Clock, image: NewImage) -> None:
    """Insert the record, unless the id is or was in use."""
    if await database.run(queries.ever_existed, image.id):
        return
    now = clock.now()
    stored = StoredImage(
        id=image.id,
        name=image.name,
        owner=image.owner,
        visibility=image.visibility,
        disk_format=image.disk_format,
        container_format=image.container_format,
        min_disk_gb=image.min_disk_gb,
        min_memory_mb=image.min_memory_mb,
        properties=image.properties,
        created_at=now,
        updated_at=now,
    )
    try:
        await database.run(queries.insert, stored)
    except Conflict:
        return  # somebody else has just made the same record


async def backups(database: Database, server_id: str, backup_type: str) -> list[str]:
    """Ids of a server's backups of one type, the newest first."""
    wanted = queries.Listing(
        project_id=None,
        everything=True,
        visibility="all",
        equal={"status": "active"},
        properties={"image_type": "backup", "instance_uuid": server_id, "backup_type": backup_type},
        sort=[("created_at", True)],
        limit=_MOST_BACKUPS,
    )
    return [image.id for image in await database.run(queries.find, wanted) or []]
