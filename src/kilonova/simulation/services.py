"""The shipped services as simulated processes: each built anew with every life of its process."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.compute.agent import Agent
from kilonova.conductor.service import Conductor
from kilonova.config import Config, QuotaConfig
from kilonova.database.connection import Database
from kilonova.database.flavors import insert_flavor, seed_flavors
from kilonova.database.server_groups import insert as insert_group
from kilonova.hypervisor.driver import Driver
from kilonova.hypervisor.fake.settings import FakeSettings
from kilonova.messaging.bus import Bus
from kilonova.model.clock import Clock, Ids, Random
from kilonova.model.flavor import Flavor
from kilonova.model.placement import GroupPolicy
from kilonova.model.topology.machine import Device
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.settings import NetworkSettings
from kilonova.network.shared import bootstrap as bootstrap_networks
from kilonova.scheduler.service import Scheduler
from kilonova.simulation.images import Shelf, ShelfImages
from kilonova.simulation.loop import EPOCH
from kilonova.simulation.schedule import DEVICE, HOSTS, PINNED

FLAVOR = "1"  # m1.tiny: 1 core, 512 MiB, 1 GiB
DOUBLE = "double"  # twice of everything
DEDICATED = "0-1,32"  # processors of a host with a topology
APART = "22222222-2222-4222-8222-222222222222"
"""A server group of the third project, whose servers are never to be on one host."""

_CARD = Device(address="0000:01:00.0", vendor_id="10de", product_id="1eb8")


def machine(host: str, slots: int, *, topology: bool) -> FakeSettings:
    """A host for so many small servers; with a topology three processors of its two cells are for one server each."""
    if not topology:
        return FakeSettings(vcpus=slots, memory_mb=512 * slots, disk_gb=64)
    devices = [_CARD] if host == HOSTS[0] else []
    return FakeSettings(vcpus=64, memory_mb=512 * max(slots, 2), disk_gb=64, numa_cells=2, pci_devices=devices)


def configuration(
    quota: int,
    reclaim: float = 0.0,
    *,
    in_place: bool = False,
    dedicated: str | None = None,
    reconcile: float = 8.0,
) -> Config:
    """The defaults, but for what would only make worlds longer. ``dedicated``: processors that are given to one server each."""
    sets = {} if dedicated is None else {"cpu_dedicated_set": dedicated, "cpu_shared_set": "2-31,33-63"}
    return Config.model_validate(
        {
            "state_dir": Path("nowhere"),
            "pci": {"alias": [{"name": "card", "vendor_id": _CARD.vendor_id, "product_id": _CARD.product_id}]},
            "compute": {
                "host": "control",
                "reconcile_interval": reconcile,
                "reserved_memory_mb": 0,
                "shutdown_grace": 2.0,
                **sets,
            },
            "actions": {"sweep_interval": 2.0, "reclaim_instance_interval": reclaim},
            "membership": {"heartbeat": 3.0},
            "moves": {"shelved_offload_time": 2, "allow_resize_to_same_host": in_place},
            "quota": {"instances": quota, "cores": quota + 1, "ram": -1},
        }
    )


def fill(connection: Connection) -> None:
    """What every world begins with: flavors and the shared network."""
    seed_flavors(connection, EPOCH)
    insert_flavor(connection, Flavor(id=DOUBLE, name="double", vcpus=2, memory_mb=1024, disk_gb=2), EPOCH)
    specs = {"hw:cpu_policy": "dedicated"}
    with_device = {"pci_passthrough:alias": "card:1", "hw:emulator_threads_policy": "isolate"}
    for name, more in ((PINNED, {}), (DEVICE, with_device)):
        made = Flavor(id=name, name=name, vcpus=1, memory_mb=512, disk_gb=1, extra_specs={**specs, **more})
        insert_flavor(connection, made, EPOCH)
    insert_group(
        connection,
        group_id=APART,
        project_id="p2",
        user_id="u2",
        name="apart",
        policy=GroupPolicy.ANTI_AFFINITY,
        rules={},
        now=EPOCH,
        quota_defaults=QuotaConfig().model_dump(),
    )
    bootstrap_networks(connection, NetworkSettings(), "p0", EPOCH)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is given: all that design section 12 says is handed in."""

    name: str
    config: Config
    database: Database
    bus: Bus
    clock: Clock
    ids: Ids
    random: Random
    shelf: Shelf


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service that runs: how it stops in good order, and which of its tasks ended, or broke, by themselves."""

    drain: Callable[[], Awaitable[None]]
    deployment: Deployment | None = None
    pulse: Callable[[], list[str]] = list


async def start_api(around: Surroundings) -> Service:
    """nova-api without its HTTP: the handlers are called directly."""
    deployment = Deployment(
        config=around.config,
        database=around.database,
        bus=around.bus,
        images=ShelfImages(around.shelf),
        networks=_networks(around),
        clock=around.clock,
        ids=around.ids,
        random=around.random,
        host=around.name,
    )
    return Service(drain=_nothing, deployment=deployment)


async def start_scheduler(around: Surroundings) -> Service:
    """nova-scheduler."""
    scheduler = Scheduler(
        around.database,
        around.bus,
        around.clock,
        around.random,
        host=around.name,
        scheduler=around.config.scheduler,
        membership=around.config.membership,
        dispatch=around.config.actions.dispatch,
    )
    await scheduler.start()
    return Service(drain=lambda: scheduler.drain(5.0))


async def start_conductor(around: Surroundings) -> Service:
    """nova-conductor."""
    conductor = Conductor(
        around.config,
        around.database,
        around.bus,
        around.clock,
        around.ids,
        _networks(around),
        ShelfImages(around.shelf),
        host=around.name,
    )
    await conductor.start()

    def pulse() -> list[str]:
        sweeping = conductor._sweeping
        return ["sweep"] if sweeping is None or sweeping.done() or conductor.sweep.broken else []

    return Service(drain=lambda: conductor.drain(5.0), pulse=pulse)


async def start_compute(around: Surroundings, driver: Driver) -> Service:
    """nova-compute of one host."""
    agent = Agent(
        driver,
        around.bus,
        around.clock,
        around.ids,
        around.random,
        host=around.name,
        compute=around.config.compute,
        actions=around.config.actions,
        membership=around.config.membership,
        messaging=around.config.messaging,
    )
    await agent.start()

    def pulse() -> list[str]:
        return [*agent.broken, *(task.get_name() for task in agent._tasks if task.done())]

    return Service(drain=lambda: agent.drain(5.0), pulse=pulse)


def _networks(around: Surroundings) -> EmbeddedNetworks:
    return EmbeddedNetworks(around.database, around.clock, around.ids, NetworkSettings())


async def _nothing() -> None:
    return None
