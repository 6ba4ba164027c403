"""What is measured of a server's guest: up to 2.47 in the free form of Nova's libvirt driver, then in a fixed one."""

from typing import Any

import msgspec

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.host_questions import ask_host, find_on_host
from kilonova.api.compute.inputs import queries
from kilonova.messaging.contract import Diagnostics, GetDiagnostics
from kilonova.model.diagnostics import GuestDiagnostics
from kilonova.model.errors import Conflict, NotFound
from kilonova.model.guest import GuestState
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route

_FIXED_SINCE = 48
_DRIVER = "libvirt"  # the API knows a closed list of drivers; of those it is the one whose hypervisor is ours


async def show(cloud: Deployment, call: Call) -> Reply:
    """Of a guest that runs, from its host."""
    server = await cloud.database.run(find_on_host, call, call.params["server_id"])
    try:
        answer = await ask_host(cloud, call, server, GetDiagnostics(server_id=server.id))
    except NotFound:
        raise Conflict(f"Instance {server.id} is not ready") from None
    assert isinstance(answer, Diagnostics)
    if answer.guest.state is not GuestState.RUNNING:
        raise Conflict(
            f"Cannot 'get_diagnostics' instance {server.id} while it is in power state {answer.guest.state}"
        )
    return Reply(200, _fixed(answer.guest) if call.version >= _FIXED_SINCE else _free(answer.guest))


def _fixed(guest: GuestDiagnostics) -> dict[str, Any]:
    return {
        "state": str(guest.state),
        "driver": _DRIVER,
        "hypervisor": guest.hypervisor,
        "hypervisor_os": "linux",
        "uptime": guest.uptime,
        "config_drive": guest.config_drive,
        "num_cpus": len(guest.cpus),
        "num_nics": len(guest.nics),
        "num_disks": len(guest.disks),
        "cpu_details": [{"id": cpu.id, "time": cpu.time, "utilisation": None} for cpu in guest.cpus],
        "disk_details": [_without_name(disk) for disk in guest.disks],
        "nic_details": [_without_name(nic) | {"rx_rate": None, "tx_rate": None} for nic in guest.nics],
        "memory_details": {"maximum": guest.memory_maximum, "used": guest.memory_used},
    }


def _without_name(value: msgspec.Struct) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.to_builtins(value)
    del view["name"]
    return view


def _free(guest: GuestDiagnostics) -> dict[str, Any]:
    view: dict[str, Any] = {"memory": guest.memory_maximum << 10, "memory-rss": guest.memory_resident}
    if guest.memory_used is not None:
        view["memory-actual"] = guest.memory_used << 10
    for cpu in guest.cpus:
        view[f"cpu{cpu.id}_time"] = cpu.time
    for disk in guest.disks:
        view |= {
            f"{disk.name}_read": disk.read_bytes,
            f"{disk.name}_read_req": disk.read_requests,
            f"{disk.name}_write": disk.write_bytes,
            f"{disk.name}_write_req": disk.write_requests,
            f"{disk.name}_errors": disk.errors_count,
        }
    for nic in guest.nics:
        for way in ("rx", "tx"):
            view[f"{nic.name}_{way}"] = getattr(nic, f"{way}_octets")
            for what in ("packets", "errors", "drop"):
                view[f"{nic.name}_{way}_{what}"] = getattr(nic, f"{way}_{what}")
    return view


ROUTES = [
    Route(
        method="GET",
        path="/servers/{server_id}/diagnostics",
        handler=show,
        rule="os_compute_api:os-server-diagnostics",
        role="admin",
        query=queries(102),
        summary="Show what is measured of a server",
    ),
]
