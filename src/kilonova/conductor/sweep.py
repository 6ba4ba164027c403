"""Finds actions whose lease ran out and applies the remedy: nothing stays half done.

Any number of conductors sweep; each change names the epoch it found, so of two that see the same action one acts.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.engine import Connection

from kilonova.config import ActionsConfig, MembershipConfig
from kilonova.database import actions, engine, membership, servers
from kilonova.database.connection import Database
from kilonova.database.outgoing import Outgoing
from kilonova.database.tables import actions as table
from kilonova.messaging.bus import Bus
from kilonova.model.action import Action, Performer
from kilonova.model.clock import Clock
from kilonova.model.errors import KilonovaError, Stale, Unavailable
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.remedies import remedy
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()

_AT_ONCE = 8  # late actions mended side by side: each is a round trip to the database and one to the broker


class Sweep:
    """Looks every second, takes a bounded batch."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        clock: Clock,
        *,
        host: str,
        config: ActionsConfig,
        membership_config: MembershipConfig,
        tidy: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._host = host
        self._config = config
        self._down_after = membership_config.down_after
        self._blind_until = 0.0
        self._tidy = tidy
        self._limits = config.limits
        self._dispatch = int(config.dispatch * 1_000_000)

    async def run(self) -> None:
        """Sweep for ever; a database that is away is waited for."""
        while True:
            await self._clock.sleep(self._config.sweep_interval)
            try:
                await self.once()
            except Unavailable as error:
                self.distrust()
                log.warning("sweep put off", error=error.message)

    def distrust(self) -> None:
        """We, or the database, or the broker were away: that hosts were silent says nothing until they had time to report."""
        self._blind_until = self._clock.monotonic() + self._down_after

    async def once(self) -> int:
        """One sweep; the number of actions it did something about.

        Nothing while the broker is away: nearly every remedy is a message, and one that cannot be sent only makes the action
        wait anew.
        """
        if not self._bus.connected:
            self.distrust()
            return 0
        late, stranded = await self._database.run(_look, self._clock.now(), self._config.sweep_batch)
        if stranded:
            await self._tidy(stranded)
        done = 0
        for start in range(0, len(late), _AT_ONCE):
            mended = await asyncio.gather(*(self._mend(action) for action in late[start : start + _AT_ONCE]))
            done += sum(mended)
        return done

    async def _mend(self, action: Action) -> bool:
        """Whether something was done about it. Raises ``Unavailable`` if the database or the broker is away: later, then."""
        try:
            sent = await self._database.run(self._remedy, action)
        except Unavailable:
            raise
        except Stale:
            return False
        except KilonovaError as error:
            log.error("late action cannot be mended", action=action.id, error=error.message)
            return False
        if sent is not None:
            await self._send(action, sent)
        return True

    def _remedy(self, connection: Connection, action: Action) -> Outgoing | None:
        host = action.on_host
        step = KINDS[action.kind].step(action.step)
        now = self._clock.now()
        host_up = step.performer is not Performer.COMPUTE or self._may_be_up(connection, host, now)
        chosen = remedy(action, host_up=host_up, now=now, limits=self._limits)
        log.info(
            "late action",
            action=action.id,
            kind=action.kind,
            step=action.step,
            state=action.state,
            server=action.server_id,
            host=host,
            remedy=str(chosen),
        )
        timeline = Timeline(self._clock, "nova-conductor", self._host)
        timeline.add(f"sweep.{chosen}", now, details={"step": action.step, "state": action.state, "host": host})
        return engine.take_over(
            connection,
            action,
            chosen,
            now=now,
            dispatch=self._dispatch,
            message=_reason(action, host, host_up),
            events=timeline.events,
        )

    def _may_be_up(self, connection: Connection, host: str | None, now: int) -> bool:
        """Silence counts only if we could have heard it; an operator's word that a host is down counts always."""
        if host is None:
            return False
        if self._clock.monotonic() < self._blind_until:
            return not membership.forced_down(connection, "nova-compute", host)
        return membership.compute_up(connection, host, now, self._down_after)

    async def _send(self, action: Action, sent: Outgoing) -> None:
        try:
            await self._bus.cast(sent.queue, sent.message, sent.context)
        except Unavailable:
            await self._database.run(actions.expire, action.id, self._clock.now())  # or it would wait for nothing
            raise

    async def resume_all(self) -> None:
        """At the start of a process whose bus died with the one before: every open action is late."""
        await self._database.run(_expire_all, self._clock.now())
        await self.once()


def _look(connection: Connection, now: int, most: int) -> tuple[list[Action], list[str]]:
    """What is late, and the servers that ended on no host and still have addresses."""
    return actions.late(connection, now, most), servers.stranded(connection, most)


def _expire_all(connection: Connection, now: int) -> None:
    connection.execute(table.update().where(table.c.lease_until.is_not(None)).values(lease_until=now - 1))


def _reason(action: Action, host: str | None, host_up: bool) -> str:
    """What the user is told if this is the end of it."""
    if not host_up:
        return f"The compute host {host} went down before '{action.kind}' was done; try again when it is back."
    return (
        f"'{action.kind}' did not get past its step '{action.step}' in {action.attempts} attempts; see the timeline."
    )
