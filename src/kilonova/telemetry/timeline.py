"""Collects what happened on a request's way, to be written down together with the step it belongs to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kilonova.messaging.bus import Delivery
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.clock import Clock

MESSAGING = "messaging"


class Timeline:
    """The events of one piece of work by one service on one host."""

    def __init__(self, clock: Clock, service: str, host: str) -> None:
        self._clock = clock
        self._service = service
        self._host = host
        self.events: list[TimelineEvent] = []

    def message(self, delivery: Delivery, name: str) -> None:
        """The way of the message that brought the work: from the sender's commit to our hands."""
        details: dict[str, Any] = {"queue": delivery.queue}
        if delivery.attempt > 1:
            details["attempt"] = delivery.attempt
        self.add(
            name, delivery.sent_at, max(delivery.received_at, delivery.sent_at), service=MESSAGING, details=details
        )

    def add(
        self,
        name: str,
        started_at: int,
        finished_at: int | None = None,
        *,
        result: str = "Success",
        service: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """One stretch, from ``started_at`` until now unless said."""
        self.events.append(
            TimelineEvent(
                name=name,
                service=service or self._service,
                host=self._host,
                started_at=started_at,
                finished_at=self._clock.now() if finished_at is None else finished_at,
                result=result,
                details=details or {},
            )
        )

    @contextmanager
    def span(self, name: str, **details: Any) -> Iterator[dict[str, Any]]:
        """One stretch around a block; what the block puts into the yielded dictionary becomes its details."""
        started_at = self._clock.now()
        try:
            yield details
        except BaseException:
            self.add(name, started_at, result="Error", details=details)
            raise
        self.add(name, started_at, details=details)

    def failure(self, name: str, message: str, details: str) -> None:
        """Why it ended, with what only administrators may read."""
        self.add(name, self._clock.now(), result="Error", details={"message": message, "details": details})

    def take(self) -> list[TimelineEvent]:
        """The events so far; the next ones start a new list."""
        events, self.events = self.events, []
        return events
