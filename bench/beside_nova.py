"""Real Nova 34 with Placement 16 and Kilonova, the same work on the same machine in the same run.

    python -m bench.beside_nova [--hosts 1000] [--computes 10] [--servers 30] [--requests 20] [--json]

Installs Nova, Placement and Keystone into .venv-nova and memcached unless they are there, starts them privately on loopback,
measures, ends and removes them; then the same with ours. Servers are booted on ``--computes`` hosts, decisions and candidates
are found among ``--hosts``.

Left out in Nova's favour: Glance and Neutron are stand-ins that answer at once from memory and are not counted, servers have
no networks (ours have their ports made and bound), hosts are FakeDrivers, tokens are cached, and no client polls Nova (its
table is read instead; ours is asked every 20 ms). Nova's hosts are all alike, and so are the requests; ours are the mixed ones
of bench.scheduler, with zones, traits and groups. Both have the same MariaDB, which keeps every commit, and the same RabbitMQ.

In our favour: our scheduler is handed its requests in process, while Nova's reads them from the broker and answers (the broker
itself is counted on neither side of a decision), and 500 decisions share the first look at the hosts; four warmed Nova's.

"Services" are nova-*, Placement and Keystone there, all our processes here; for a decision nova-scheduler with Placement, or our
scheduler. The "backing" is MariaDB, for servers and candidates RabbitMQ and memcached too. CPU-ms are the figures to compare;
wall times are those of a machine that others may use as well.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from bench import comparison, ours_beside_nova
from bench.closed_loop import Cost
from bench.nova import environment, measures
from bench.nova.deployment import deployed
from bench.nova.memcached import Memcached
from bench.nova.phantoms import Phantoms
from bench.nova.preparation import prepare, start_computes
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.packages import install
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.model.errors import KilonovaError

OUR_DECISIONS = 500
"""More than Nova's: ours are too short for so few."""


def nova(environment_directory: Path, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Cost]:
    """All work on real Nova, from an empty directory to a removed one."""
    with deployed(environment_directory, say) as deployment:
        prepare(deployment, say)
        start_computes(deployment, options.computes, say)
        say(f"Nova: booting {options.servers} servers with one client, and with eight")
        found, server = asyncio.run(measures.servers(deployment, options.servers))
        deployment.stop([name for name in deployment.processes if name.startswith("compute")])
        phantoms = Phantoms(deployment)
        say(f"Nova: making them {options.hosts} hosts")
        asyncio.run(phantoms.seed(options.hosts))
        say(f"Nova: {options.requests} allocation candidates")
        found |= asyncio.run(measures.candidates(deployment, options.requests))
        say(f"Nova: {options.requests} decisions, one at a time, and eight")
        return found | asyncio.run(measures.decisions(deployment, server, options.requests, phantoms))


def kilonova(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Cost]:
    """The same work on ours."""
    return {
        **ours_beside_nova.servers(options.computes, options.servers, say),
        **ours_beside_nova.candidates(options.hosts, options.requests, say),
        **ours_beside_nova.decisions(options.hosts, max(OUR_DECISIONS, options.requests), say),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1_000, help="hosts to decide among")
    parser.add_argument("--computes", type=int, default=10, help="hosts that servers are booted on; an even number")
    parser.add_argument("--servers", type=int, default=30, help="servers for each number of clients")
    parser.add_argument("--requests", type=int, default=20, help="decisions for each number waiting, and candidates")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if min(options.servers, options.requests) < 1 or options.computes < 2 or options.computes % 2:
        parser.error("there must be work to do, and an even number of computes")
    if options.hosts < options.computes or options.hosts % 2:
        parser.error("--hosts must be even, and at least --computes")
    return options


def _ended(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    options = _arguments()
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {text}\n")
        sys.stderr.flush()

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)  # an orderly end of everything that was started
    logging.getLogger("asyncmy").setLevel(logging.ERROR)  # MariaDB's notes on the names of our keys
    try:
        install([package for kind in (MariaDB, RabbitMQ, Memcached) for package in kind.packages], quiet=True)
        directory = environment.prepare(environment.ROOT / ".venv-nova", say)
        theirs = nova(directory, options, say)
        ours = kilonova(options, say)
    except KilonovaError as error:
        raise SystemExit(error.message) from error
    if options.json:
        sides = {"nova": theirs, "kilonova": ours}
        found = {side: {work: asdict(cost) for work, cost in costs.items()} for side, costs in sides.items()}
        print(json.dumps({"hosts": options.hosts, "computes": options.computes, **found}))
        return
    print(f"Servers on {options.computes} hosts, decisions and candidates among {options.hosts}.\n")
    names = ("work", "Nova 34 + Placement 16", "Kilonova", "ratio")
    print(comparison.table(names, comparison.rows(theirs, ours)))


if __name__ == "__main__":
    main()
