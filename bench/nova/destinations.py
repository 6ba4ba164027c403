"""Asks a running nova-scheduler for destinations, over RPC, as nova-conductor does. Runs in Nova's environment, not in ours.

    python destinations.py NOVA_CONF SERVER_UUID

It takes the request of the server named, once booted, with a new uuid each time. For each line "COUNT AT_ONCE" on standard input
that many calls are made and answered by a line of JSON: the seconds of each, and of all together. Then the claims are given back.
"""

import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nova import config, context, objects
from nova.scheduler.client import query, report


class Asker:
    """The scheduler's client, and what it has claimed."""

    def __init__(self, configuration: str, server: str) -> None:
        config.parse_args(["destinations", "--config-file", configuration])
        objects.register_all()
        self._context = context.get_admin_context()
        self._request: Any = objects.RequestSpec.get_by_instance_uuid(self._context, server)
        self._request.requested_resources = []  # not kept with it; whoever asks a scheduler again sets it anew
        self._scheduler = query.SchedulerQueryClient()
        self._placement = report.SchedulerReportClient()
        self._claimed: list[str] = []

    def ask(self, _: int) -> float:
        """One decision with its claim in Placement. Seconds."""
        request, server = self._request.obj_clone(), str(uuid.uuid4())
        request.instance_uuid = server
        began = time.perf_counter()
        self._scheduler.select_destinations(
            self._context, request, [server], return_objects=True, return_alternates=True
        )
        took = time.perf_counter() - began
        self._claimed.append(server)
        return took

    def give_back(self) -> None:
        for server in self._claimed:
            self._placement.delete_allocation_for_instance(self._context, server, force=True)
        self._claimed.clear()


def main() -> None:
    asker = Asker(*sys.argv[1:3])
    for line in sys.stdin:
        count, at_once = (int(word) for word in line.split())
        with ThreadPoolExecutor(at_once) as callers:
            began = time.perf_counter()
            waits = list(callers.map(asker.ask, range(count)))
            wall = time.perf_counter() - began
        sys.stdout.write(json.dumps({"waits": waits, "wall": wall}) + "\n")
        sys.stdout.flush()
        asker.give_back()
        sys.stdout.write("given back\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
