"""A request's way through the sub-services, told from its timeline: who had it, where, from when to when.

Neighbouring events of one sub-service are one *leg*. A create that goes well has six, and they are the six steps of
the picture in the README: nova-api, messaging, nova-scheduler, messaging, nova-compute, nova-conductor. A create that
is tried on a second host simply has more. Pure: the caller brings the events.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from kilonova.messaging.contract import TimelineEvent

API, SCHEDULER, COMPUTE, CONDUCTOR, MESSAGING = (
    "nova-api",
    "nova-scheduler",
    "nova-compute",
    "nova-conductor",
    "messaging",
)

# The names a timeline knows, up to their first dot, and who works meanwhile; whatever else there is, nova-compute does.
_SERVICES = {
    "api": API,
    "schedule": SCHEDULER,
    "conductor": CONDUCTOR,
    "release": CONDUCTOR,
    "sweep": CONDUCTOR,
    "message": MESSAGING,
}
# Messages to nova-conductor are answers within its own leg, not a leg of their own.
_TO_CONDUCTOR = frozenset({"message.finish", "message.fail", "message.release"})

_STRETCHES = {
    "lease": "nova-conductor gives the lease, the addresses and the right to the image",
    "build.image": "image at hand",
    "build.disk": "disk made",
    "build.network": "network plugged",
    "build.process": "guest's process started, processors stopped",
    "power_on": "guest switched on",
    "power_off": "guest shut down",
    "reboot": "guest rebooted",
    "destroy": "guest and all it had removed",
    "message.finish": "message: it is done",
    "message.fail": "message: it failed",
    "message.release": "message: give back what it held",
    "release": "addresses and claims given back",
    "conductor.record": "written down; the guest may run",
    "conductor.provide": "addresses and image looked up",
}


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One sub-service's turn. Moments in microseconds since the epoch."""

    number: int
    service: str
    host: str
    doing: str
    result: str
    stretches: list[TimelineEvent]

    @property
    def started_at(self) -> int:
        """When its first stretch began."""
        return min(stretch.started_at for stretch in self.stretches)

    @property
    def finished_at(self) -> int:
        """When its last stretch ended."""
        return max(stretch.finished_at for stretch in self.stretches)

    @property
    def milliseconds(self) -> float:
        """How long it had the request."""
        return (self.finished_at - self.started_at) / 1000


def service_of(name: str) -> str:
    """Who works during an event of that name; the Compute API's events do not say it."""
    return _SERVICES.get(name.partition(".")[0], COMPUTE)


def describe(event: TimelineEvent) -> str:
    """An event in words."""
    return _STRETCHES.get(event.name, event.name)


def legs(events: Sequence[TimelineEvent]) -> list[Leg]:
    """The way, in order."""
    turns: list[tuple[str, list[TimelineEvent]]] = []
    for event in sorted(events, key=lambda event: (event.started_at, event.finished_at)):
        owner = CONDUCTOR if event.name in _TO_CONDUCTOR else service_of(event.name)
        if turns and turns[-1][0] == owner and owner != MESSAGING:
            turns[-1][1].append(event)
        else:
            turns.append((owner, [event]))
    return [_leg(number, owner, stretches) for number, (owner, stretches) in enumerate(turns, 1)]


def total_milliseconds(way: Sequence[Leg]) -> float:
    """From the request's arrival to the last word on it."""
    return (max(leg.finished_at for leg in way) - min(leg.started_at for leg in way)) / 1000 if way else 0.0


def _leg(number: int, owner: str, stretches: list[TimelineEvent]) -> Leg:
    failed = next((stretch.result for stretch in stretches if stretch.result != "Success"), "Success")
    return Leg(
        number=number,
        service=owner,
        host=stretches[-1].host,
        doing=_doing(owner, stretches),
        result=failed,
        stretches=stretches,
    )


def _doing(owner: str, stretches: list[TimelineEvent]) -> str:
    first, details = stretches[0], stretches[0].details
    match owner:
        case "nova-api":
            return f"checked {_text(details, 'method', 'the request')}, wrote server and action"
        case "messaging":
            return f"carried “{first.name.partition('.')[2]}” to the queue {_text(details, 'queue', 'of the host')}"
        case "nova-scheduler":
            return _choice(details)
        case "nova-conductor":
            names = {stretch.name for stretch in stretches}
            if "message.fail" in names:
                return "wrote the failure down"
            return "gave back what it held" if "release" in names else "wrote the result into the database"
        case _:
            return _work({stretch.name for stretch in stretches})


def _work(names: set[str]) -> str:
    if any(name.startswith("build.") for name in names):
        return "built the guest on its hypervisor"
    verbs = [name for name in names if name not in ("lease",)]
    return _STRETCHES.get(verbs[0], verbs[0]) if len(verbs) == 1 else "worked on the guest"


def _choice(details: dict[str, Any]) -> str:
    considered, chosen = details.get("considered"), details.get("chosen")
    hosts = f"{considered} host{'' if considered == 1 else 's'}" if isinstance(considered, int) else "the hosts"
    return f"weighed {hosts}, claimed {chosen}" if chosen else f"weighed {hosts}, none fits"


def _text(details: dict[str, Any], name: str, default: str) -> str:
    value = details.get(name)
    return value if isinstance(value, str) else default
