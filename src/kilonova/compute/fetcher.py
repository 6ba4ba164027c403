"""Brings images to a compute host over HTTP, by the right that came with the step (``model.guest.ImageTicket``)."""

import asyncio
from pathlib import Path

import httpx

from kilonova.model.errors import NotFound, Unavailable
from kilonova.model.guest import ImageTicket

_PIECE = 1 << 20  # bytes read, and written by a worker thread, at once
_SLACK = 1 << 20  # bytes beyond the announced size after which the download is cut off


class HttpFetcher:
    """One client for all downloads of a process. ``timeout`` is seconds without a byte."""

    def __init__(self, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    async def fetch(self, ticket: ImageTicket, destination: Path) -> None:
        """Write the image to ``destination``. Raises ``NotFound``, ``Unavailable``, or ``OSError`` from the disk."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout, trust_env=False)
        try:
            async with self._client.stream("GET", ticket.url, headers=ticket.headers) as answer:
                if answer.status_code == 404:
                    raise NotFound(f"Image {ticket.image_id} is no longer there.")
                if answer.status_code != 200:
                    raise Unavailable(f"The image service answered {answer.status_code} for image {ticket.image_id}.")
                await self._save(answer, ticket, destination)
        except httpx.HTTPError as error:
            raise Unavailable(f"Image {ticket.image_id} cannot be fetched: {type(error).__name__}.") from error

    async def _save(self, answer: httpx.Response, ticket: ImageTicket, destination: Path) -> None:
        seen = 0
        with destination.open("wb") as file:
            async for piece in answer.aiter_bytes(_PIECE):
                seen += len(piece)
                if seen > ticket.size + _SLACK:
                    raise Unavailable(f"Image {ticket.image_id} is larger than its {ticket.size} bytes.")
                await asyncio.to_thread(file.write, piece)

    async def close(self) -> None:
        """Drop idle connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
