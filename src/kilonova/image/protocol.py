"""What Compute asks of an image service. The embedded one and a client of Glance both fulfil it."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from kilonova.database.images import Listing
from kilonova.model.context import Caller
from kilonova.model.guest import ImageTicket, ImageUpload
from kilonova.model.image import StoredImage


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image as Compute needs it. Sizes in bytes, but ``min_disk_gb`` and ``min_memory_mb``."""

    id: str
    name: str
    owner: str
    status: str
    disk_format: str
    size: int
    virtual_size: int
    min_disk_gb: int
    min_memory_mb: int
    properties: dict[str, str] = {}


class NewImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a compute host is going to upload: what is said of it before it has any bytes."""

    id: str
    name: str
    owner: str
    visibility: str
    min_disk_gb: int
    min_memory_mb: int
    properties: dict[str, str]
    disk_format: str = "qcow2"
    container_format: str = "bare"


class ImageService(Protocol):
    """Images to boot from, and images made of servers."""

    async def show(self, caller: Caller, image_id: str) -> Image:
        """An image the caller may see. Raises ``NotFound``."""
        ...

    async def ticket(self, image_id: str) -> ImageTicket:
        """The right to fetch it, for a compute host. Raises ``NotFound``, or ``Conflict`` while it has no data."""
        ...

    async def reserve(self, image: NewImage) -> None:
        """Make the record of an image that is to be uploaded. Nothing happens if it is there, or was and is deleted."""
        ...

    async def upload_ticket(self, image_id: str) -> ImageUpload | None:
        """The right to upload it, for a compute host; None if it has its bytes. Raises ``NotFound``."""
        ...

    async def uploaded(self, image_id: str) -> bool:
        """Whether it is there with its bytes."""
        ...

    async def discard(self, image_id: str) -> None:
        """Delete it, whoever owns it. Nothing happens if it is not there, or protected."""
        ...

    async def backups(self, server_id: str, backup_type: str) -> list[str]:
        """The backups of a server of one type that have their bytes, the newest first."""
        ...


@runtime_checkable
class ImageCatalog(Protocol):
    """What Compute's old image API passes on (up to 2.38). An image service that does not offer it has none behind Compute."""

    async def page(self, wanted: Listing) -> list[StoredImage]:
        """Images in the order and the bounds that are asked for. Raises ``Invalid`` for a marker that is none."""
        ...

    async def visible(self, caller: Caller, image_id: str) -> StoredImage:
        """One the caller may see. Raises ``NotFound``."""
        ...

    async def change_properties(
        self, caller: Caller, image_id: str, change: Callable[[dict[str, str]], dict[str, str]]
    ) -> StoredImage:
        """Replace the properties by what ``change`` makes of them. Raises ``NotFound`` or ``Forbidden``."""
        ...

    async def delete(self, caller: Caller, image_id: str) -> None:
        """Delete one with its bytes. Raises ``NotFound`` or ``Forbidden``."""
        ...
