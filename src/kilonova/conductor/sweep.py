"""Finds actions whose lease ran out and applies the remedy: nothing stays half done.

Any number of conductors sweep; each change names the epoch it found, so of two that see the same action one acts.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.engine import Connection

from kilonova.config import ActionsConfig, MembershipConfig
from kilonova.database import actions, engine, membership, servers
from kilonova.database.connection import Database
from kilonova.database.outgoing import Outgoing
from kilonova.database.tables import actions as table
from kilonova.messaging.bus import Bus
from kilonova.model.action import Action, Performer, Remedy
from kilonova.model.clock import Clock
from kilonova.model.errors import KilonovaError, Stale, Unavailable
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.remedies import remedy
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()

_AT_ONCE = 16  # late actions mended together
_WINDOW = 64  # of them looked at together


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
        ask_for_due: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._host = host
        self._config = config
        self._down_after = membership_config.down_after
        self.broken = 0
        """Sweeps that ended in an error nobody foresaw: each is a bug."""
        self._blind_until = 0.0
        self._tidy = tidy
        self._ask_for_due = ask_for_due
        self._limits = config.limits
        self._dispatch = int(config.dispatch * 1_000_000)

    async def run(self) -> None:
        """Sweep for ever; a database that is away is waited for, and one action that breaks a sweep keeps none from the next."""
        while True:
            lay_down = self._clock.now()
            await self._clock.sleep(self._config.sweep_interval)
            overslept = (self._clock.now() - lay_down) / 1_000_000 - self._config.sweep_interval
            if overslept > self._down_after / 2:  # we stood still, the machine slept, or somebody set its clock
                self.distrust()
                log.warning("hosts get time to report before their silence counts", overslept=round(overslept, 1))
            try:
                await self.once()
            except Unavailable as error:
                self.distrust()
                log.warning("sweep put off", error=error.message)
            except Exception:
                self.broken += 1
                log.exception("sweep broken off; the next one begins anew", host=self._host)

    def distrust(self) -> None:
        """We, or the database, or the broker were away, or time has leapt: that hosts were silent says nothing until they
        had time to report."""
        self._blind_until = self._clock.monotonic() + self._down_after

    async def once(self) -> int:
        """One sweep; the number of actions it did something about.

        Nothing while the broker is away: nearly every remedy is a message, and one that cannot be sent only makes the action
        wait anew.
        """
        if not self._bus.connected:
            self.distrust()
            return 0
        await self._ask_for_due()
        late, stranded = await self._database.run(_look, self._clock.now(), _WINDOW)
        if stranded:
            await self._tidy(stranded)
        done, seen = 0, set[str]()
        while len(seen) < self._config.sweep_batch:
            mine = self._share_of([action for action in late if action.id not in seen])
            if not mine:
                break
            seen.update(action.id for action in mine)
            done += await self._mend(mine)
            late = await self._database.run(actions.late, self._clock.now(), _WINDOW)
        return done

    def _share_of(self, late: list[Action]) -> list[Action]:
        """Where to begin in the list differs from conductor to conductor, so that they do not all mend the same ones."""
        first = zlib.crc32(self._host.encode()) % len(late) if late else 0
        return sorted((late[first:] + late[:first])[:_AT_ONCE], key=lambda action: action.id)

    async def _mend(self, late: list[Action]) -> int:
        """How many something was done about. Raises ``Unavailable`` if the database or the broker is away: later, then."""
        sent, others = await self._database.run(self._send_again, late)
        await asyncio.gather(*(self._send(action, outgoing) for action, outgoing in sent))
        mended = await asyncio.gather(*(self._mend_one(action) for action in others))
        return len(sent) + sum(mended)

    def _send_again(
        self, connection: Connection, late: list[Action]
    ) -> tuple[list[tuple[Action, Outgoing]], list[Action]]:
        """In one transaction all that only need their message again (an outage leaves hundreds); the others are returned.

        It changes one row for each, in the order of their ids, so that conductors wait for each other in one direction.
        """
        sent: list[tuple[Action, Outgoing]] = []
        others: list[Action] = []
        for action in late:
            chosen, host_up = self._choose(connection, action)
            if chosen is not Remedy.RESEND:
                others.append(action)
                continue
            try:
                outgoing = self._apply(connection, action, chosen, host_up)
            except Stale:
                continue
            except KilonovaError as error:
                log.error("late action cannot be mended", action=action.id, error=error.message)
                continue
            if outgoing is not None:
                sent.append((action, outgoing))
        return sent, others

    async def _mend_one(self, action: Action) -> bool:
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
        return self._apply(connection, action, *self._choose(connection, action))

    def _choose(self, connection: Connection, action: Action) -> tuple[Remedy, bool]:
        """What to do, and whether the host that performs the step may be up."""
        step = KINDS[action.kind].step(action.step)
        now = self._clock.now()
        host_up = step.performer is not Performer.COMPUTE or self._may_be_up(connection, action.on_host, now)
        return remedy(action, host_up=host_up, now=now, limits=self._limits), host_up

    def _apply(self, connection: Connection, action: Action, chosen: Remedy, host_up: bool) -> Outgoing | None:
        """Raises ``Stale`` if somebody was faster; then nothing was changed."""
        now, host = self._clock.now(), action.on_host
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
