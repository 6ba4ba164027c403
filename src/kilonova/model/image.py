"""An image as the embedded image service stores it."""

import msgspec


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Sizes in bytes but ``min_disk_gb`` and ``min_memory_mb``; moments in microseconds.

    ``status`` is Glance's: queued, saving, active, deactivated, killed. ``upload_id`` names the upload whose bytes
    count: it is part of the data file's name and the fence of whoever writes it.
    """

    id: str
    name: str | None
    owner: str
    status: str = "queued"
    visibility: str = "shared"
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    sha512: str | None = None
    upload_id: str | None = None
    min_disk_gb: int = 0
    min_memory_mb: int = 0
    protected: bool = False
    hidden: bool = False
    tags: list[str] = []
    properties: dict[str, str] = {}
    created_at: int
    updated_at: int


class ImageMember(msgspec.Struct, frozen=True, kw_only=True):
    """A project that a shared image is shared with. ``status``: ``pending``, ``accepted`` or ``rejected``."""

    image_id: str
    member_id: str
    status: str = "pending"
    created_at: int
    updated_at: int
