"""Worlds whose hosts have two NUMA cells and a device, and flavors that ask for some of that."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from kilonova.database.flavors import insert_flavor, seed_flavors
from kilonova.database.tables import allocations, hosts
from kilonova.hypervisor.fake.settings import FakeSettings
from kilonova.model.flavor import Flavor
from kilonova.model.topology.given import GivenTopology, read_given, read_use
from kilonova.model.topology.machine import Device
from tests.simulation.world import Client, World

GPU = Device(address="0000:01:00.0", vendor_id="10de", product_id="1eb8", cell=1)
MACHINE = FakeSettings(vcpus=8, memory_mb=8192, numa_cells=2, threads=2, huge_pages=512, pci_devices=[GPU])
DIVIDED = {"cpu_dedicated_set": "2-3,6-7", "cpu_shared_set": "0-1,4-5", "reserved_memory_mb": 0}
PINNED = {"hw:cpu_policy": "dedicated"}
FLAVORS: dict[str, dict[str, str]] = {
    "pinned": PINNED,
    "two-cells": {**PINNED, "hw:numa_nodes": "2"},
    "huge": {**PINNED, "hw:mem_page_size": "large"},
    "gpu": {"pci_passthrough:alias": "gpu:1"},
    "pinned-gpu": {**PINNED, "pci_passthrough:alias": "gpu:1", "hw:pci_numa_affinity_policy": "required"},
    "plain": {},
}


@asynccontextmanager
async def opened(directory: Path, *, hosts: int = 2, **overrides: object) -> AsyncIterator[tuple[World, Client]]:
    """Hosts with two cells of four processors, half of them dedicated, and one device near the second cell."""
    alias = {"name": "gpu", "vendor_id": "10DE", "product_id": "1eb8"}
    world = World(
        directory, hosts=hosts, machine=MACHINE, **{"compute": DIVIDED, "pci": {"alias": [alias]}, **overrides}
    )
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    for name, extra_specs in FLAVORS.items():
        await flavor(world, name, extra_specs)
    yield world, Client(world)
    await world.stop()


async def flavor(world: World, name: str, extra_specs: Mapping[str, str], vcpus: int = 2) -> None:
    """A flavor of that name and id: 512 MiB, 1 GiB."""
    made = Flavor(id=name, name=name, vcpus=vcpus, memory_mb=512, disk_gb=1, extra_specs=dict(extra_specs))
    await world.database.run(insert_flavor, made, world.clock.now())


async def given(world: World, server_id: str) -> dict[str, GivenTopology]:
    """What the server was given, by host."""

    def look(connection: Any) -> dict[str, GivenTopology]:
        rows = connection.execute(select(allocations).where(allocations.c.server_id == server_id))
        return {row.host: read_given(row.topology) for row in rows if row.topology is not None}

    return await world.database.run(look)


async def taken(world: World) -> dict[str, set[int]]:
    """The processors that each host counts as given away; hosts that have given nothing at all are missing."""

    def look(connection: Any) -> dict[str, set[int]]:
        rows = connection.execute(select(hosts).where(hosts.c.topology_used.is_not(None)))
        return {
            row.host: {cpu for cell in read_use(row.topology_used).cells.values() for cpu in cell.taken}
            for row in rows
        }

    return await world.database.run(look)
