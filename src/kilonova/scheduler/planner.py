"""Answers what-if questions: reads the hosts in one transaction, imagines what is not, and asks the decider. Claims nothing.

It works beside nova-scheduler, on a fleet of its own, and gives way often, so that neither decisions nor requests wait for it.
"""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.config import MembershipConfig, SchedulerConfig
from kilonova.database import servers
from kilonova.database.connection import Database
from kilonova.database.flavors import choices
from kilonova.database.host_columns import Reading, read
from kilonova.database.outgoing import schedule_request
from kilonova.messaging.contract import ScheduleServer
from kilonova.model.clock import Clock, Random
from kilonova.model.errors import Unavailable
from kilonova.model.flavor import Flavor
from kilonova.model.kinds.resize import MIGRATE
from kilonova.model.server import Server
from kilonova.model.what_if import Question
from kilonova.scheduler.catalog import make_filters, make_weighers
from kilonova.scheduler.decider import Decider
from kilonova.scheduler.fleet import Fleet
from kilonova.scheduler.imagined import closed, with_more, without
from kilonova.scheduler.neighbours import read_neighbours
from kilonova.scheduler.rules import columns_read
from kilonova.scheduler.what_if import Tally, Wanted, departure, empty, place

_LOOKS = 3  # not every database shows one moment to all statements of a transaction
_AT_ONCE = 32  # decisions between two moments in which others have their turn


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """All that a question needs of the database, at one moment. ``held``: by host, servers for which a move holds room."""

    reading: Reading
    new: Wanted | None
    leaving: list[Wanted]
    held: dict[str, list[Server]]
    flavors: list[Flavor]


class Planner:
    """Answers questions with the rules that nova-scheduler has by its configuration."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        random: Random,
        *,
        scheduler: SchedulerConfig,
        membership: MembershipConfig,
    ) -> None:
        self._database = database
        self._clock = clock
        self._random = random
        self._filters = make_filters(scheduler.filters, scheduler)
        self._weighers = make_weighers(scheduler)
        self._on_demand = columns_read(*self._filters.values(), *(weigher for weigher, _ in self._weighers.values()))
        self._subset = scheduler.host_subset_size
        self._down_after = membership.down_after

    async def answer(self, question: Question) -> dict[str, Any]:
        """How many fit, where, and what stops the next one. Raises ``Invalid`` for hosts that are not there."""
        for _ in range(_LOOKS):
            look = await self._database.run(self._look, question)
            reading, new_hosts = _imagine(look.reading, question)
            fleet = Fleet()
            if fleet.apply(reading):
                break
        else:
            raise Unavailable("hosts came or went during each look at them; ask again")
        decider = Decider(
            fleet, self._filters, self._filters, self._weighers, subset=self._subset, random=self._random
        )
        answer: dict[str, Any] = {"hosts": len(fleet), "new_hosts": new_hosts}
        if question.drain:
            answer["drain"] = await self._drain(decider, question, look)
        if look.new is not None:
            answer["servers"] = await self._fill(decider, look.new, question.count, look.flavors)
        return answer

    async def _fill(self, decider: Decider, new: Wanted, count: int, flavors: list[Flavor]) -> dict[str, Any]:
        tally = Tally(new, count)
        for number, decision in enumerate(place(decider, new, count, flavors), 1):
            tally.add(decision)
            if number % _AT_ONCE == 0:
                await self._clock.sleep(0)
        return tally.answer()

    async def _drain(self, decider: Decider, question: Question, look: _Look) -> list[dict[str, Any]]:
        on_host: dict[str | None, list[dict[str, Any]]] = {host: [] for host in question.drain}
        for number, (wanted, decision) in enumerate(empty(decider, look.leaving, look.flavors), 1):
            on_host[wanted.leaves].append(departure(wanted, decision))
            if number % _AT_ONCE == 0:
                await self._clock.sleep(0)
        return [
            {
                "host": host,
                "can_be_drained": all(one["fits"] for one in on_host[host]) and not look.held[host],
                "servers": on_host[host],
                "held_by_moves": [{"id": server.id, "name": server.name} for server in look.held[host]],
            }
            for host in question.drain
        ]

    # --- what is read -----------------------------------------------------------------------------------------

    def _look(self, connection: Connection, question: Question) -> _Look:
        now = self._clock.now()
        leaving: list[Server] = []
        held: dict[str, list[Server]] = {host: [] for host in question.drain}
        for host in question.drain:
            for server in servers.with_claims_on(connection, host):
                (leaving if server.host == host else held[host]).append(server)
        requests = [_leaving(server) for server in leaving]
        new = None if question.flavor is None else _arriving(question)
        beside = read_neighbours(connection, [*([] if new is None else [new]), *requests])
        return _Look(
            reading=read(
                connection,
                now=now,
                since=0,
                beyond=0,
                heard_since=now - int(self._down_after * 1_000_000),
                aggregates_mark=(),
                on_demand=self._on_demand,
            ),
            new=None if new is None else Wanted(request=new, neighbours=beside.pop(0)),
            leaving=[
                Wanted(request=request, neighbours=neighbours, name=server.name, leaves=server.host)
                for server, request, neighbours in zip(leaving, requests, beside, strict=True)
            ],
            held=held,
            flavors=choices(connection, [question.project_id])[question.project_id],
        )


def _imagine(reading: Reading, question: Question) -> tuple[Reading, list[str]]:
    """The hosts as the question has them, and the names of the new ones. Raises ``Invalid``."""
    new_hosts: list[str] = []
    if question.new_hosts is not None:
        reading, new_hosts = with_more(reading, question.new_hosts)
    return without(closed(reading, question.drain), question.without_hosts), new_hosts


def _leaving(server: Server) -> ScheduleServer:
    """The request of a server that is to leave its host."""
    request = schedule_request("", 0, server, [server.host or ""])
    return msgspec.structs.replace(request, kind=MIGRATE.name, requested_host=None)


def _arriving(question: Question) -> ScheduleServer:
    """The request of a new server that is only imagined."""
    values: dict[str, Any] = dict.fromkeys(Server.__struct_fields__)
    values |= {
        "id": "",
        "name": "",
        "hostname": "",
        "project_id": question.project_id,
        "user_id": question.user_id,
        "flavor": question.flavor,
        "image": question.image,
        "image_id": question.image_id,
        "requested_zone": question.availability_zone,
        "scheduler_hints": question.hints,
        "addresses": [],
        "metadata": {},
        "launch_index": 0,
    }
    return schedule_request("", 0, Server(**values), [])
