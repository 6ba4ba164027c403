"""The images that are made of servers: there with their bytes, or their records go; old backups go after new ones.

The image of a shelved server goes when the server is made of it again, or is deleted.
"""

from typing import Any

import msgspec
import structlog

from kilonova.database import actions, servers
from kilonova.database.connection import Database
from kilonova.image.protocol import ImageService, NewImage
from kilonova.model.action import Action
from kilonova.model.errors import KilonovaError, Unavailable

log = structlog.get_logger()

_SILENT = "The compute host did not say why the image was not uploaded; see the timeline, and try again."


class Snapshots:
    """Looks after the images that actions were to make."""

    def __init__(self, database: Database, images: ImageService) -> None:
        self._database = database
        self._images = images

    async def settle(self, action: Action) -> dict[str, Any]:
        """The step. Raises what the host said went wrong."""
        image = msgspec.convert(action.input["image"], NewImage)
        if not await self._images.uploaded(image.id):
            await self._forget(image)
            failure = action.work.get("failure", {})
            raise KilonovaError(failure.get("message") or _SILENT, details=failure.get("details", ""))
        if "rotation" in action.input:
            await self._rotate(action)
        return {}

    async def _rotate(self, action: Action) -> None:
        """Only so many backups of one type stay; with none at all, the new one goes as well."""
        kept = await self._images.backups(action.server_id, action.input["backup_type"])
        for image_id in kept[action.input["rotation"] :]:
            await self._images.discard(image_id)

    async def _forget(self, image: NewImage) -> None:
        """Delete its record. Made first if it is not there: its id is used then, and nobody who is late makes it any more."""
        await self._images.reserve(image)
        await self._images.discard(image.id)

    async def forget(self, action: Action) -> dict[str, Any]:
        """The step ``forget_image``: what a shelved server was made of again is not needed any more."""
        if image_id := action.work.get("image_id"):
            await self._images.discard(image_id)
        return {}

    async def forget_shelved(self, server_id: str) -> None:
        """The same, of a server that is over."""
        server = await self._database.run(servers.find, server_id)
        if server is not None and server.shelved_image_id:
            await self._images.discard(server.shelved_image_id)

    async def clear(self, server_id: str) -> None:
        """Delete the records of images that were to be made of a server, and have no bytes as their actions were ended."""
        for record in await self._database.run(actions.images_not_made, server_id):
            image = msgspec.convert(record, NewImage)
            try:
                if not await self._images.uploaded(image.id):
                    await self._forget(image)
            except Unavailable:
                raise
            except KilonovaError as error:
                log.warning("image without data left", image=image.id, server=server_id, error=error.message)
