"""``python -m kilonova.backing start|stop|status|url|install --dir D rabbitmq mariadb postgresql``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from kilonova.backing.database import DatabaseServer
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.packages import install
from kilonova.backing.postgresql import PostgreSQL
from kilonova.backing.rabbitmq import RabbitMQ
from kilonova.backing.server import LOOPBACK, PrivateServer
from kilonova.model.errors import KilonovaError

KINDS: dict[str, type[PrivateServer]] = {kind.kind: kind for kind in (RabbitMQ, MariaDB, PostgreSQL)}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _start(kind: type[PrivateServer], directory: Path, durable: bool) -> None:
    server = kind(directory, durable=durable)
    fresh = not server.running
    server.start()
    if isinstance(server, DatabaseServer):
        server.ensure_database("kilonova")
    _say(f"{kind.kind}: {'started' if fresh else 'was running'} on {LOOPBACK}:{server.port}")


def _stop(kind: type[PrivateServer], directory: Path) -> None:
    server = kind.found_in(directory)
    if server is None or not server.running:
        _say(f"{kind.kind}: not running")
        return
    server.stop()
    _say(f"{kind.kind}: stopped")


def status(kind: type[PrivateServer], directory: Path) -> dict[str, object]:
    """What is known of one server, without secrets."""
    server = kind.found_in(directory)
    process = server.process if server else None
    return {
        "kind": kind.kind,
        "running": process is not None,
        "pid": process.pid if process else None,
        "address": f"{LOOPBACK}:{server.port}" if server else None,
        "directory": str(directory),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kilonova.backing", description="Private backing servers.")
    parser.add_argument("command", choices=["start", "stop", "status", "url", "install"])
    parser.add_argument("kinds", nargs="*", help="which servers; all if none is named")
    parser.add_argument("--dir", type=Path, default=Path(".state/backing"), help="where each has its directory")
    parser.add_argument("--fast", action="store_true", help="do not wait for the disk (tests, benches)")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    options = parser.parse_intermixed_args(arguments)
    unknown = sorted(set(options.kinds) - set(KINDS))
    if unknown:
        parser.error(f"no such server: {', '.join(unknown)} (there are {', '.join(KINDS)})")
    kinds = [KINDS[name] for name in options.kinds or KINDS]
    try:
        if options.command == "install":
            names = install([package for kind in kinds for package in kind.packages])
            _say(f"installed: {', '.join(names)}" if names else "nothing to install")
            return 0
        reports = []
        for kind in reversed(kinds) if options.command == "stop" else kinds:
            directory = options.dir / kind.kind
            if options.command == "start":
                _start(kind, directory, not options.fast)
            elif options.command == "stop":
                _stop(kind, directory)
            elif options.command == "url":
                server = kind.found_in(directory)
                _say(server.url if server else "")
            else:
                reports.append(status(kind, directory))
    except KilonovaError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    if options.json:
        _say(json.dumps(reports))
    else:
        for report in reports:
            state = f"running on {report['address']}, pid {report['pid']}" if report["running"] else "not running"
            _say(f"{report['kind']}: {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
