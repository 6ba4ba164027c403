"""An image service without bytes: one image to boot, and a shelf of those that are made of servers.

The shelf outlives the processes, as the database and the files of the real one do.
"""

from collections.abc import AsyncIterator

import msgspec

from kilonova.image.protocol import Image, NewImage
from kilonova.model.context import Caller
from kilonova.model.errors import NotFound
from kilonova.model.guest import ImageTicket, ImageUpload

IMAGE = "11111111-1111-4111-8111-111111111111"
_BOOTABLE = NewImage(
    id=IMAGE, name="simulated", owner="p0", visibility="public", min_disk_gb=0, min_memory_mb=0, properties={}
)


class Shelved(msgspec.Struct):
    """One image: whether its bytes are there, and whether it was deleted."""

    image: NewImage
    uploaded: bool = False
    deleted: bool = False


class Shelf:
    """All images of a world, in the order they were made."""

    def __init__(self) -> None:
        self.images: dict[str, Shelved] = {IMAGE: Shelved(image=_BOOTABLE, uploaded=True)}

    def find(self, image_id: str) -> Shelved:
        """One that is there. Raises ``NotFound``."""
        found = self.images.get(image_id)
        if found is None or found.deleted:
            raise NotFound(f"Image {image_id} could not be found.")
        return found


class ShelfImages:
    """The image service of one process."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def show(self, caller: Caller, image_id: str) -> Image:
        found = self.shelf.find(image_id)
        return Image(
            id=image_id,
            name=found.image.name,
            owner=found.image.owner,
            status="active" if found.uploaded else "queued",
            disk_format="qcow2",
            size=1,
            virtual_size=1,
            min_disk_gb=found.image.min_disk_gb,
            min_memory_mb=found.image.min_memory_mb,
            properties=found.image.properties,
        )

    async def ticket(self, image_id: str) -> ImageTicket:
        self.shelf.find(image_id)
        return ImageTicket(image_id=image_id, url="", disk_format="qcow2", size=1, virtual_size=1, sha512="")

    async def reserve(self, image: NewImage) -> None:
        self.shelf.images.setdefault(image.id, Shelved(image=image))

    async def upload_ticket(self, image_id: str) -> ImageUpload | None:
        found = self.shelf.find(image_id)
        return None if found.uploaded else ImageUpload(image_id=image_id, url="", disk_format="qcow2")

    async def uploaded(self, image_id: str) -> bool:
        found = self.shelf.images.get(image_id)
        return found is not None and found.uploaded and not found.deleted

    async def discard(self, image_id: str) -> None:
        found = self.shelf.images.get(image_id)
        if found is not None:
            found.deleted = True

    async def backups(self, server_id: str, backup_type: str) -> list[str]:
        wanted = {"image_type": "backup", "instance_uuid": server_id, "backup_type": backup_type}
        return [
            image_id
            for image_id, found in reversed(self.shelf.images.items())
            if found.uploaded and not found.deleted and wanted.items() <= found.image.properties.items()
        ]


class ShelfUploader:
    """What a host is given to upload with."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def upload(self, upload: ImageUpload, size: int, pieces: AsyncIterator[bytes]) -> None:
        found = self._shelf.find(upload.image_id)
        found.uploaded = True
