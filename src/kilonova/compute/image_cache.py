"""Images brought to a host before a server needs them: in the background, one after the other."""

import asyncio
from collections.abc import Sequence

import structlog

from kilonova.hypervisor.driver import Driver
from kilonova.model.errors import KilonovaError
from kilonova.model.guest import ImageTicket

log = structlog.get_logger()


class ImageCache:
    """What one host was asked to fetch. A hint: what is not there in time, the build fetches itself."""

    def __init__(self, driver: Driver, host: str) -> None:
        self._driver = driver
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def begin(self, images: Sequence[ImageTicket]) -> None:
        """Fetch them; nobody waits for it."""
        task = asyncio.get_running_loop().create_task(self._fetch(images), name=f"images for {self._host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Let go of what has not been fetched yet."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, images: Sequence[ImageTicket]) -> None:
        for image in images:
            async with self._turn:
                try:
                    await self._driver.cache_image(image)
                except KilonovaError as error:
                    log.warning("image not cached", image=image.image_id, host=self._host, error=error.message)
                else:
                    log.info("image cached", image=image.image_id, host=self._host)
