"""What Compute asks of an image service. The embedded one and a client of Glance both fulfil it."""

from typing import Protocol

import msgspec

from kilonova.model.context import Caller
from kilonova.model.guest import ImageTicket


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


class ImageService(Protocol):
    """Images to boot from."""

    async def show(self, caller: Caller, image_id: str) -> Image:
        """An image the caller may see. Raises ``NotFound``."""
        ...

    async def ticket(self, image_id: str) -> ImageTicket:
        """The right to fetch it, for a compute host. Raises ``NotFound``, or ``Conflict`` while it has no data."""
        ...
