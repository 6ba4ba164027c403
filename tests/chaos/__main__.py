"""Kill services in the middle of a burst, and count what is left half done. It must be nothing.

    python -m tests.chaos [--scenario NAME …] [--database mariadb|postgresql] [--creates 200] [--json] [--logs DIRECTORY]
    python -m tests.chaos --guests
    python -m tests.chaos --rolling

Real processes: two each of nova-api, nova-conductor and nova-scheduler, two nova-compute with five fake hosts each, on a RabbitMQ
and a database of their own. At 40 % of a burst of creates, deletes and reboots (8 clients) the named process gets SIGKILL
(unless said) and is started again, as systemd would; then everything that was answered with 2xx must end as asked, or in ERROR
with a reason, in time. Exit code 1: it did not. The same procedure for real Nova is in its baseline. ``--guests``: smaller, with
real guests on two hosts; QEMU's own processes are looked at then.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from kilonova.cli.checkout import guest_image
from kilonova.model.errors import KilonovaError
from tests.chaos.cloud import Cloud, machine_load, running_cloud
from tests.chaos.load import Asked, Client
from tests.chaos.report import Result, as_json, table
from tests.chaos.rolling import roll
from tests.chaos.scenarios import BY_LEASE, SCENARIOS, WITH_GUESTS, Scenario
from tests.chaos.verdict import Picture, Verdict, Witness, duplicated, judge, unfinished

T = TypeVar("T")
HIT_AT = 0.4
SETTLED_BEFORE = 40
GUESTS_BEFORE, GUESTS = 4, 12
"""Servers before the burst and in it, where the guests are real."""
GIVE_UP = 90.0
POLL = 0.25


class Run:
    """One scenario on a running cloud."""

    def __init__(self, cloud: Cloud, scenario: Scenario, client: Client, witness: Witness, creates: int) -> None:
        self.cloud, self.scenario, self.client, self.witness = cloud, scenario, client, witness
        self.creates = creates
        self.asked = Asked()
        self.ran_twice: set[str] = set()
        self.leftover: list[str] = []
        self.slow_before: list[str] = []
        self.hit_at = 0.0

    async def go(self) -> Result:
        """Burst, harm, settle, judge, tidy up."""
        before = await self._some_servers(GUESTS_BEFORE if self.cloud.guests else SETTLED_BEFORE)
        self.asked.slowest, self.asked.answers = 0.0, type(self.asked.answers)()
        harming: asyncio.Task[float] | None = None

        def at(share: float) -> None:
            nonlocal harming
            if share >= HIT_AT and harming is None:
                harming = asyncio.get_running_loop().create_task(self._harm())

        await self.client.burst(self.asked, before, self.creates, at)
        assert harming is not None
        begin = max(await harming, self.asked.last_answer)
        settled = await self._settle(begin)
        verdict = await self._judge()
        if settled is None:
            verdict.violations.append(f"not settled {GIVE_UP:g} s after what was killed was back")
        elif settled - begin > self.scenario.bound:
            verdict.violations.append(f"settled after {settled - begin:.1f} s; promised are {self.scenario.bound:g}")
        result = Result(
            scenario=self.scenario.name,
            down_for=self.scenario.down_for,
            accepted=self.asked.accepted,
            unanswered=self.asked.unanswered,
            answers=dict(self.asked.answers),
            verdict=verdict,
            settled_after_back=None if settled is None else round(settled - begin, 1),
            settled_after_hit=None if settled is None else round(settled - self.hit_at, 1),
            slowest_post=round(self.asked.slowest, 1),
            load=round(machine_load(), 1),
        )
        await self._tidy(verdict)
        return result

    async def _harm(self) -> float:
        """When what was taken away was back; what stays away was "back" when it was hit."""
        self.hit_at = time.monotonic()
        await self.scenario.harm(self.cloud)
        return self.hit_at if self.scenario.down else time.monotonic()

    async def _some_servers(self, count: int) -> list[str]:
        made = [await self.client.create(self.asked, f"before-{number}") for number in range(count)]
        if await self._wait(set(), BY_LEASE) is None:
            self.slow_before = [f"not finished before anything was killed: {what}" for what in self.leftover]
        return [one for one in made if one is not None]

    async def _settle(self, begin: float) -> float | None:
        picture = await self._picture()
        hosts = set(picture.guests) if picture is not None else set()
        return await self._wait(self.scenario.dead_hosts(hosts), begin + GIVE_UP - time.monotonic())

    async def _wait(self, dead: set[str], patience: float) -> float | None:
        """The moment from which nothing was unfinished any more, or None after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            seen_at = time.monotonic()
            picture = await self._picture()
            if picture is not None:
                self.ran_twice.update(duplicated(picture))
                self.leftover = unfinished(picture, dead)
                if not self.leftover:
                    return seen_at
            await asyncio.sleep(POLL)
        return None

    async def _picture(self) -> Picture | None:
        try:
            return await self.witness.picture()
        except KilonovaError:
            return None  # the database is what was taken away

    async def _judge(self) -> Verdict:
        picture = await self.witness.picture()
        verdict = judge(picture, self.asked, self.scenario.dead_hosts(set(picture.guests)))
        verdict.violations += self.slow_before + sorted(self.ran_twice - set(verdict.violations))
        return verdict

    async def _tidy(self, verdict: Verdict) -> None:
        """Everything back and everything deleted: nothing may be left anywhere."""
        self.cloud.bring_back(self.scenario.down)
        await self.cloud.until_up(self.scenario.down)
        picture = await self.witness.picture()
        for server_id in picture.living():
            await self.client.delete(Asked(), server_id)
        if await self._wait(set(), BY_LEASE) is None:
            picture = await self.witness.picture()
            verdict.violations += [f"after the end: {what}" for what in unfinished(picture, set())]
        picture = await self.witness.picture()
        verdict.violations += [f"after the end: {one.kind} {one.subject}: {one.message}" for one in picture.findings]
        left = len(picture.living()) + picture.allocations + sum(len(guests) for guests in picture.guests.values())
        if left:
            verdict.violations.append(f"after the end {left} servers, allocations and guests are left")


async def run(options: argparse.Namespace) -> list[Result]:
    """All scenarios; after one that was violated the next gets a new cloud."""
    todo = [SCENARIOS[name] for name in options.scenario or (WITH_GUESTS if options.guests else SCENARIOS)]
    results: list[Result] = []
    while todo:
        async with running_cloud(options.database, options.hosts, options.logs, guests=options.guests) as cloud:
            await _while_sound(cloud, todo, options, results)
    return results


async def _while_sound(
    cloud: Cloud, todo: list[Scenario], options: argparse.Namespace, results: list[Result]
) -> None:
    witness = Witness(cloud.database_url, cloud.state)
    try:
        while todo:
            client = Client(cloud.url, options.clients, guest_image() if options.guests else None)
            await client.login()
            result = await Run(cloud, todo.pop(0), client, witness, options.creates).go()
            await client.close()
            results.append(result)
            print(table([result], header=len(results) == 1), file=sys.stderr, flush=True)
            if result.verdict.violations:
                print(*result.verdict.violations[:20], sep="\n", file=sys.stderr, flush=True)
                return
    finally:
        await witness.close()


async def _roll(options: argparse.Namespace) -> dict[str, Any]:
    async with running_cloud(options.database, options.hosts, options.logs) as cloud:
        return await roll(cloud, options.rate)


async def _ended_by_signals(work: Coroutine[Any, Any, T]) -> T:
    """Whatever ends us, what we started must be gone: SIGINT may be ignored (nohup), SIGTERM would leave it."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="all, if none is named")
    parser.add_argument("--rolling", action="store_true", help="restart every service in turn, under load")
    parser.add_argument("--database", choices=("mariadb", "postgresql"), default="mariadb")
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument(
        "--guests", action="store_true", help="fewer servers, with real guests (root, QEMU, a built image)"
    )
    parser.add_argument("--creates", type=int, help=f"default 200, with --guests {GUESTS}")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float, default=20.0, help="creates per second of --rolling")
    parser.add_argument("--logs", type=Path, help="keep the services' logs in this directory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.creates = options.creates or (GUESTS if options.guests else 200)
    if options.rolling:
        rolled = asyncio.run(_ended_by_signals(_roll(options)))
        print(json.dumps(rolled, indent=2))
        return 1 if rolled["violations"] else 0
    results = asyncio.run(_ended_by_signals(run(options)))
    print(json.dumps([as_json(result) for result in results], indent=2) if options.json else table(results))
    return 1 if any(result.verdict.violations for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
