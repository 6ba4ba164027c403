"""The embedded image service: images as rows, their bytes as files of this machine.

Owns an image from its creation to its deletion. An upload claims the image, streams to a part file, is inspected,
and only then becomes visible; whatever goes wrong, the image is as it was before (or ``killed`` if its content can
never be accepted) and no bytes stay. An uploader that dies is replaced once it was silent for ``upload_silence``.

Reference: Image service API v2.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from uuid import UUID, uuid5

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import image_members
from kilonova.database import images as queries
from kilonova.database.connection import Database
from kilonova.database.secrets import shared_secret
from kilonova.image import snapshots
from kilonova.image.inspect import Inspection, inspect
from kilonova.image.protocol import Image, NewImage
from kilonova.image.store import ImageStore, Received
from kilonova.image.tickets import Tickets, upload_of
from kilonova.model.clock import Clock, Ids, Random
from kilonova.model.context import Caller
from kilonova.model.errors import Conflict, Forbidden, Gone, Invalid, NotFound, TooLarge
from kilonova.model.guest import ImageTicket, ImageUpload
from kilonova.model.image import StoredImage

MICROS = 1_000_000
REMEMBERED = 256  # images whose rows are remembered for tickets
REMEMBERED_SECONDS = 5.0
_REGISTERED = UUID("5a0e9a3d-7f0c-5f0e-8c49-0a3c1a8a6d11")

__all__ = ["EmbeddedImages", "ImageSettings", "open_images"]


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``directory`` is ``<state_dir>/images``; ``internal_url`` is how compute hosts reach this deployment (scheme,
    host and port). Seconds and bytes; ``reserve_bytes`` of the disk are never given to images."""

    directory: Path
    internal_url: str
    mount: str = "/image"
    ticket_seconds: int = 3600
    max_image_bytes: int = 1 << 40
    reserve_bytes: int = 256 << 20
    upload_silence: float = 120.0
    upload_touch: float = 10.0
    threads: int = 2
    max_limit: int = 1000


class EmbeddedImages:
    """The service. It is compute's ``ImageService`` and what the HTTP handlers work with."""

    def __init__(
        self,
        database: Database,
        store: ImageStore,
        tickets: Tickets,
        *,
        clock: Clock,
        ids: Ids,
        settings: ImageSettings,
    ) -> None:
        self.database = database
        self.store = store
        self.tickets = tickets
        self.clock = clock
        self.ids = ids
        self.settings = settings
        self._bootable: dict[str, tuple[float, StoredImage]] = {}

    # --- what compute asks -----------------------------------------------------------------------------

    async def show(self, caller: Caller, image_id: str) -> Image:
        """An image the caller may see. Raises ``NotFound``."""
        found = await self.visible(caller, image_id)
        return Image(
            id=found.id,
            name=found.name or "",
            owner=found.owner,
            status=found.status,
            disk_format=found.disk_format or "",
            size=found.size or 0,
            virtual_size=found.virtual_size or 0,
            min_disk_gb=found.min_disk_gb,
            min_memory_mb=found.min_memory_mb,
            properties=found.properties,
        )

    async def ticket(self, image_id: str) -> ImageTicket:
        """The right to fetch it for a while. Raises ``NotFound``, or ``Conflict`` while it has no data to boot."""
        found = await self._bootable_image(image_id)
        ends_at = self.clock.now() // MICROS + self.settings.ticket_seconds
        base = f"{self.settings.internal_url}{self.settings.mount}/v2/images/{found.id}/file"
        return ImageTicket(
            image_id=found.id,
            url=f"{base}?ticket={self.tickets.sign(found.id, ends_at)}",
            disk_format=found.disk_format or "",
            size=found.size or 0,
            virtual_size=found.virtual_size or found.size or 0,
            sha512=found.sha512 or "",
        )

    async def _bootable_image(self, image_id: str) -> StoredImage:
        """An image with data. Data never changes, so a burst of builds reads the row once; if the image was deleted
        meanwhile, the download is what fails."""
        now = self.clock.monotonic()
        fresh_until, known = self._bootable.get(image_id, (now, None))
        if known is not None and now < fresh_until:
            return known
        found = await self.require(image_id)
        if found.status != "active" or found.size is None or found.disk_format is None:
            raise Conflict(f"Image {image_id} has no data to boot from; its status is {found.status}.")
        if len(self._bootable) >= REMEMBERED:
            self._bootable.clear()
        self._bootable[image_id] = (now + REMEMBERED_SECONDS, found)
        return found

    async def reserve(self, image: NewImage) -> None:
        """Make the record of an image that a compute host is going to upload."""
        await snapshots.reserve(self.database, self.clock, image)

    async def upload_ticket(self, image_id: str) -> ImageUpload | None:
        """The right to upload it for a while; None if it has its bytes. Raises ``NotFound``."""
        found = await self.require(image_id)
        if found.status == "active":
            return None
        ends_at = self.clock.now() // MICROS + self.settings.ticket_seconds
        base = f"{self.settings.internal_url}{self.settings.mount}/v2/images/{found.id}/file"
        ticket = self.tickets.sign(upload_of(found.id), ends_at)
        return ImageUpload(image_id=found.id, url=f"{base}?ticket={ticket}", disk_format=found.disk_format or "qcow2")

    async def uploaded(self, image_id: str) -> bool:
        """Whether it is there with its bytes."""
        found = await self.database.run(queries.get, image_id)
        return found is not None and found.status == "active"

    async def discard(self, image_id: str) -> None:
        """Delete it, whoever owns it."""
        gone = await self.database.run(queries.delete, image_id, self.clock.now())
        if gone is not None:
            await self._remove_bytes(gone)

    async def backups(self, server_id: str, backup_type: str) -> list[str]:
        """The backups of a server of one type, the newest first."""
        return await snapshots.backups(self.database, server_id, backup_type)

    # --- finding ---------------------------------------------------------------------------------------

    async def require(self, image_id: str) -> StoredImage:
        """The image, whoever asks. Raises ``NotFound``."""
        found = await self.database.run(queries.get, image_id)
        if found is None:
            raise _missing(image_id)
        return found

    async def visible(self, caller: Caller, image_id: str) -> StoredImage:
        """The image if the caller may see it: public, community, his project's or shared with it. Raises ``NotFound``."""
        found = await self.require(image_id)
        if may_see(caller, found) or await self._is_member(caller, found):
            return found
        raise _missing(image_id)

    async def _is_member(self, caller: Caller, image: StoredImage) -> bool:
        if image.visibility != "shared" or caller.project_id is None:
            return False
        return await self.database.run(image_members.get, image.id, caller.project_id) is not None

    async def own(self, caller: Caller, image_id: str) -> StoredImage:
        """The image if the caller may change it. Raises ``NotFound``, or ``Forbidden`` if he may only see it."""
        found = await self.visible(caller, image_id)
        if not caller.is_admin and found.owner != caller.project_id:
            raise Forbidden("You are not permitted to modify this image.")
        return found

    # --- what Compute's old image API passes on --------------------------------------------------------

    async def page(self, wanted: queries.Listing) -> list[StoredImage]:
        """Images in the order and the bounds that are asked for. Raises ``Invalid`` for a marker that is none."""
        found = await self.database.run(queries.find, wanted)
        if found is None:
            raise Invalid("The marker is not an image.")
        return found

    async def change_properties(
        self, caller: Caller, image_id: str, change: Callable[[dict[str, str]], dict[str, str]]
    ) -> StoredImage:
        """Replace the properties by what ``change`` makes of them. Raises ``NotFound`` or ``Forbidden``."""
        await self.own(caller, image_id)

        def edit(image: StoredImage) -> StoredImage:
            return msgspec.structs.replace(image, properties=change(image.properties))

        changed = await self.database.run(queries.change, image_id, edit, self.clock.now())
        if changed is None:
            raise _missing(image_id)
        return changed

    # --- uploads ---------------------------------------------------------------------------------------

    async def upload(
        self, caller: Caller, image_id: str, chunks: AsyncIterator[bytes], declared_size: int | None
    ) -> None:
        """Take the bytes of an image.

        Raises ``Conflict`` unless it waits for them, ``Invalid`` if they are not what they were declared to be,
        ``TooLarge`` for more than the limit or the disk bears.
        """
        await self._receive(await self.own(caller, image_id), chunks, declared_size, self.settings.upload_silence)

    async def upload_by_ticket(self, image_id: str, chunks: AsyncIterator[bytes], declared_size: int | None) -> None:
        """The same for a compute host. Its ticket was given to it alone, so an upload that is under way is an earlier try."""
        await self._receive(await self.require(image_id), chunks, declared_size, 0.0)

    async def _receive(
        self, image: StoredImage, chunks: AsyncIterator[bytes], declared_size: int | None, silence: float
    ) -> None:
        image_id = image.id
        if image.disk_format is None or image.container_format is None:
            raise Invalid("disk_format and container_format must be set before the data is uploaded.")
        await self._has_room(declared_size)
        upload_id = self.ids.hex()
        now = self.clock.now()
        stale = now - int(silence * MICROS)
        if not await self.database.run(queries.claim_upload, image_id, upload_id, now, stale):
            raise Conflict(f"Image status transition from {image.status} to saving is not allowed.")
        ending = "queued"
        try:
            received = await self.store.receive(image_id, upload_id, chunks, self._toucher(image_id, upload_id))
            try:
                inspection = inspect(received.header, received.tail, received.size, image.disk_format)
            except Invalid:
                ending = "killed" if received.size else "queued"
                raise
            await self._still_mine(image_id, upload_id)
            await self.store.publish(image_id, upload_id)
            await self._finish(image_id, upload_id, received, inspection)
        except BaseException:
            await self._give_up(image_id, upload_id, ending)
            raise

    async def _give_up(self, image_id: str, upload_id: str, ending: str) -> None:
        """Leave nothing behind; but if a lost connection hid that the upload did succeed, leave it."""
        await self.database.run(queries.abandon_upload, image_id, upload_id, self.clock.now(), ending)
        current = await self.database.run(queries.get, image_id)
        if current is None or current.upload_id != upload_id:
            await self.store.remove(image_id, upload_id)

    async def _has_room(self, declared_size: int | None) -> None:
        if declared_size is None:
            return
        if declared_size > self.settings.max_image_bytes:
            raise TooLarge(f"Images may have at most {self.settings.max_image_bytes} bytes here.")
        if declared_size + self.settings.reserve_bytes > await self.store.free_bytes():
            raise TooLarge("There is not enough disk space on the image storage media.")

    def _toucher(self, image_id: str, upload_id: str) -> "_Toucher":
        return _Toucher(self, image_id, upload_id)

    async def _still_mine(self, image_id: str, upload_id: str) -> None:
        if not await self.database.run(queries.touch_upload, image_id, upload_id, self.clock.now()):
            raise Gone("The image was deleted, or uploaded by someone else, meanwhile.")

    async def _finish(self, image_id: str, upload_id: str, received: Received, inspection: Inspection) -> None:
        values = {**_facts(received, inspection), "updated_at": self.clock.now()}
        if not await self.database.run(queries.finish_upload, image_id, upload_id, values):
            raise Gone("The image was deleted, or uploaded by someone else, meanwhile.")

    async def register_file(
        self,
        path: Path,
        name: str,
        *,
        owner: str,
        disk_format: str = "qcow2",
        visibility: str = "public",
        properties: Mapping[str, str] | None = None,
        min_disk_gb: int = 0,
        min_memory_mb: int = 0,
    ) -> str:
        """Add an image from a file of this machine, without HTTP; the image's id.

        Idempotent by owner and name, also across processes: the id is derived from them. One that an administrator
        deleted stays deleted. Raises ``Invalid`` for a file that an upload would refuse as well.
        """
        now = self.clock.now()
        image = StoredImage(
            id=str(uuid5(_REGISTERED, f"{owner}/{name}")),
            name=name,
            owner=owner,
            visibility=visibility,
            disk_format=disk_format,
            container_format="bare",
            min_disk_gb=min_disk_gb,
            min_memory_mb=min_memory_mb,
            properties=dict(properties or {}),
            created_at=now,
            updated_at=now,
        )
        upload_id = self.ids.hex()
        stale = now - int(self.settings.upload_silence * MICROS)
        if not await self.database.run(_claim_new, image, upload_id, stale):
            return image.id  # it is there, it was deleted, or another process is at it
        try:
            received = await self.store.adopt(path, image.id, upload_id)
            inspection = inspect(received.header, received.tail, received.size, disk_format)
            await self._finish(image.id, upload_id, received, inspection)
        except BaseException:
            await self._give_up(image.id, upload_id, "queued")
            raise
        return image.id

    # --- the end ---------------------------------------------------------------------------------------

    async def delete(self, caller: Caller, image_id: str) -> None:
        """Delete image and bytes; whoever reads them now reads on. Raises ``Forbidden`` for a protected one."""
        await self.own(caller, image_id)
        gone = await self.database.run(queries.delete, image_id, self.clock.now())
        if gone is None:
            await self.require(image_id)  # another delete may have come first
            raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
        await self._remove_bytes(gone)

    async def _remove_bytes(self, image: StoredImage) -> None:
        if image.upload_id is not None and image.status != "saving":  # a running upload removes its own
            await self.store.remove(image.id, image.upload_id)

    async def recover(self) -> int:
        """Clean up after processes that died: files nobody names, uploads nobody carries on. How many there were.

        Harmless beside living processes: an upload that moved lately is left alone.
        """
        found = await self.store.uploads()
        known = await self.database.run(queries.uploads_of, sorted({image_id for image_id, _ in found}))
        stale = self.clock.now() - int(self.settings.upload_silence * MICROS)
        cleaned = 0
        for image_id, upload_id in found:
            current, status, changed_at = known.get(image_id, (None, "", 0))
            if current == upload_id and (status != "saving" or changed_at >= stale):
                continue
            if current == upload_id:
                await self.database.run(queries.abandon_upload, image_id, upload_id, self.clock.now(), "queued")
            await self.store.remove(image_id, upload_id)
            cleaned += 1
        return cleaned

    def close(self) -> None:
        """End the worker threads."""
        self.store.close()


class _Toucher:
    """Says now and then that an upload goes on, and stops it when it is nobody's any more."""

    def __init__(self, images: EmbeddedImages, image_id: str, upload_id: str) -> None:
        self._images = images
        self._ids = (image_id, upload_id)
        self._next = images.clock.monotonic() + images.settings.upload_touch

    async def __call__(self) -> None:
        if self._images.clock.monotonic() >= self._next:
            self._next = self._images.clock.monotonic() + self._images.settings.upload_touch
            await self._images._still_mine(*self._ids)


def _claim_new(connection: Connection, image: StoredImage, upload_id: str, stale: int) -> bool:
    if not queries.ever_existed(connection, image.id):
        queries.insert(connection, image)
    return queries.claim_upload(connection, image.id, upload_id, image.created_at, stale)


def may_see(caller: Caller, image: StoredImage) -> bool:
    """Public and community images are everybody's; others their project's and the administrators'."""
    return caller.is_admin or image.visibility in ("public", "community") or image.owner == caller.project_id


def _facts(received: Received, inspection: Inspection) -> dict[str, object]:
    return {
        "size": received.size,
        "virtual_size": inspection.virtual_size,
        "checksum": received.checksum,
        "sha512": received.sha512,
    }


def _missing(image_id: str) -> NotFound:
    return NotFound(f"No image found with ID {image_id[:64]}")


async def open_images(
    database: Database, *, clock: Clock, ids: Ids, rng: Random, settings: ImageSettings
) -> EmbeddedImages:
    """The service on a database whose schema is in place; makes the ticket key if there is none yet, and cleans up
    after a crash."""
    key = await database.run(shared_secret, "image.tickets", rng.randbytes(32).hex(), clock.now())
    store = ImageStore(settings.directory, threads=settings.threads)
    images = EmbeddedImages(database, store, Tickets(key), clock=clock, ids=ids, settings=settings)
    await images.recover()
    return images
