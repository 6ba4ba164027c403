"""Sends images of servers to the image service over HTTP, by the right that came with the step (``model.guest.ImageUpload``)."""

from collections.abc import AsyncIterator

import httpx

from kilonova.model.errors import HostFault, NotFound, Unavailable
from kilonova.model.guest import ImageUpload


class HttpUploader:
    """One client for all uploads of a process. ``timeout`` is seconds in which no byte goes."""

    def __init__(self, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    async def upload(self, upload: ImageUpload, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Send ``size`` bytes. Raises ``NotFound`` if the image is gone, ``HostFault`` if it is not taken, ``Unavailable``."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout, trust_env=False)
        headers = {**upload.headers, "content-type": "application/octet-stream", "content-length": str(size)}
        try:
            answer = await self._client.put(upload.url, content=pieces, headers=headers)
        except httpx.HTTPError as error:
            message = f"Image {upload.image_id} could not be uploaded: {type(error).__name__}."
            raise Unavailable(message) from error
        if answer.status_code == 404:
            raise NotFound(f"Image {upload.image_id} was deleted while it was made.")
        if answer.status_code != 204:
            message = f"The image service did not take image {upload.image_id}: it answered {answer.status_code}."
            raise HostFault(message, details=answer.text[:1000], retry=False)

    async def close(self) -> None:
        """Drop idle connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
