"""The ``kilonova`` command. Here is only what it understands; each command's work is a module of its own.

Modules are imported inside the commands: ``kilonova --help`` must not load a cloud. Exit codes are those of the
``nova-*`` programs (sysexits.h), 1 for anything else that did not work and for a check that found something, and 3 for a
status that found nothing running.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kilonova.cli.state import State

app = typer.Typer(
    name="kilonova",
    help="An OpenStack-compatible compute cloud. Begin with: kilonova start",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
guest_app = typer.Typer(help="The small test guest.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(guest_app, name="guest")
simulate_app = typer.Typer(rich_markup_mode=None)
app.add_typer(simulate_app, name="simulate")

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", envvar="KILONOVA_STATE_DIR", help="Where everything that lasts is kept.", show_default=".state"
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The services' TOML file.", show_default="kilonova.toml of the state directory"),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.OPTION=VALUE", help="One option; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def main() -> None:
    """Run, and say what is wrong in one line."""
    from kilonova.cli.services import EX_CONFIG, EX_UNAVAILABLE
    from kilonova.model.errors import KilonovaError, Misconfigured, Unavailable

    try:
        app()
    except Misconfigured as error:
        _die(error, EX_CONFIG)
    except Unavailable as error:
        _die(error, EX_UNAVAILABLE)
    except KilonovaError as error:
        _die(error, getattr(error, "code", 1))
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()


def _die(error: Exception, code: int) -> None:
    print(f"kilonova: {getattr(error, 'message', error)}", file=sys.stderr)
    sys.exit(code)


def _state(directory: Path | None) -> "State":
    from kilonova.cli.state import DEFAULT, State

    return State(directory or DEFAULT)


@app.command(epilog="Example: sudo kilonova start --port 9000")
def start(
    state_dir: StateDir = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file; see: kilonova options")] = None,
    overrides: Overrides = None,
    driver: Annotated[
        str | None,
        typer.Option(help="qemu (real guests, needs root), fake (imitated hosts) or auto.", show_default="auto"),
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="A process for each service, on a private RabbitMQ and MariaDB.")
    ] = False,
    hosts: Annotated[int | None, typer.Option(min=1, help="Compute hosts: with fake, or distributed (2).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the API.", show_default="8774")] = None,
    first_server: Annotated[
        bool, typer.Option(help="Create a first server in an empty cloud, and show its way.")
    ] = True,
    links: Annotated[Path | None, typer.Option(help="Put links to openrc and clouds.yaml here.", hidden=True)] = None,
    json_output: Json = False,
) -> None:
    """Start the cloud in the background, create a first server, show how it came to be."""
    from kilonova.cli.start import Wishes
    from kilonova.cli.start import start as start_cloud

    wishes = Wishes(
        state_dir=state_dir,
        file=config,
        overrides=overrides or [],
        driver=driver,
        distributed=distributed,
        hosts=hosts,
        port=port,
        first_server=first_server,
        links=links,
    )
    start_cloud(wishes, json_output=json_output)


@app.command(epilog="Example: sudo kilonova stop --keep-guests")
def stop(
    state_dir: StateDir = None,
    keep_guests: Annotated[
        bool, typer.Option("--keep-guests", help="Leave the guests running; start picks them up.")
    ] = False,
) -> None:
    """End the cloud: services, guests, bridges. The next start brings its servers back."""
    from kilonova.cli.stop import stop as stop_cloud
    from kilonova.cli.terminal import Terminal

    stop_cloud(_state(state_dir), Terminal(), keep_guests=keep_guests)


@app.command(epilog="Example: kilonova status --json")
def status(state_dir: StateDir = None, json_output: Json = False) -> None:
    """Show services, hosts and servers. Exit code 3: nothing runs."""
    from kilonova.cli.status import show

    raise typer.Exit(show(_state(state_dir), json_output=json_output))


@app.command(epilog="Example: kilonova check && echo clean")
def check(
    state_dir: StateDir = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Look whether anything is half done, leaked or counted wrongly. On the control node: it reads the database itself.

    Exit code 0: nothing; 1: there are findings, each with what to do.
    """
    from kilonova.cli.check import show

    raise typer.Exit(show(_state(state_dir), config, overrides or [], json_output=json_output))


@app.command(epilog="Example: kilonova actions --late")
def actions(
    state_dir: StateDir = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    late: Annotated[bool, typer.Option("--late", help="Only those that should have been taken over.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    json_output: Json = False,
) -> None:
    """List what is being done to servers, and what failed. On the control node: it reads the database itself."""
    from kilonova.cli.actions import show

    show(_state(state_dir), config, overrides or [], late=late, failed=failed, json_output=json_output)


@app.command(epilog="Example: kilonova trace first")
def trace(
    what: Annotated[
        str, typer.Argument(metavar="SERVER|REQUEST", help="A server's name or id, or a request id (req-…).")
    ],
    state_dir: StateDir = None,
    json_output: Json = False,
) -> None:
    """Draw a request's way through the sub-services: who, where, when, how long, how it ended."""
    import json

    from kilonova.cli import trace as tracing
    from kilonova.cli.client import Cloud, Credentials
    from kilonova.cli.timelines import as_json

    cloud = Cloud.connect(Credentials.find(_state(state_dir)))
    if json_output:
        journeys, _ = tracing.find(cloud, what)
        print(json.dumps([as_json(journey) for journey in journeys], indent=2))
    else:
        tracing.show(cloud, what)


@app.command(epilog="Example: kilonova explain web-1")
def explain(
    what: Annotated[str, typer.Argument(metavar="SERVER", help="A server's name or id.")],
    state_dir: StateDir = None,
    every: Annotated[bool, typer.Option("--all", help="Earlier decisions too, as long as they are kept.")] = False,
    json_output: Json = False,
) -> None:
    """Tell why a server is where it is, or nowhere: what each rule dropped, how hosts ranked, what would have fitted.

    Administrators see hosts and numbers; owners see rules, counts, and what to ask for instead.
    """
    from kilonova.cli.client import Cloud, Credentials
    from kilonova.cli.explain import show

    show(Cloud.connect(Credentials.find(_state(state_dir))), what, every=every, json_output=json_output)


@app.command(name="what-if", epilog="Example: kilonova what-if --flavor m1.large --count 40 --drain host3")
def what_if(
    state_dir: StateDir = None,
    flavor: Annotated[str | None, typer.Option(help="The servers' flavor, by name or id.")] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many servers.")] = 1,
    image: Annotated[str | None, typer.Option(help="Their image, by name or id; its properties count.")] = None,
    zone: Annotated[str | None, typer.Option(help="Their availability zone.")] = None,
    hint: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A hint; may be repeated.")] = None,
    add_hosts: Annotated[int | None, typer.Option(min=1, max=10_000, help="As if there were so many more.")] = None,
    like: Annotated[str | None, typer.Option(metavar="HOST", help="Which host the new ones are like.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="CORES,MIB,GIB", help="What can be claimed of each new host.")
    ] = None,
    without_host: Annotated[list[str] | None, typer.Option(metavar="HOST", help="As if it were not there.")] = None,
    drain: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Whether its servers find a place elsewhere.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Tell how many servers would fit, where, and what stops the next one, or whether a host can be drained. Nothing is done.

    For administrators. Exit code 1: not all would fit.
    """
    from kilonova.cli.client import Cloud, Credentials
    from kilonova.cli.what_if import hints_of, show, sizes_of
    from kilonova.model.errors import Misconfigured

    if flavor is None and not drain:
        raise Misconfigured("name a --flavor, a host to --drain, or both")
    if add_hosts is None and (like or size):
        raise Misconfigured("--like and --size say what --add-hosts adds; name how many")
    new_hosts = None if add_hosts is None else {"count": add_hosts, "like": like, **sizes_of(size)}
    question = {
        "flavor": flavor,
        "count": count,
        "image": image,
        "availability_zone": zone,
        "hints": hints_of(hint or []),
        "add_hosts": {key: value for key, value in new_hosts.items() if value is not None} if new_hosts else None,
        "without_hosts": without_host,
        "drain": drain,
    }
    asked = {key: value for key, value in question.items() if value}
    cloud = Cloud.connect(Credentials.find(_state(state_dir)))
    raise typer.Exit(0 if show(cloud, asked, json_output=json_output) else 1)


@app.command(epilog="Example: kilonova options | less")
def options(json_output: Json = False) -> None:
    """List every option with its default and what it is for."""
    from kilonova.cli.options import show

    show(json_output=json_output)


@app.command(name="api-report", epilog="Example: kilonova api-report | grep keypairs")
def api_report(json_output: Json = False) -> None:
    """List every operation of the Compute API: its path, microversions, least role and policy rule."""
    from kilonova.cli.api_report import show

    show(json_output=json_output)


@app.command(epilog="Example: kilonova openrc > admin.rc")
def openrc(state_dir: StateDir = None) -> None:
    """Print the lines that make OpenStack clients talk to this cloud (they hold a password)."""
    from kilonova.model.errors import Misconfigured

    state = _state(state_dir)
    if not state.openrc.exists():
        raise Misconfigured(
            f"there are no credentials in {state.directory}; start a cloud there with `kilonova start`"
        )
    print(state.openrc.read_text(), end="")


@simulate_app.callback(invoke_without_command=True, epilog="Example: kilonova simulate --seeds 1000")
def simulate(
    context: typer.Context,
    seeds: Annotated[int, typer.Option(min=1, help="How many worlds.")] = 100,
    first: Annotated[int, typer.Option("--from", min=0, help="The first seed.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Only this one, and tell how it went.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one per core")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: every event of the world.")] = False,
) -> None:
    """Run whole clouds in virtual time in which all goes wrong. Exit code 1: a rule was broken."""
    if context.invoked_subcommand is not None:
        return
    from kilonova.cli.simulate import run_many, show_one
    from kilonova.cli.terminal import Terminal

    if seed is not None:
        raise typer.Exit(show_one(seed, Terminal(), trace=trace))
    raise typer.Exit(run_many(first, seeds, jobs, Terminal()))


@simulate_app.command(
    "fleet", epilog="Example: kilonova simulate fleet --hosts 10000 --servers 100000 --arrival 50 --plot fleet.png"
)
def simulate_fleet(
    hosts: Annotated[int, typer.Option(min=1, help="Hosts of mixed sizes in three zones.")] = 1000,
    servers: Annotated[int, typer.Option(min=1, help="Servers to ask for.")] = 20_000,
    arrival: Annotated[float, typer.Option(min=0.001, help="Servers asked for in a second, on average.")] = 20.0,
    lifetime: Annotated[float, typer.Option(min=0.0, help="Seconds a server stays, on average; 0: for ever.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same decisions.")] = 0,
    trace: Annotated[Path | None, typer.Option(help="Play a recorded workload (CSV) instead.", exists=True)] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the course of it into this PNG file.")] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Not the scheduler alone: the whole control plane and every host's nova-compute."
        ),
    ] = False,
    json_output: Json = False,
) -> None:
    """See how the scheduler fills a fleet: speed, packing, fairness, failures with their reasons."""
    from kilonova.cli.simulate_fleet import Asked, run
    from kilonova.cli.terminal import Terminal

    asked = Asked(
        hosts=hosts,
        servers=servers,
        arrival=arrival,
        lifetime=lifetime,
        seed=seed,
        trace=trace,
        plot=plot,
        full=full,
    )
    raise typer.Exit(run(asked, Terminal(json_output=json_output), json_output=json_output))


@guest_app.command("build", epilog="Example: sudo kilonova guest build --refresh")
def guest_build(
    refresh: Annotated[bool, typer.Option("--refresh", help="Look for newer Debian packages.")] = False,
) -> None:
    """Build the test guest's disk image, if it is missing or out of date."""
    from kilonova.cli.guest import build
    from kilonova.cli.terminal import Terminal

    build(Terminal(), refresh=refresh)


if __name__ == "__main__":
    main()
