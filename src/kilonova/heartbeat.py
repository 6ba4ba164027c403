"""Says every few seconds that the control services of this process live, straight into the database.

nova-compute does not use this: it has no database and reports through nova-conductor.
"""

import structlog
from sqlalchemy.engine import Connection

from kilonova.database import membership
from kilonova.database.transactions import Database, fleeting
from kilonova.model.clock import Clock, Ids
from kilonova.model.errors import Unavailable

log = structlog.get_logger()


class Heartbeat:
    """The heartbeat of some services on one host."""

    def __init__(
        self, database: Database, clock: Clock, ids: Ids, *, host: str, binaries: list[str], interval: float
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._host = host
        self._binaries = binaries
        self._interval = interval
        self._incarnation = ids.uuid()

    async def once(self) -> None:
        """One beat for all of them, in one transaction."""
        await self._database.run(self._beat, self._clock.now())

    @fleeting
    def _beat(self, connection: Connection, now: int) -> None:
        for binary in self._binaries:
            membership.heartbeat(
                connection,
                binary=binary,
                host=self._host,
                zone="internal",
                incarnation=self._incarnation,
                uuid=self._ids.uuid(),
                now=now,
            )

    async def run(self) -> None:
        """Beat for ever; a database that is away is waited for."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self.once()
            except Unavailable as error:
                log.warning("heartbeat not written", error=error.message)
            except Exception:
                log.exception("heartbeat failed; the next one tries again")

    async def goodbye(self) -> None:
        """Say that they stop in good order."""
        try:
            await self._database.run(self._say_goodbye, self._clock.now())
        except Unavailable as error:
            log.warning("could not say goodbye", error=error.message)

    def _say_goodbye(self, connection: Connection, now: int) -> None:
        for binary in self._binaries:
            membership.goodbye(connection, binary=binary, host=self._host, incarnation=self._incarnation, now=now)
