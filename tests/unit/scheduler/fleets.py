"""Hosts and requests for tests of rules, as short to write as the test needs them."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from kilonova.config import SchedulerConfig
from kilonova.database.host_columns import Reading, Unfit
from kilonova.messaging.contract import Need, ScheduleServer
from kilonova.model.aggregate import Aggregate
from kilonova.model.guest import GuestSpec
from kilonova.model.inventory import Inventory
from kilonova.scheduler.catalog import make_filters
from kilonova.scheduler.fleet import Fleet
from kilonova.scheduler.rules import Filter

NOW = 1_700_000_000_000_000
PROJECT = "p1"
IMAGES = {"i1": {"os_distro": "debian", "hw_disk_bus": "virtio"}, "i2": {"os_distro": "debian"}, "i3": {}}
"""Properties of images that servers were made of."""
ROOM = Need(vcpus=64, memory_mb=65_536, disk_gb=1000)


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host with nothing special about it, but for what is said."""

    name: str
    up: bool = True
    enabled: bool = True
    zone: str = "nova"
    address: str = "192.0.2.1"
    hypervisor_type: str = "QEMU"
    hypervisor_version: int = 7_002_022
    capabilities: dict[str, Any] = {}
    traits: tuple[str, ...] = ()
    custom: dict[str, Inventory] = {}
    metrics: dict[str, float] = {}
    images: dict[str, int] = {}
    capacity: Need = ROOM
    used: Need = Need(vcpus=0, memory_mb=0, disk_gb=0)
    servers: int = 0
    io_ops: int = 0
    failed_builds: int = 0


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate of the hosts named."""

    hosts: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


def fleet_of(hosts: Sequence[Host], groups: Sequence[Group] = ()) -> Fleet:
    """A fleet that has read them."""
    fleet = Fleet()
    assert fleet.apply(reading_of(hosts, groups))
    return fleet


def reading_of(hosts: Sequence[Host], groups: Sequence[Group] = ()) -> Reading:
    """What the database would say of them."""
    aggregates = [
        Aggregate(
            id=number,
            uuid=f"uuid-{number}",
            name=f"aggregate-{number}",
            availability_zone=group.metadata.get("availability_zone"),
            metadata=group.metadata,
            created_at=0,
            updated_at=None,
            hosts=list(group.hosts),
        )
        for number, group in enumerate(groups, start=1)
    ]
    return Reading(
        at=NOW,
        usage=[
            (number, host.used.vcpus, host.used.memory_mb, host.used.disk_gb, host.servers)
            for number, host in enumerate(hosts, start=1)
        ],
        facts=[_fact(number, host) for number, host in enumerate(hosts, start=1)],
        unfit=[
            Unfit(number, host.up, host.enabled)
            for number, host in enumerate(hosts, start=1)
            if not (host.up and host.enabled)
        ],
        aggregates=aggregates,
        aggregates_mark=(len(aggregates),),
        metrics={host.name: host.metrics for host in hosts if host.metrics},
        images={host.name: host.images for host in hosts if host.images},
        image_properties=IMAGES,
        traits={host.name: host.traits for host in hosts},
        custom={host.name: host.custom for host in hosts if host.custom},
        on_demand={
            "io_ops": {host.name: host.io_ops for host in hosts if host.io_ops},
            "failed_builds": {host.name: host.failed_builds for host in hosts if host.failed_builds},
        },
    )


def _fact(number: int, host: Host) -> SimpleNamespace:
    return SimpleNamespace(
        id=number,
        host=host.name,
        address=host.address,
        availability_zone=host.zone,
        hypervisor_type=host.hypervisor_type,
        hypervisor_version=host.hypervisor_version,
        capabilities=host.capabilities,
        vcpus=host.capacity.vcpus,
        vcpus_capacity=host.capacity.vcpus,
        memory_mb_capacity=host.capacity.memory_mb,
        disk_gb_capacity=host.capacity.disk_gb,
        updated_at=number,
    )


def request_of(
    *,
    extra_specs: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
    project_id: str = PROJECT,
    need: Need | None = None,
    **more: Any,
) -> ScheduleServer:
    """A request for a server with nothing special about it, but for what is said."""
    need = need or Need(vcpus=1, memory_mb=512, disk_gb=1)
    guest = GuestSpec(
        server_id="s1",
        name="web",
        hostname="web",
        project_id=project_id,
        user_id="u1",
        vcpus=need.vcpus,
        memory_mb=need.memory_mb,
        disk_gb=need.disk_gb,
        extra_specs=dict(extra_specs or {}),
        properties=dict(properties or {}),
    )
    return ScheduleServer(
        **{"action_id": "a1", "epoch": 1, "guest": guest, "need": need, "flavor": "m1.tiny", **more}
    )


def rule(name: str, **options: Any) -> Filter:
    """The filter of that name, as a configuration with these options makes it."""
    return make_filters([name], SchedulerConfig(**options))[name]


def passing(
    name: str, hosts: Sequence[Host], request: ScheduleServer, groups: Sequence[Group] = (), **options: Any
) -> list[str]:
    """The hosts that one filter lets through; it must have a reason for each of the others."""
    view, made = fleet_of(hosts, groups).view, rule(name, **options)
    verdicts = made.passes(view, request)
    for row, verdict in enumerate(verdicts):
        if not verdict:
            need, have = made.explain(view, row, request)
            assert need and have, (name, view.names[row])
    return [host for host, verdict in zip(view.names, verdicts, strict=True) if verdict]
