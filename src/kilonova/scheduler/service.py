"""nova-scheduler: takes requests, chooses a host, claims it and passes the guest on (steps 3 and 4 of the picture)."""

import structlog

from kilonova.config import MembershipConfig, SchedulerConfig
from kilonova.database import engine
from kilonova.database.connection import Database
from kilonova.database.outgoing import Outgoing, placed
from kilonova.messaging.bus import Bus, Delivery, Subscription
from kilonova.messaging.contract import SCHEDULER, Message, ScheduleServer
from kilonova.model.clock import Clock, Random
from kilonova.model.errors import Invalid, Stale, Unavailable
from kilonova.model.placement import group_hint
from kilonova.scheduler.catalog import make_filters, make_weighers
from kilonova.scheduler.decision import Decision, decide, explain_failure
from kilonova.scheduler.hosts import HostView, load
from kilonova.scheduler.neighbours import Turns, names_neighbours, read_neighbours
from kilonova.telemetry.timeline import Timeline

log = structlog.get_logger()

_PAUSE = 0.25  # seconds between two looks for hosts that have not reported yet
_CUT_OFF = 3.0  # times membership.down_after that requests wait while no host at all is heard of
_WHEN_FORCED = ["ComputeFilter", "RequestedHostFilter", "CapacityFilter"]  # nobody can force what is not there
_TRIES = 20  # claims one request may lose to others before it waits for its message to come again


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
        self._random = random
        self._host = host
        self._config = scheduler
        self._down_after = membership.down_after
        self._dispatch = int(dispatch * 1_000_000)
        self._filters = make_filters(scheduler.filters)
        self._forced = make_filters(_WHEN_FORCED)
        self._weighers = make_weighers(scheduler.weighers)
        self._view: HostView | None = None
        self._read_at = 0.0
        self._subscription: Subscription | None = None
        self._patient_until = 0.0
        self._all_silent = False
        self._turns = Turns()

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
        try:
            async with self._turns.turn(group_hint(delivery.message.hints)):
                await self._schedule(delivery, delivery.message)
        except Unavailable as error:
            # The database has the action: the sweep asks again. A message that comes back would only be a second hint.
            log.warning("the sweep will send this request", action=delivery.message.action_id, error=error.message)
        return None

    async def _schedule(self, delivery: Delivery, request: ScheduleServer) -> None:
        timeline = Timeline(self._clock, "nova-scheduler", self._host)
        timeline.message(delivery, "message.schedule")
        started_at = self._clock.now()
        for attempt in range(_TRIES):
            view = await self._look(request, fresh=attempt > 0)
            decision = self._decide(view, request)
            if decision.row is None and attempt == 0:  # before saying no: the view may be a second old
                view = await self._look(request, fresh=True)
                decision = self._decide(view, request)
            if decision.row is None:
                decision = await self._patiently(request, decision)
                view = await self._look(request)
            try:
                if decision.row is None:
                    await self._refuse(request, decision, timeline, started_at)
                else:
                    await self._place(delivery, request, view, decision, timeline, started_at)
            except Stale as stale:
                log.info("request dropped", action=request.action_id, reason=stale.message)
            except engine.ClaimLost:
                continue
            return
        raise Unavailable(f"server {request.guest.server_id}: lost {_TRIES} claims in a row")

    async def _patiently(self, request: ScheduleServer, decision: Decision) -> Decision:
        """After our start, or an outage, hosts may not have had the time to report: wait for them before saying no."""
        while decision.row is None and self._clock.monotonic() < self._patient_until and _may_yet_come(decision):
            await self._clock.sleep(_PAUSE)
            decision = self._decide(await self._look(request, fresh=True), request)
        return decision

    def _decide(self, view: HostView, request: ScheduleServer) -> Decision:
        return decide(
            view,
            request,
            self._forced if request.forced else self._filters,
            self._weighers,
            subset=self._config.host_subset_size,
            random=self._random,
        )

    async def _look(self, request: ScheduleServer, *, fresh: bool = False) -> HostView:
        """The hosts, with what this request has to mind of their servers."""
        view = await self._current_view(fresh=fresh)
        if not names_neighbours(request):
            return view
        return view.beside(await self._database.run(read_neighbours, request))

    async def _current_view(self, *, fresh: bool = False) -> HostView:
        now = self._clock.monotonic()
        if self._view is None or fresh or len(self._view) == 0 or now - self._read_at > self._config.refresh:
            self._view = await self._database.run(load, self._clock.now(), self._down_after)
            self._read_at = now
            self._judge_silence(self._view, now)
        return self._view

    def _judge_silence(self, view: HostView, now: float) -> None:
        """All hosts silent at once: then it is the road to us that was cut, and they get the time to be heard again.

        For some time only: after it they are taken for what they seem to be, and requests fail with a reason.
        """
        if not view.up.any():
            if not self._all_silent:
                self._patient_until = max(self._patient_until, now + _CUT_OFF * self._down_after)
            self._all_silent = True
        elif self._all_silent:
            self._all_silent = False
            self._patient_until = now + self._down_after

    async def _place(
        self,
        delivery: Delivery,
        request: ScheduleServer,
        view: HostView,
        decision: Decision,
        timeline: Timeline,
        started_at: int,
    ) -> None:
        assert decision.row is not None and decision.host is not None
        view.take(decision.row, request.need)
        now = self._clock.now()
        details = decision.details()
        events = [*timeline.events]
        timeline.add("schedule", started_at, now, details=details)
        host, zone = decision.host, str(view.zones[decision.row])
        await self._database.run(
            engine.place,
            action_id=request.action_id,
            epoch=request.epoch,
            server_id=request.guest.server_id,
            project_id=request.guest.project_id,
            host=host,
            zone=zone,
            need=request.need,
            now=now,
            dispatch=self._dispatch,
            events=timeline.events,
            kind=request.kind,
            work=request.work,
            group_id=group_hint(request.hints),
        )
        timeline.events = events
        await self._pass_on(placed(request, host, zone, delivery.context), request.action_id)

    async def _pass_on(self, outgoing: Outgoing, action_id: str) -> None:
        try:
            await self._bus.cast(outgoing.queue, outgoing.message, outgoing.context)
        except Unavailable as error:
            log.warning("the sweep will send this step", action=action_id, error=error.message)

    async def _refuse(self, request: ScheduleServer, decision: Decision, timeline: Timeline, started_at: int) -> None:
        message, details = explain_failure(decision, request)
        timeline.add("schedule", started_at, result="Error", details=decision.details())
        way_back = await self._database.run(
            engine.no_valid_host,
            action_id=request.action_id,
            epoch=request.epoch,
            message=message,
            details=details,
            now=self._clock.now(),
            dispatch=self._dispatch,
            events=timeline.events,
        )
        if way_back is not None:
            await self._pass_on(way_back, request.action_id)


def _may_yet_come(decision: Decision) -> bool:
    """Whether a host that is only silent, or not there yet, could have taken it."""
    return decision.considered == 0 or "ComputeFilter" in decision.counts
