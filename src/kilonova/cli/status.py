"""``kilonova status``: services, hosts and servers of a cloud, as its own API tells them."""

import json
import sys
from collections import Counter
from typing import Any

from kilonova.cli.client import Cloud, Credentials
from kilonova.cli.state import State
from kilonova.model.errors import KilonovaError

NOT_RUNNING = 3
"""Exit code of a status that found nothing, as systemctl has it."""


def show(state: State, *, json_output: bool) -> int:
    """Print it; the exit code."""
    try:
        cloud = Cloud.connect(Credentials.find(state))
        found = collect(cloud, state)
        cloud.close()
    except KilonovaError as error:
        reason = error.message if state.running() or not state.record() else _killed(state)
        if json_output:
            print(json.dumps({"running": False, "state_dir": str(state.directory), "reason": reason}))
        else:
            print(reason)
        return NOT_RUNNING
    if json_output:
        print(json.dumps(found, indent=2))
    else:
        _draw(found)
    return 0


def _killed(state: State) -> str:
    return f"The services of {state.directory} have ended by themselves (logs: {state.logs}); start them with `kilonova start`"


def collect(cloud: Cloud, state: State) -> dict[str, Any]:
    """What there is, as plain data."""
    services = cloud.get("compute", "/os-services")["services"]
    hosts = cloud.get("compute", "/os-hypervisors/detail")["hypervisors"]
    servers = cloud.get("compute", "/servers/detail", all_tenants=1, limit=1000)["servers"]
    return {
        "running": True,
        "url": cloud.endpoints["compute"].partition("/compute")[0],
        "state_dir": str(state.directory),
        "services": [
            {
                "binary": service["binary"],
                "host": service["host"],
                "zone": service["zone"],
                "state": service["state"],
                "status": service["status"],
            }
            for service in services
        ],
        "hosts": [
            {
                "host": host["hypervisor_hostname"],
                "type": host.get("hypervisor_type"),
                "state": host["state"],
                "status": host["status"],
            }
            for host in hosts
        ],
        "servers": dict(Counter(server["status"] for server in servers)),
        "servers_by_host": dict(Counter(server.get("OS-EXT-SRV-ATTR:host") or "" for server in servers)),
    }


def _draw(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(f"API: {found['url']}", markup=False)
    kinds = {host["host"]: host["type"] for host in found["hosts"]}
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("service", "host", "zone", "state", "servers", "hypervisor"):
        table.add_column(column, justify="right" if column == "servers" else "left")
    for service in found["services"]:
        compute = service["binary"] == "nova-compute"
        up = service["state"] == "up"
        state = service["state"] + ("" if service["status"] == "enabled" else f", {service['status']}")
        table.add_row(
            service["binary"],
            service["host"],
            service["zone"],
            f"[{'green' if up else 'red'}]{state}[/]",
            str(found["servers_by_host"].get(service["host"], 0)) if compute else "",
            str(kinds.get(service["host"], "")) if compute else "",
        )
    console.print(table)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(found["servers"].items()))
    console.print(f"servers: {counts or 'none'}", markup=False)
