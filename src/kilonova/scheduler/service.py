"""nova-scheduler: takes requests, chooses hosts, claims them and passes the guests on (steps 3 and 4 of the picture).

Requests that wait are settled together: one look at the hosts, one problem to solve, one transaction of claims. Whoever of the
waiting has its turn does it for all of them; nothing runs in the background.
"""

import asyncio

import msgspec
import structlog
from sqlalchemy.engine import Connection

from kilonova.config import MembershipConfig, SchedulerConfig
from kilonova.database import engine, membership
from kilonova.database.connection import Database
from kilonova.database.decisions import record
from kilonova.database.flavors import choices
from kilonova.database.host_columns import read
from kilonova.database.outgoing import Outgoing, placed
from kilonova.database.placing import Outcome, Placement, place_all
from kilonova.messaging.bus import Bus, Delivery, Subscription
from kilonova.messaging.contract import SCHEDULER, Message, ScheduleServer
from kilonova.model.clock import Clock, Random
from kilonova.model.decision import DecisionRecord, Ending
from kilonova.model.errors import Invalid, Stale, Unavailable
from kilonova.model.flavor import Flavor
from kilonova.model.placement import Neighbours, group_hint
from kilonova.scheduler.catalog import make_filters, make_weighers
from kilonova.scheduler.decider import Batch, Decider
from kilonova.scheduler.decision import Decision, asked_for, explain_failure
from kilonova.scheduler.fleet import Fleet
from kilonova.scheduler.neighbours import names_neighbours, read_neighbours
from kilonova.scheduler.rules import columns_read
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()

_PAUSE = 0.25  # seconds between two looks for hosts that have not reported yet
_CUT_OFF = 3.0  # times membership.down_after that requests wait while no host at all is heard of
_WHEN_FORCED = ["ComputeFilter", "RequestedHostFilter", "CapacityFilter"]  # nobody can force what is not there
_TRIES = 20  # claims one request may lose to others before it waits for its message to come again
_AT_ONCE = 64  # requests settled together
_SHARE = 0.05  # of the time that is spent at most in reading the hosts anew, however many they are


class _Asked:
    """A request on its way through the scheduler.

    ``unsure``: it was decided on a look that proved old, or might have been. ``tries``: claims it has lost to others, whose
    decisions are in ``lost`` until they are written with the one that holds.
    """

    def __init__(self, delivery: Delivery, request: ScheduleServer, timeline: Timeline, now: int) -> None:
        self.delivery = delivery
        self.request = request
        self.timeline = timeline
        self.since = now
        self.unsure = False
        self.tries = 0
        self.lost: list[DecisionRecord] = []
        self.done = False
        self.error: Exception | None = None

    def end(self, error: Exception | None = None) -> None:
        """It is placed, refused, or dropped; or it failed."""
        self.done, self.error = True, error


class Scheduler:
    """One nova-scheduler. Any number of them share the queue ``scheduler``."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        clock: Clock,
        random: Random,
        *,
        host: str,
        scheduler: SchedulerConfig,
        membership: MembershipConfig,
        dispatch: float,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._host = host
        self._config = scheduler
        self._down_after = membership.down_after
        self._dispatch = int(dispatch * 1_000_000)
        self._fleet = Fleet()
        filters, weighers = make_filters(scheduler.filters, scheduler), make_weighers(scheduler)
        self._on_demand = columns_read(*filters.values(), *(weigher for weigher, _ in weighers.values()))
        self._decider = Decider(
            self._fleet,
            filters,
            make_filters(_WHEN_FORCED, scheduler),
            weighers,
            subset=scheduler.host_subset_size,
            random=random,
        )
        self._read_at = 0.0
        self._read_took = 0.0
        self._subscription: Subscription | None = None
        self._patient_until = 0.0
        self._all_silent = False
        self._waiting: list[_Asked] = []
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Begin to take requests."""
        self._patient_until = self._clock.monotonic() + self._down_after
        self._subscription = await self._bus.serve(SCHEDULER, self.handle, concurrency=self._config.concurrency)

    async def drain(self, timeout: float) -> None:
        """Take no more, finish what runs."""
        if self._subscription is not None:
            await self._subscription.drain(timeout)

    async def handle(self, delivery: Delivery) -> Message | None:
        """One message of the queue."""
        if not isinstance(delivery.message, ScheduleServer):
            raise Invalid(f"the scheduler does not know {type(delivery.message).__name__}")
        timeline = Timeline(self._clock, "nova-scheduler", self._host)
        timeline.message(delivery, "message.schedule")
        asked = _Asked(delivery, delivery.message, timeline, self._clock.now())
        try:
            await self._see_to(asked)
            if asked.error is not None:
                raise asked.error
        except Unavailable as error:
            # The database has the action: the sweep asks again. A message that comes back would only be a second hint.
            log.warning("the sweep will send this request", action=delivery.message.action_id, error=error.message)
        return None

    # --- turns ---------------------------------------------------------------------------------------------------

    async def _see_to(self, asked: _Asked) -> None:
        """Until it is done: wait for a turn, and settle all that wait, unless somebody has settled this one meanwhile."""
        while True:
            self._waiting.append(asked)
            try:
                async with self._turn:
                    if not asked.done:
                        await self._clock.sleep(0)  # those that came together join
                        await self._settle(self._batch_of(asked))
            finally:
                if asked in self._waiting:
                    self._waiting.remove(asked)
            if asked.done:
                return
            await self._clock.sleep(_PAUSE)  # for hosts that have not had the time to report

    def _batch_of(self, asked: _Asked) -> list[_Asked]:
        """It and others that wait; but what has come back, as something broke, is on its own: it must not break others."""
        others = [other for other in self._waiting if other is not asked and other.delivery.attempt == 1]
        batch = [asked, *others[: _AT_ONCE - 1]] if asked.delivery.attempt == 1 else [asked]
        self._waiting = [other for other in self._waiting if other not in batch]
        return batch

    async def _settle(self, batch: list[_Asked]) -> None:
        """Decide for all of them and claim, until there is nothing more to be done now."""
        try:
            open_ = batch
            while open_:
                open_ = await self._round(open_)
        except Exception as error:
            for asked in batch:
                if not asked.done:
                    asked.end(error)

    async def _round(self, batch: list[_Asked]) -> list[_Asked]:
        """One look, one problem, one transaction of claims. Returns those that are to be decided again at once."""
        await self._refresh(fresh=any(asked.unsure for asked in batch))
        chosen: list[tuple[_Asked, Decision]] = []
        refused: list[tuple[_Asked, Decision]] = []
        again: list[_Asked] = []
        for asked, decision in await self._decide(batch):
            if decision.row is not None:
                chosen.append((asked, decision))
            elif not asked.unsure:  # before saying no: the look may be a second old
                asked.unsure = True
                again.append(asked)
            elif self._clock.monotonic() >= self._patient_until or not _may_yet_come(decision):
                refused.append((asked, decision))
        for asked, decision in refused:
            await self._refuse(asked, decision)
        return [*again, *await self._place(chosen)]

    async def _decide(self, batch: list[_Asked]) -> list[tuple[_Asked, Decision]]:
        beside = await self._neighbours(batch)
        together = Batch()
        decided: list[tuple[_Asked, Decision, Neighbours | None]] = []
        for asked, neighbours in zip(batch, beside, strict=True):
            try:
                decided.append((asked, self._decider.decide(asked.request, together, neighbours), neighbours))
            except Exception as error:  # a rule that cannot bear a request: the others are not to suffer for it
                asked.end(error)
        failed = {asked.request.guest.project_id for asked, one, _ in decided if one.row is None and asked.unsure}
        flavors = await self._database.run(choices, sorted(failed)) if failed else {}
        return [
            (asked, self._explained(asked, decision, together, neighbours, flavors))
            for asked, decision, neighbours in decided
        ]

    def _explained(
        self,
        asked: _Asked,
        decision: Decision,
        together: Batch,
        neighbours: Neighbours | None,
        flavors: dict[str, list[Flavor]],
    ) -> Decision:
        """With the nearest fit, if this is the last word on a request that fits nowhere."""
        if decision.row is not None or not asked.unsure:
            return decision
        request = asked.request
        try:
            return self._decider.explain(decision, request, together, neighbours, flavors[request.guest.project_id])
        except Exception:  # a rule that cannot bear the request as it was changed; what is known is said without it
            log.exception("no nearest fit found", action=request.action_id)
            return decision

    async def _neighbours(self, batch: list[_Asked]) -> list[Neighbours | None]:
        if not any(names_neighbours(asked.request) for asked in batch):
            return [None] * len(batch)
        return await self._database.run(read_neighbours, [asked.request for asked in batch])

    # --- the look at the hosts -----------------------------------------------------------------------------------

    async def _refresh(self, *, fresh: bool) -> None:
        age = self._clock.monotonic() - self._read_at
        if len(self._fleet) and not fresh and age <= max(self._config.refresh, self._read_took / _SHARE):
            return
        began = self._clock.monotonic()
        if not await self._read():  # hosts are gone
            await self._read()
        self._read_at = self._clock.monotonic()
        self._read_took = self._read_at - began
        self._judge_silence(self._read_at)

    async def _read(self) -> bool:
        now = self._clock.now()
        reading = await self._database.run(
            read,
            now=now,
            since=self._fleet.since,
            beyond=self._fleet.beyond,
            heard_since=now - int(self._down_after * 1_000_000),
            aggregates_mark=self._fleet.aggregates_mark,
            on_demand=self._on_demand,
        )
        return self._fleet.apply(reading)

    def _judge_silence(self, now: float) -> None:
        """All hosts silent at once: then it is the road to us that was cut, and they get the time to be heard again.

        For some time only: after it they are taken for what they seem to be, and requests fail with a reason.
        """
        if not self._fleet.anybody_up:
            if not self._all_silent:
                self._patient_until = max(self._patient_until, now + _CUT_OFF * self._down_after)
            self._all_silent = True
        elif self._all_silent:
            self._all_silent = False
            self._patient_until = now + self._down_after

    # --- what comes of a decision --------------------------------------------------------------------------------

    async def _place(self, chosen: list[tuple[_Asked, Decision]]) -> list[_Asked]:
        """Claim, and pass the guests on. Returns those whose claim was lost to somebody."""
        if not chosen:
            return []
        now = self._clock.now()
        placements = [self._placement(asked, decision, now) for asked, decision in chosen]
        outcomes = await self._database.run(place_all, placements, now=now, dispatch=self._dispatch)
        lost, sent = [], []
        for (asked, _), placement, outcome in zip(chosen, placements, outcomes, strict=True):
            request = asked.request
            if outcome is Outcome.LOST:
                lost.append(asked)
                await self._lose(asked, placement)
                continue
            asked.end()
            if outcome is Outcome.STALE:
                log.info("request dropped: its action has moved on", action=request.action_id)
            else:
                message = placed(request, placement.host, placement.zone, asked.delivery.context)
                sent.append(self._pass_on(message, request.action_id))
        await asyncio.gather(*sent)
        return [asked for asked in lost if not asked.done]

    def _placement(self, asked: _Asked, decision: Decision, now: int) -> Placement:
        assert decision.host is not None and decision.zone is not None
        request = asked.request
        asked.timeline.add("schedule", asked.since, now, details=decision.summary())
        made = _record(asked, decision, Ending.PLACED, now)
        return Placement(
            action_id=request.action_id,
            epoch=request.epoch,
            server_id=request.guest.server_id,
            project_id=request.guest.project_id,
            host=decision.host,
            zone=decision.zone,
            need=request.need,
            kind=request.kind,
            work=request.work,
            group_id=group_hint(request.hints),
            events=list(asked.timeline.events),
            decisions=[*asked.lost, made],
        )

    async def _lose(self, asked: _Asked, placement: Placement) -> None:
        """Its host was taken by others between the look and the claim: look again, and keep that it was."""
        del asked.timeline.events[-1]
        now = self._clock.now()
        asked.lost.append(msgspec.structs.replace(placement.decisions[-1], outcome=str(Ending.LOST)))
        asked.timeline.add("schedule.lost", asked.since, now, result="Error", details={"chosen": placement.host})
        asked.since, asked.unsure = now, True
        asked.tries += 1
        if asked.tries >= _TRIES:
            await self._database.run(record, asked.lost)
            asked.end(Unavailable(f"server {placement.server_id}: lost {_TRIES} claims in a row"))

    async def _pass_on(self, outgoing: Outgoing, action_id: str) -> None:
        try:
            await self._bus.cast(outgoing.queue, outgoing.message, outgoing.context)
        except Unavailable as error:
            log.warning("the sweep will send this step", action=action_id, error=error.message)

    async def _refuse(self, asked: _Asked, decision: Decision) -> None:
        request = asked.request
        if any(near.out_of_service for near in decision.nearest):
            decision = await self._database.run(_say_since_when, decision)
        message, details = explain_failure(decision)
        now = self._clock.now()
        asked.timeline.add("schedule", asked.since, now, result="Error", details=decision.summary())
        try:
            way_back = await self._database.run(
                engine.no_valid_host,
                action_id=request.action_id,
                epoch=request.epoch,
                message=message,
                details=details,
                now=now,
                dispatch=self._dispatch,
                events=asked.timeline.events,
                made=[*asked.lost, _record(asked, decision, Ending.FAILED, now)],
            )
        except Stale as stale:
            log.info("request dropped", action=request.action_id, reason=stale.message)
            way_back = None
        asked.end()
        if way_back is not None:
            await self._pass_on(way_back, request.action_id)


def _record(asked: _Asked, decision: Decision, ending: Ending, now: int) -> DecisionRecord:
    request = asked.request
    return DecisionRecord(
        server_id=request.guest.server_id,
        action_id=request.action_id,
        request_id=asked.delivery.context.request_id,
        kind=request.kind,
        outcome=str(ending),
        host=decision.host,
        zone=decision.zone,
        decided_at=now,
        details={"asked": asked_for(request), **decision.details()},
    )


def _say_since_when(connection: Connection, decision: Decision) -> Decision:
    """Of hosts that would take the server if they were in service: why they are not."""
    found = [
        msgspec.structs.replace(near, have=[why])
        if near.out_of_service and (why := membership.why_idle(connection, near.host))
        else near
        for near in decision.nearest
    ]
    return msgspec.structs.replace(decision, nearest=found)


def _may_yet_come(decision: Decision) -> bool:
    """Whether a host that is only silent, or not there yet, could have taken it."""
    return decision.considered == 0 or "ComputeFilter" in decision.counts
