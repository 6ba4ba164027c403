"""Fleets and requests for tests of the scheduler, in few words."""

from collections.abc import Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec

from kilonova.config import SchedulerConfig
from kilonova.database.host_columns import Reading, Unfit
from kilonova.database.outgoing import need_of
from kilonova.messaging.contract import ScheduleServer
from kilonova.model.aggregate import Aggregate
from kilonova.model.flavor import Flavor
from kilonova.model.guest import GuestSpec
from kilonova.scheduler.catalog import make_filters, make_weighers
from kilonova.scheduler.decider import Decider
from kilonova.scheduler.fleet import Fleet


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A host: what may be claimed of it, and what is."""

    vcpus: int = 8
    memory_mb: int = 8192
    disk_gb: int = 100
    vcpus_used: int = 0
    memory_mb_used: int = 0
    disk_gb_used: int = 0
    servers: int = 0
    zone: str = "nova"
    up: bool = True
    enabled: bool = True
    capabilities: Mapping[str, Any] = {}


def reading(boxes: Sequence[Box], aggregates: Sequence[Aggregate] = ()) -> Reading:
    """As the database would give it; the hosts are box1, box2, …"""
    facts = [
        SimpleNamespace(
            id=number,
            host=f"box{number}",
            address="192.0.2.1",
            availability_zone=box.zone,
            hypervisor_type="fake",
            hypervisor_version=1,
            capabilities=box.capabilities,
            vcpus=box.vcpus,
            vcpus_capacity=box.vcpus,
            memory_mb_capacity=box.memory_mb,
            disk_gb_capacity=box.disk_gb,
            updated_at=1,
        )
        for number, box in enumerate(boxes, 1)
    ]
    return Reading(
        at=1,
        usage=[
            (number, box.vcpus_used, box.memory_mb_used, box.disk_gb_used, box.servers)
            for number, box in enumerate(boxes, 1)
        ],
        devices=[],
        facts=facts,
        unfit=[
            Unfit(number, box.up, box.enabled) for number, box in enumerate(boxes, 1) if not (box.up and box.enabled)
        ],
        aggregates=list(aggregates),
        aggregates_mark=(1,),
    )


def fleet_of(look: Reading) -> Fleet:
    """The fleet of one look."""
    fleet = Fleet()
    assert fleet.apply(look)
    return fleet


def decider_of(look: Reading, seed: int = 0) -> Decider:
    """A decider with the default rules, on a fleet of its own."""
    config = SchedulerConfig()
    filters, weighers = make_filters(config.filters, config), make_weighers(config)
    return Decider(fleet_of(look), filters, filters, weighers, subset=1, random=Random(seed))


def flavor(name: str = "f", vcpus: int = 1, memory_mb: int = 1024, disk_gb: int = 10, **more: Any) -> Flavor:
    """A public flavor whose id is its name."""
    return Flavor(id=name, name=name, vcpus=vcpus, memory_mb=memory_mb, disk_gb=disk_gb, **more)


def request(size: Flavor, properties: Mapping[str, str] | None = None, **more: Any) -> ScheduleServer:
    """For a new server of that flavor."""
    guest = GuestSpec(
        server_id="s",
        name="s",
        hostname="s",
        project_id="p",
        user_id="u",
        vcpus=size.vcpus,
        memory_mb=size.memory_mb,
        disk_gb=size.disk_gb,
        ephemeral_gb=size.ephemeral_gb,
        swap_mb=size.swap_mb,
        extra_specs=size.extra_specs,
        properties=dict(properties or {}),
    )
    return ScheduleServer(action_id="a", epoch=0, guest=guest, need=need_of(msgspec.to_builtins(size)), **more)
