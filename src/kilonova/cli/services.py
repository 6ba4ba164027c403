"""The ``nova-*`` programs: one sub-service each, and ``nova-all-in-one`` with all of them.

Exit codes (sysexits.h): 0 stopped in good order, 69 the database or broker cannot be reached, 70 a bug, 78 the
configuration or the machine has to be changed. Whatever is wrong is said in one line.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CONFIG = 78


def all_in_one() -> None:
    """All four sub-services in one process."""
    _main("nova-all-in-one", ("nova-api", "nova-scheduler", "nova-conductor", "nova-compute"))


def api() -> None:
    """nova-api alone."""
    _main("nova-api", ("nova-api",))


def scheduler() -> None:
    """nova-scheduler alone."""
    _main("nova-scheduler", ("nova-scheduler",))


def conductor() -> None:
    """nova-conductor alone."""
    _main("nova-conductor", ("nova-conductor",))


def compute() -> None:
    """nova-compute alone."""
    _main("nova-compute", ("nova-compute",))


def _main(name: str, binaries: tuple[str, ...]) -> None:
    options = _parse(name)
    from kilonova.model.errors import KilonovaError, Misconfigured, Unavailable

    try:
        _run(name, binaries, options)
    except Misconfigured as error:
        _die(name, error.message, EX_CONFIG)
    except Unavailable as error:
        _die(name, error.message, EX_UNAVAILABLE)
    except KilonovaError as error:
        _die(name, error.message, EX_SOFTWARE)
    except KeyboardInterrupt:
        _die(name, "interrupted", 130)


def _parse(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=name, epilog=f"example: {name} --config /etc/kilonova.toml --set api.port=8775"
    )
    parser.add_argument("--config", type=Path, help="TOML file with options; `kilonova options` lists them")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="one option")
    parser.add_argument("--pid-file", type=Path, help="written once the services are up, removed at the end")
    return parser.parse_args()


def _run(name: str, binaries: tuple[str, ...], options: argparse.Namespace) -> None:
    import setproctitle

    setproctitle.setproctitle(name)
    from kilonova import service
    from kilonova.config import load_config
    from kilonova.telemetry.logs import configure

    config = load_config(options.config, options.set)
    if name == "nova-compute":  # several may run on one machine: ps tells which is which
        setproctitle.setproctitle(f"{name} {config.compute.host}")
    configure(config.log)
    import uvloop

    def started(_: service.Process) -> None:
        if options.pid_file is not None:
            options.pid_file.write_text(f"{os.getpid()}\n")

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(service.run(config, binaries, started))
    finally:
        if options.pid_file is not None:
            options.pid_file.unlink(missing_ok=True)


def _die(name: str, message: str, code: int) -> None:
    print(f"{name}: {message}", file=sys.stderr)
    sys.exit(code)
