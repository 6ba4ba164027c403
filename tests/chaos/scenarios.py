"""What is killed, for how long, and within what time everything must have ended."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from tests.chaos.cloud import COMPUTES, CONTROL, RESTART, Cloud

AFTER_BACK = 10.0
"""Seconds after what was killed is back until the last request must have ended."""
BY_LEASE = 30.0
"""The same where it is not back, and only the silence of a host tells; counted from the kill."""

FROZEN = 20.0
"""Seconds for which a process stands still: longer than leases last and than a host may be silent."""

Harm = Callable[[Cloud], Awaitable[None]]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """``harm`` returns when what it took away is back; ``down`` names the processes that stay away."""

    name: str
    down_for: str
    harm: Harm
    bound: float = AFTER_BACK
    down: tuple[str, ...] = ()

    def dead_hosts(self, cloud_hosts: set[str]) -> set[str]:
        """The compute hosts of what stays away."""
        racks = {f"rack{name.rsplit('-', 1)[1]}" for name in self.down}
        return {host for host in cloud_hosts if host.rsplit("-", 1)[0] in racks}


def _kill(*names: str) -> Harm:
    async def harm(cloud: Cloud) -> None:
        for name in names:
            cloud.kill(name)
        await cloud.until_up(names)

    return harm


def _freeze(*names: str) -> Harm:
    async def harm(cloud: Cloud) -> None:
        await cloud.freeze(names, FROZEN)

    return harm


async def _stand_still(cloud: Cloud) -> None:
    """As a paused virtual machine does, or a laptop that is closed."""
    await cloud.freeze((*CONTROL, *COMPUTES), FROZEN, (cloud.broker, cloud.database))


def _keep_down(*names: str) -> Harm:
    async def harm(cloud: Cloud) -> None:
        for name in names:
            cloud.kill(name, back=False)

    return harm


async def _nothing(cloud: Cloud) -> None:
    return None


def _broker(seconds: float, *, kill: bool) -> Harm:
    async def harm(cloud: Cloud) -> None:
        await cloud.interrupt(cloud.broker, seconds, kill=kill)
        await cloud.until_up((*CONTROL, *COMPUTES))

    return harm


async def _another_broker(cloud: Cloud) -> None:
    await cloud.lose_broker(RESTART)
    await cloud.until_up((*CONTROL, *COMPUTES))


def _database(seconds: float, *, kill: bool) -> Harm:
    async def harm(cloud: Cloud) -> None:
        await cloud.interrupt(cloud.database, seconds, kill=kill)
        await cloud.until_up((*CONTROL, *COMPUTES))

    return harm


async def _everything(cloud: Cloud) -> None:
    for name in (*CONTROL, *COMPUTES):
        cloud.kill(name)
    await asyncio.gather(
        cloud.interrupt(cloud.broker, RESTART, kill=True), cloud.interrupt(cloud.database, RESTART, kill=True)
    )
    await cloud.until_up((*CONTROL, *COMPUTES))


SECONDS = f"{RESTART:g} s"
SCENARIOS = {
    one.name: one
    for one in (
        Scenario(name="nothing", down_for="", harm=_nothing),
        Scenario(name="one of two nova-api", down_for=SECONDS, harm=_kill("nova-api-1")),
        Scenario(name="one of two nova-scheduler", down_for=SECONDS, harm=_kill("nova-scheduler-1")),
        Scenario(name="all nova-schedulers", down_for=SECONDS, harm=_kill("nova-scheduler-1", "nova-scheduler-2")),
        Scenario(name="one of two nova-conductor", down_for=SECONDS, harm=_kill("nova-conductor-1")),
        Scenario(name="all nova-conductors", down_for=SECONDS, harm=_kill("nova-conductor-1", "nova-conductor-2")),
        Scenario(name="one nova-compute", down_for=SECONDS, harm=_kill("nova-compute-1")),
        Scenario(
            name="one nova-compute for good",
            down_for="for good",
            harm=_keep_down("nova-compute-1"),
            bound=BY_LEASE,
            down=("nova-compute-1",),
        ),
        Scenario(name="all nova-computes", down_for=SECONDS, harm=_kill(*COMPUTES)),
        Scenario(name="one of two nova-api frozen", down_for="20 s", harm=_freeze("nova-api-1")),
        Scenario(name="one of two nova-conductor frozen", down_for="20 s", harm=_freeze("nova-conductor-1")),
        Scenario(
            name="all nova-conductors frozen", down_for="20 s", harm=_freeze("nova-conductor-1", "nova-conductor-2")
        ),
        Scenario(name="one nova-compute frozen", down_for="20 s", harm=_freeze("nova-compute-1")),
        Scenario(name="all nova-computes frozen", down_for="20 s", harm=_freeze(*COMPUTES)),
        Scenario(name="RabbitMQ killed", down_for=SECONDS, harm=_broker(RESTART, kill=True)),
        Scenario(name="RabbitMQ stopped", down_for="20 s", harm=_broker(20.0, kill=False)),
        Scenario(name="RabbitMQ lost with all messages", down_for=SECONDS, harm=_another_broker),
        Scenario(name="database killed", down_for=SECONDS, harm=_database(RESTART, kill=True)),
        Scenario(name="database stopped", down_for="20 s", harm=_database(20.0, kill=False)),
        Scenario(name="everything frozen", down_for="20 s", harm=_stand_still),
        Scenario(name="everything at once", down_for=SECONDS, harm=_everything),
    )
}
WITH_GUESTS = (
    "one nova-compute",
    "all nova-computes",
    "all nova-conductors",
    "RabbitMQ killed",
    "database killed",
    "everything at once",
)
"""Those that are run with real guests as well."""
