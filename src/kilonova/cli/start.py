"""``kilonova start``: from nothing to a cloud that runs in the background, with a first server and how it came to be."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kilonova.cli import configuration, credentials, status
from kilonova.cli.checkout import guest_image
from kilonova.cli.launch import Launched, Launcher
from kilonova.cli.processes import end, require_free_port
from kilonova.cli.state import Record, State
from kilonova.cli.terminal import Terminal
from kilonova.config import Config
from kilonova.model.errors import Misconfigured

if TYPE_CHECKING:
    from kilonova.cli.client import Cloud
    from kilonova.cli.first_server import FirstServer
    from kilonova.cli.timelines import Journey


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. ``links``: a directory that gets links to openrc and clouds.yaml."""

    state_dir: Path | None
    file: Path | None
    overrides: list[str]
    driver: str | None
    distributed: bool
    hosts: int | None
    port: int | None
    first_server: bool
    links: Path | None


def start(wishes: Wishes, *, json_output: bool) -> None:
    """Do all of it. A cloud that runs already is shown and left alone."""
    terminal = Terminal(json_output=json_output)
    config = configuration.resolve(wishes.file, _overrides(wishes), wishes.state_dir)
    state = State(config.state_dir)
    if _runs_already(state):
        terminal.say(f"Kilonova runs already in {state.directory}.")
        status.show(state, json_output=json_output)
        return
    state.make()
    config = _with_driver(config, terminal)
    image = _guest_image(config, terminal)
    config, hosts = _with_hosts(config, wishes)
    require_free_port(config.api.host, config.api.port)
    _clear_remains(state)
    if config.identity.admin_password is None:  # the same one, even where another shape's database is new
        config = configuration.changed(config, identity={"admin_password": state.password()})
    launched = Launcher(state, config, terminal, _record(config, wishes)).launch(hosts)
    url = state.api_url() or ""
    credentials.write_credentials(state, config, url)
    if wishes.links is not None:
        credentials.link(state, wishes.links)
    _introduce(state, config, wishes, terminal, json_output, launched, url, image)


def _overrides(wishes: Wishes) -> list[str]:
    overrides = list(wishes.overrides)
    if wishes.driver is not None:
        overrides.append(f"compute.driver={wishes.driver}")
    if wishes.port is not None:
        overrides.append(f"api.port={wishes.port}")
    return overrides


def _runs_already(state: State) -> bool:
    record = state.record()
    return record is not None and bool(record.programs) and len(state.running()) == len(record.programs)


def _clear_remains(state: State) -> None:
    """A start after some of the programs were killed: the rest must not meet the new ones. Guests stay."""
    end(state.running(), 20.0, lambda left: None)


def _record(config: Config, wishes: Wishes) -> Record:
    return Record(
        shape="distributed" if wishes.distributed else "embedded",
        driver=config.compute.driver,
        bridge=config.network.bridge,
        programs=[],
        links=str(wishes.links.absolute()) if wishes.links else None,
        backing=wishes.distributed,
    )


def _with_driver(config: Config, terminal: Terminal) -> Config:
    """``auto`` decided here, so that the choice is said aloud and one message tells what is missing for real guests."""
    if config.compute.driver == "fake":
        return config
    from kilonova.hypervisor.qemu import machine
    from kilonova.hypervisor.qemu.settings import QemuSettings

    try:
        machine.require(QemuSettings())
    except Misconfigured as error:
        if config.compute.driver == "qemu":
            raise
        terminal.warn(f"Real guests cannot run here: {error.message}.")
        terminal.warn("Going on with imitated hosts: every API works, guests are only remembered.")
        return configuration.changed(config, compute={"driver": "fake"})
    return configuration.changed(config, compute={"driver": "qemu"})


def _guest_image(config: Config, terminal: Terminal) -> Path | None:
    """The test guest's disk, built if it is missing; None for imitated hosts."""
    if config.compute.driver != "qemu":
        return None
    image = guest_image()
    if not image.exists():
        from kilonova.cli import guest

        guest.build(terminal)
    return image


def _with_hosts(config: Config, wishes: Wishes) -> tuple[Config, int]:
    if wishes.distributed:
        return config, wishes.hosts or 2
    if wishes.hosts is None or wishes.hosts == 1:
        return config, 1
    if config.compute.driver != "fake":
        raise Misconfigured(
            f"--hosts {wishes.hosts}: one process serves one real machine; add --driver fake to imitate hosts, "
            "or --distributed for a nova-compute each"
        )
    return configuration.changed(config, compute={"fake_hosts": wishes.hosts}), wishes.hosts


def _introduce(
    state: State,
    config: Config,
    wishes: Wishes,
    terminal: Terminal,
    json_output: bool,
    launched: Launched,
    url: str,
    image: Path | None,
) -> None:
    """Image, first server and its way; then what to do next."""
    from kilonova.cli import first_server, timelines
    from kilonova.cli.client import Cloud, Credentials

    cloud = Cloud.connect(Credentials.of_state(state))
    image_name, image_id = first_server.ensure_image(cloud, image, terminal)
    present = first_server.servers(cloud)
    first, journey = None, None
    if wishes.first_server and not present:
        first = first_server.create_first(cloud, image_id, terminal, imitated=image is None)
        _show_console(first, terminal)
        journey = timelines.read_journey(cloud, first.server_id, first.name, first.request_id)
    if json_output:
        print(json.dumps(_report(state, config, launched, url, image_name, first, journey), indent=2))
    elif journey is not None:
        _show_way(journey)
    elif present:
        _show_servers(cloud, terminal)
    _farewell(state, wishes, terminal, url, image_name)
    cloud.close()


def _show_console(first: "FirstServer", terminal: Terminal) -> None:
    for line in first.console:
        terminal.say(f"       │ {line}")


def _show_way(journey: "Journey") -> None:
    from rich.console import Console

    from kilonova.cli import timelines

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print("\nHow the sub-services made it, as they recorded it:\n", markup=False)
    timelines.draw(journey, console, detailed=False)
    console.print(f"\n  {timelines.summary(journey)}", markup=False)


def _show_servers(cloud: "Cloud", terminal: Terminal) -> None:
    from kilonova.cli import first_server

    found = first_server.servers(cloud)
    terminal.say(f"\nServers ({len(found)}):")
    for server in found[:10]:
        host = server.get("OS-EXT-SRV-ATTR:host") or "no host"
        terminal.say(f"  {server['name']}  {server['status']}  on {host}")
    if len(found) > 10:
        terminal.say("  …")


def _farewell(state: State, wishes: Wishes, terminal: Terminal, url: str, image_name: str) -> None:
    near = wishes.links or state.directory
    openrc = _short(near / "openrc")
    terminal.say(f"\nThe cloud runs in the background. Its API: {url}")
    terminal.say(f"\n  source {openrc}")
    terminal.say(f"  openstack server create --flavor m1.tiny --image {image_name} --wait web")
    terminal.say("\nPrograms find the clouds “kilonova”, “devstack” and “devstack-admin” in")
    terminal.say(f"  {_short(near / 'clouds.yaml')}")
    make = wishes.links is not None and (wishes.links / "Makefile").exists()
    program = Path(sys.argv[0])
    command = _short(program) if program.name == "kilonova" and program.parent not in _on_path() else "kilonova"
    lines = [
        (f"{command} trace web", "the way of a request through the sub-services"),
        (f"{command} status", "services, hosts and servers"),
        ("make stop" if make else f"{command} stop", "end it; the next start brings its servers back"),
    ]
    width = max(len(line) for line, _ in lines) + 3
    terminal.say()
    for line, text in lines:
        terminal.say(f"  {line:<{width}}{text}")


def _on_path() -> list[Path]:
    return [Path(directory) for directory in os.environ.get("PATH", "").split(os.pathsep)]


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    if relative.startswith(".."):
        return str(path)
    return relative if "/" in relative else f"./{relative}"


def _report(
    state: State,
    config: Config,
    launched: Launched,
    url: str,
    image_name: str,
    first: "FirstServer | None",
    journey: "Journey | None",
) -> dict[str, Any]:
    from kilonova.cli import timelines

    return {
        "url": url,
        "state_dir": str(state.directory),
        "driver": config.compute.driver,
        "openrc": str(state.openrc),
        "clouds_yaml": str(state.clouds),
        "api_answered_seconds": round(launched.answered, 3),
        "services_up_seconds": round(launched.complete, 3),
        "image": image_name,
        "server": msgspec.to_builtins(first) if first else None,
        "way": timelines.as_json(journey) if journey else None,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
