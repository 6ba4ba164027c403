"""Imaginary hosts: rows like those that nova-compute would have reported, and the scheduler's look at them."""

from collections.abc import Sequence

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database.tables import aggregate_hosts, aggregates, hosts, services

NOW = 1_700_000_000_000_000
"""The moment at which all of them were heard of, in microseconds."""

_AT_ONCE = 5_000


class Machine(msgspec.Struct, frozen=True):
    """A make of host and how often it is found: cores, MiB, GiB; ``ratio`` servers' cores to one of its own."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    share: float
    ratio: float = 4.0
    traits: Sequence[str] = ()


MACHINES = (
    Machine(32, 128 * 1024, 2_000, 0.4),
    Machine(64, 256 * 1024, 4_000, 0.4, traits=("CUSTOM_FAST_DISK",)),
    Machine(96, 768 * 1024, 8_000, 0.2, traits=("CUSTOM_FAST_DISK", "CUSTOM_MUCH_MEMORY")),
)
ZONES = ("az1", "az2", "az3")
"""Each an aggregate with a third of the hosts."""


def machine_of(number: int, count: int) -> Machine:
    """Which make a host has: the shares hold for every stretch of hosts."""
    at = (number * 0.618033988749895) % 1.0
    for machine in MACHINES:
        if at < machine.share:
            return machine
        at -= machine.share
    return MACHINES[-1]


def fill(connection: Connection, count: int, *, zones: Sequence[str] = ZONES) -> None:
    """Write ``count`` hosts, their services, and an aggregate for each zone."""
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        connection.execute(hosts.insert(), [_host(number, count) for number in numbers])
        connection.execute(services.insert(), [_service(number) for number in numbers])
    for place, zone in enumerate(zones):
        row = {"uuid": f"zone-{place}", "name": zone, "availability_zone": zone, "created_at": NOW, "updated_at": NOW}
        connection.execute(aggregates.insert(), {"id": place + 1, "metadata": {"availability_zone": zone}, **row})
    members = [{"aggregate_id": number % len(zones) + 1, "host": name_of(number)} for number in range(count) if zones]
    for first in range(0, len(members), _AT_ONCE):
        connection.execute(aggregate_hosts.insert(), members[first : first + _AT_ONCE])


def name_of(number: int) -> str:
    """The name of a host."""
    return f"host-{number:06d}"


def _host(number: int, count: int) -> dict[str, object]:
    machine = machine_of(number, count)
    return {
        "uuid": f"host-{number}",
        "host": name_of(number),
        "address": "192.0.2.1",
        "availability_zone": "nova",
        "hypervisor_type": "fake",
        "hypervisor_version": 1,
        "capabilities": {"architecture": "x86_64", "traits": list(machine.traits)},
        "vcpus": machine.vcpus,
        "memory_mb": machine.memory_mb,
        "disk_gb": machine.disk_gb,
        "free_disk_gb": machine.disk_gb,
        "vcpus_capacity": int(machine.vcpus * machine.ratio),
        "memory_mb_capacity": machine.memory_mb,
        "disk_gb_capacity": machine.disk_gb,
        "vcpus_used": 0,
        "memory_mb_used": 0,
        "disk_gb_used": 0,
        "servers_count": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }


def _service(number: int) -> dict[str, object]:
    return {
        "uuid": f"service-{number}",
        "binary": "nova-compute",
        "host": name_of(number),
        "zone": "nova",
        "incarnation": f"life-{number}",
        "disabled": False,
        "forced_down": False,
        "compare_due": False,
        "started_at": NOW,
        "last_seen_at": NOW,
    }
