"""Forgets old decisions of nova-scheduler: with every sweep a few, so that nothing ever waits for it."""

from kilonova.config import SchedulerConfig
from kilonova.database.connection import Database
from kilonova.database.decisions import purge
from kilonova.model.clock import Clock

_AT_ONCE = 1000  # more than are made between two sweeps, or the table would grow for ever
_DAY = 86_400_000_000  # microseconds
_PAUSE = 60.0  # seconds until the next look, once nothing is left to forget


class Forgetting:
    """Keeps the table of decisions within its bounds; any number of conductors may."""

    def __init__(self, database: Database, clock: Clock, config: SchedulerConfig) -> None:
        self._database = database
        self._clock = clock
        self._keep = config.keep_decisions
        self._age = int(config.keep_decisions_days * _DAY)
        self._rest_until = 0.0

    async def once(self) -> None:
        """Forget some that are too old or too many. Raises ``Unavailable`` if the database is away."""
        if self._clock.monotonic() < self._rest_until:
            return
        before = self._clock.now() - self._age
        gone = await self._database.run(purge, before=before, keep=self._keep, most=_AT_ONCE)
        if gone < _AT_ONCE:
            self._rest_until = self._clock.monotonic() + _PAUSE
