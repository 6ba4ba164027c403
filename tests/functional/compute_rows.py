"""Rows for tests that look at servers without making any."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.database import actions, membership, servers
from kilonova.messaging.contract import TimelineEvent
from kilonova.model.console import ConsoleToken
from tests.functional.compute_api import NOW


def server_id(short: str) -> str:
    """A UUID out of a short name: ``s1`` is …0001."""
    return f"20000000-0000-4000-8000-{int(short.removeprefix('s')):012d}"


def insert_server(connection: Connection, short: str, **values: Any) -> None:
    """A server of ``p-one``, active on no host."""
    row: dict[str, Any] = {
        "id": server_id(short),
        "project_id": "p-one",
        "user_id": "u-member",
        "name": short,
        "hostname": short,
        "vm_state": "active",
        "task_state": None,
        "power_state": 1,
        "host": None,
        "flavor_id": "1",
        "flavor": {"name": "m1.tiny", "vcpus": 1, "memory_mb": 512, "disk_gb": 1, "ephemeral_gb": 2},
        "config_drive": False,
        "metadata": {},
        "tags": [],
        "networks": [],
        "addresses": [],
        "security_groups": [],
        "scheduler_hints": {},
        "reservation_id": "r-1",
        "launch_index": 0,
        "disk_config": "MANUAL",
        "locked": False,
        "progress": 0,
        "created_at": NOW,
    }
    servers.insert(connection, [row | values])


def insert_action(connection: Connection, number: int, short: str, kind: str, at: int, **details: Any) -> None:
    """A finished action with one event on host ``one``."""
    row: dict[str, Any] = {
        "id": f"a{number}",
        "server_id": server_id(short),
        "kind": kind,
        "request_id": f"req-{number}",
        "user_id": "u-member",
        "project_id": "p-one",
        "input": {},
        "step": "build",
        "state": "succeeded",
        "epoch": 1,
        "attempts": 1,
        "excluded_hosts": [],
        "before": {},
        "message": None,
        "started_at": at,
        "updated_at": at,
        "finished_at": at,
    }
    actions.insert(connection, [row])
    event = TimelineEvent(
        name="compute__do_build_and_run_instance",
        service="nova-compute",
        host="one",
        started_at=at,
        finished_at=at,
        details=details,
    )
    actions.record(connection, f"a{number}", [event])


def insert_host(connection: Connection, number: int, host: str, zone: str = "nova", **values: Any) -> None:
    """A compute host whose nova-compute was heard of just now."""
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    membership.heartbeat(connection, binary="nova-compute", host=host, zone=zone, incarnation="i", uuid=uuid, now=NOW)
    description: dict[str, Any] = {
        "address": f"192.0.2.{number}",
        "availability_zone": zone,
        "hypervisor_type": "QEMU",
        "hypervisor_version": 7002022,
        "capabilities": {"architecture": "x86_64", "cpu_model": "max", "features": ["kvm"]},
        "vcpus": 8,
        "memory_mb": 16_000,
        "disk_gb": 100,
        "free_disk_gb": 90,
        "vcpus_capacity": 32,
        "memory_mb_capacity": 15_000,
        "disk_gb_capacity": 100,
    }
    uuid = f"10000000-0000-4000-8000-{number:012d}"
    membership.describe_host(connection, host, uuid=uuid, now=NOW, values=description | values)


def stands_for(of_server: str, expires_at: int, host: str = "192.0.2.1") -> ConsoleToken:
    """What a token of a server's graphical console stands for."""
    return ConsoleToken(
        server_id=of_server,
        console_type="novnc",
        host=host,
        port=1,
        tls_port=None,
        internal_access_path=None,
        access_url_base=None,
        expires_at=expires_at,
    )
