"""``kilonova stop``: end a cloud, and see that nothing of it is left but its state directory."""

import asyncio
import logging
from pathlib import Path

from kilonova.cli import configuration, credentials
from kilonova.cli.launch import stop_backing
from kilonova.cli.processes import end
from kilonova.cli.state import Program, State
from kilonova.cli.terminal import Terminal
from kilonova.config import LogConfig
from kilonova.model.errors import KilonovaError, Misconfigured
from kilonova.telemetry import logs

_DRAIN_SECONDS = 60.0


def stop(state: State, terminal: Terminal, *, keep_guests: bool) -> None:
    """Drain the services, shut the guests down unless they are to stay, end private servers.

    Raises ``Misconfigured`` if they belong to another user, ``KilonovaError`` if something would not go.
    """
    from kilonova.cli import guests

    record = state.record()
    alive = guests.running_guests(state.hosts)
    if record is None and (keep_guests or not alive):
        terminal.say(f"Kilonova does not run in {state.directory}." + (f" {alive} guests do." if alive else ""))
        return
    try:
        _end_services(state, terminal)
        left = [] if keep_guests else _end_guests(state, terminal)
    except PermissionError:
        raise Misconfigured("what runs here belongs to another user; use: sudo kilonova stop") from None
    if keep_guests and alive:
        terminal.say(
            f"  ✓  {alive} guest{'s go' if alive > 1 else ' goes'} on running; `kilonova start` picks them up"
        )
    if record is not None and record.backing:
        with terminal.step("Stopping RabbitMQ and MariaDB") as step:
            stop_backing(state)
            step.result = "RabbitMQ and MariaDB stopped"
    if record is not None and record.links:
        credentials.unlink(state, Path(record.links))
    state.forget_api()
    state.forget_record()
    if left:
        raise KilonovaError(f"still there: {', '.join(left)}; end it by hand")
    terminal.say(
        "Kilonova is stopped." if keep_guests else "Kilonova is stopped; `kilonova start` brings its servers back."
    )


def _end_services(state: State, terminal: Terminal) -> None:
    """nova-conductor last: the others report to it while they drain."""
    programs = state.running()
    last = [program for program in programs if program.name == "nova-conductor"]
    for group in ([program for program in programs if program not in last], last):
        if group:
            _end_group(group, terminal)


def _end_group(group: list[Program], terminal: Terminal) -> None:
    names = ", ".join(program.name for program in group)
    with terminal.step(f"Stopping {names}") as step:
        killed = end(group, _DRAIN_SECONDS, step.update)
        step.result = f"{names} stopped" + (f" ({', '.join(killed)} by force)" if killed else "")


def _end_guests(state: State, terminal: Terminal) -> list[str]:
    from kilonova.cli import guests

    if not guests.real_hosts(state.hosts):
        return []
    file = state.control_file if state.control_file.exists() else None
    config = configuration.resolve(file, [], state.directory)
    logs.configure(LogConfig(level="error"))  # the driver's own words belong into nova-compute's log
    logging.getLogger("kilonova").setLevel(logging.ERROR)
    with terminal.step("Shutting the guests down") as step:
        done = asyncio.run(guests.shut_down(config, state.hosts, step.update))
        step.result = f"{done.guests} guest{'' if done.guests == 1 else 's'} shut down; no tap and no bridge is left"
    return done.left
