"""Rules as an operator sets them and users meet them: by extra specs, hints, images and the metadata of aggregates."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.compute.monitors import CpuMonitor
from kilonova.config import SchedulerConfig
from kilonova.database.flavors import seed_flavors
from kilonova.database.tables import hosts
from kilonova.hypervisor.fake.settings import Fault
from tests.simulation.world import IMAGE, Client, World

DEFAULTS = SchedulerConfig().filters


@asynccontextmanager
async def cloud(directory: Path, **scheduler: Any) -> AsyncIterator[Client]:
    """Two fake hosts whose scheduler is configured like this."""
    world = World(directory, scheduler=scheduler)
    await world.start()
    await world.database.run(seed_flavors, world.clock.now())
    yield Client(world)
    await world.stop()


async def aggregate(client: Client, *members: str, **metadata: str) -> str:
    """A new one with these hosts."""
    body = {"aggregate": {"name": f"of {' '.join(members)} with {' '.join(metadata)}"}}
    path = "/os-aggregates"
    answer = await client("POST", path, body, token="admin")
    assert answer.status_code == 200, answer.text
    path = f"{path}/{answer.json()['aggregate']['id']}/action"
    for change in ({"set_metadata": {"metadata": metadata}}, *({"add_host": {"host": host}} for host in members)):
        answer = await client("POST", path, change, token="admin")
        assert answer.status_code == 200, answer.text
    await client.world.clock.sleep(client.world.config.scheduler.refresh * 2)
    return path


async def flavor(client: Client, name: str, **extra_specs: str) -> str:
    """A new small one with these extra specs, unchecked as they were before 2.86; double underscores are colons."""
    specs = {key.replace("__", ":"): value for key, value in extra_specs.items()}
    body = {"flavor": {"id": name, "name": name, "vcpus": 1, "ram": 512, "disk": 1}}
    assert (await client("POST", "/flavors", body, token="admin")).status_code == 200
    path, body = f"/flavors/{name}/os-extra_specs", {"extra_specs": specs}
    answer = await client("POST", path, body, token="admin", version="2.85")
    assert answer.status_code == 200, answer.text
    return name


def image(client: Client, **properties: str) -> str:
    """A new one with these properties."""
    shelf = client.world.images.shelf
    made = shelf.images[IMAGE]
    number = f"{len(shelf.images) + 1}" * 8 + "-1111-4111-8111-111111111111"
    record = msgspec.structs.replace(made.image, id=number, properties=properties)
    shelf.images[number] = msgspec.structs.replace(made, image=record)
    return number


async def lands(client: Client, hints: dict[str, Any] | None = None, *, token: str = "member", **more: Any) -> str:
    """The host of a new server; the fault's message if it got none."""
    server = {"name": "web", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto", **more}
    body = {"server": server, "os:scheduler_hints": hints or {}}
    answer = await client("POST", "/servers", body, token=token)
    assert answer.status_code == 202, answer.text
    made = await client.ended(answer.json()["server"]["id"])
    return str(made["OS-EXT-SRV-ATTR:host"] or made["fault"]["message"])


async def test_extra_specs_and_aggregates(tmp_path: Path) -> None:
    async with cloud(tmp_path, filters=[*DEFAULTS, "AggregateInstanceExtraSpecsFilter"]) as client:
        await aggregate(client, "host1", disk="ssd, nvme")
        fast = await flavor(client, "fast", disk="<or> ssd <or> tape")
        slow = await flavor(client, "slow", aggregate_instance_extra_specs__disk="s== hdd")
        for _ in range(3):
            assert await lands(client, flavorRef=fast) == "host1"
        assert "AggregateInstanceExtraSpecsFilter dropped 2" in await lands(client, flavorRef=slow)


async def test_projects_and_flavors_of_aggregates(world: World, client: Client) -> None:
    await aggregate(client, "host1", filter_tenant_id="p2")
    for _ in range(3):
        assert await lands(client, token="other") == "host1"
        assert await lands(client) == "host2"
    await aggregate(client, "host2", instance_type="m1.small, m1.medium")
    assert "AggregateTypeAffinityFilter dropped 1" in await lands(client)
    assert await lands(client, flavorRef="2") == "host2"


async def test_traits_of_isolated_aggregates(world: World, client: Client) -> None:
    await aggregate(client, "host1", **{"trait:CUSTOM_GOLD": "required"})
    for _ in range(3):
        assert await lands(client) == "host2"
    gold = await flavor(client, "gold", trait__CUSTOM_GOLD="required")
    assert "TraitsFilter dropped 2" in await lands(client, flavorRef=gold)  # and no host has it


async def test_images_that_need_another_machine(world: World, client: Client) -> None:
    arm = image(client, hw_architecture="aarch64")
    assert "ImagePropertiesFilter dropped 2" in await lands(client, imageRef=arm)
    assert (await lands(client, imageRef=image(client, hw_architecture="AMD64"))).startswith("host")
    capable = await flavor(client, "capable", capabilities__features="<in> live_migrate")
    assert (await lands(client, flavorRef=capable)).startswith("host")
    newer = await flavor(client, "newer", capabilities__hypervisor_version=">= 9000000")
    assert "ComputeCapabilitiesFilter dropped 2" in await lands(client, flavorRef=newer)


async def test_isolated_hosts_and_images(tmp_path: Path) -> None:
    number = "22222222-1111-4111-8111-111111111111"
    async with cloud(tmp_path, isolated_hosts=["host1"], isolated_images=[number]) as client:
        assert image(client) == number
        for _ in range(3):
            assert await lands(client) == "host2"
            assert await lands(client, imageRef=number) == "host1"


async def test_questions_and_addresses_as_hints(tmp_path: Path) -> None:
    async with cloud(tmp_path, filters=[*DEFAULTS, "JsonFilter"]) as client:
        query = ["and", [">=", "$free_ram_mb", 1], ["=", "$host", "host2"]]
        assert await lands(client, {"query": json.dumps(query)}) == "host2"
        assert "JsonFilter dropped 2" in await lands(client, {"query": "what?"})
        assert "JsonFilter dropped 2" in await lands(client, {"query": {"a": 1}})
        near: dict[str, Any] = {"build_near_host_ip": "127.0.0.99"}
        assert (await lands(client, near)).startswith("host")
        assert "SimpleCIDRAffinityFilter dropped 2" in await lands(client, near | {"cidr": "/32"})


async def test_most_servers_of_a_host(tmp_path: Path) -> None:
    async with cloud(
        tmp_path, filters=[*DEFAULTS, "AggregateNumInstancesFilter"], max_instances_per_host=2
    ) as client:
        await aggregate(client, "host1", max_instances_per_host="1")
        assert sorted([await lands(client) for _ in range(3)]) == ["host1", "host2", "host2"]
        assert "AggregateNumInstancesFilter dropped 2" in await lands(client)


async def test_most_builds_of_a_host(tmp_path: Path) -> None:
    """One server at a time is built on each host: what is being built counts, by the claims and by the database."""
    async with cloud(tmp_path, filters=[*DEFAULTS, "IoOpsFilter"], max_io_ops_per_host=1) as client:
        for driver in client.world.drivers.values():
            driver.inject(Fault(verb="prepare", times=1, hang=True))
        building = [await client.boot() for _ in range(2)]
        await client.world.clock.sleep(2 * client.world.config.scheduler.refresh)
        assert "IoOpsFilter dropped 2" in await lands(client)
        at_work = {(await client.show(server_id))["OS-EXT-SRV-ATTR:host"] for server_id in building}
        assert at_work == {"host1", "host2"}
        for server_id in building:
            assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
            await client.until_gone(server_id)
        await client.world.clock.sleep(2 * client.world.config.scheduler.refresh)
        assert (await lands(client)).startswith("host")


async def test_a_host_that_fails_builds_is_the_last_choice_until_one_succeeds(world: World, client: Client) -> None:
    world.drivers["host1"].inject(Fault(verb="prepare", times=1))
    while not await failed_builds(world, "host1"):
        assert await lands(client) == "host2"
    await world.clock.sleep(world.config.scheduler.refresh * 2)
    for _ in range(4):
        assert await lands(client) == "host2"
    assert await lands(client, host="host1", token="admin") == "host1"
    assert await failed_builds(world, "host1") == 0
    await world.clock.sleep(world.config.scheduler.refresh * 2)
    assert await lands(client) == "host1"


async def test_a_broken_image_is_not_held_against_the_host(world: World, client: Client) -> None:
    for driver in world.drivers.values():
        driver.inject(Fault(verb="prepare", times=1, retry=False))
    assert "told to fail" in await lands(client)
    assert [await failed_builds(world, host) for host in world.drivers] == [0, 0]


async def failed_builds(world: World, host: str) -> int:
    def read(connection: Connection) -> int:
        return int(connection.execute(sa.select(hosts.c.failed_builds).where(hosts.c.host == host)).scalar_one())

    return await world.database.run(read)


async def test_weights_by_aggregate(world: World, client: Client) -> None:
    path = await aggregate(client, "host1", num_instances_weight_multiplier="100")
    for _ in range(3):
        assert await lands(client, host="host1", token="admin") == "host1"
    await world.clock.sleep(world.config.scheduler.refresh * 2)
    assert await lands(client) == "host1"  # where there are many there may be more
    body = {"set_metadata": {"metadata": {"num_instances_weight_multiplier": None}}}
    assert (await client("POST", path, body, token="admin")).status_code == 200
    await world.clock.sleep(world.config.scheduler.refresh * 2)
    assert await lands(client) == "host2"


async def test_the_zone_of_those_who_name_none(tmp_path: Path) -> None:
    async with cloud(tmp_path, default_schedule_zone="east") as client:
        body = {"server": {"name": "web", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}}
        assert (await client("POST", "/servers", body)).status_code == 400
        await aggregate(client, "host2", availability_zone="east")
        for _ in range(3):
            assert await lands(client) == "host2"
        assert await lands(client, availability_zone="nova") == "host1"


async def test_a_server_keeps_the_zone_it_asked_for_when_it_moves(world: World, client: Client) -> None:
    await aggregate(client, "host1", availability_zone="east")
    pinned = await client.boot(availability_zone="east")
    free = await client.boot()
    await client.until(pinned, "ACTIVE")
    home = (await client.until(free, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
    for server_id in (pinned, free):
        answer = await client("POST", f"/servers/{server_id}/action", {"migrate": None}, token="admin")
        assert answer.status_code == 202, answer.text
    assert (await client.until(free, "VERIFY_RESIZE"))["OS-EXT-SRV-ATTR:host"] != home
    stayed = await client.until(pinned, "ACTIVE")
    assert stayed["OS-EXT-SRV-ATTR:host"] == "host1"
    actions = (await client("GET", f"/servers/{pinned}/os-instance-actions")).json()["instanceActions"]
    (moved,) = [action for action in actions if action["action"] == "migrate"]
    path = f"/servers/{pinned}/os-instance-actions/{moved['request_id']}"
    told = (await client("GET", path, token="admin")).json()["instanceAction"]
    assert "AvailabilityZoneFilter dropped 1" in str(told), told


async def test_amounts_that_a_flavor_claims_otherwise(world: World, client: Client) -> None:
    specs = {"resources__VCPU": "3", "resources__DISK_GB": "0", "resources__MEMORY_MB": "lots"}
    odd = await flavor(client, "odd", **specs)
    host = await lands(client, flavorRef=odd)

    def claimed(connection: Connection) -> tuple[int, ...]:
        columns = (hosts.c.vcpus_used, hosts.c.memory_mb_used, hosts.c.disk_gb_used)
        return tuple(connection.execute(sa.select(*columns).where(hosts.c.host == host)).one())

    assert await world.database.run(claimed) == (3, 512, 0)
    huge = await flavor(client, "huge", resources__VCPU="9999999999999", resources__DISK_GB="99999999999")
    assert (await lands(client, flavorRef=huge)).startswith("host")  # no amounts: they are longer than any
    many = await flavor(client, "many", resources1__VCPU="2147483647", resources2__VCPU="2147483647")
    assert "CapacityFilter dropped 2" in await lands(client, flavorRef=many)


async def test_images_of_the_same_kind_keep_together(tmp_path: Path) -> None:
    weighers = {"ImagePropertiesWeigher": 1.0}
    async with cloud(tmp_path, weighers=weighers) as client:
        windows = image(client, os_distro="windows")
        debian = image(client, os_distro="debian")
        assert await lands(client, imageRef=windows, host="host1", token="admin") == "host1"
        assert await lands(client, imageRef=debian, host="host2", token="admin") == "host2"
        await client.world.clock.sleep(client.world.config.scheduler.refresh * 2)
        for _ in range(3):
            assert await lands(client, imageRef=windows) == "host1"
            assert await lands(client, imageRef=debian) == "host2"


async def test_metrics_come_with_the_heartbeats(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "filters": [*DEFAULTS, "MetricsFilter"],
        "metrics_weight_setting": {"heat": -1.0},
        "weighers": {"MetricsWeigher": 1.0},
    }
    async with cloud(tmp_path, **options) as client:
        world = client.world
        assert "MetricsFilter dropped 2" in await lands(client)
        monitors = {name: Thermometer(heat) for name, heat in (("host1", 40.0), ("host2", 30.0))}
        for name, monitor in monitors.items():
            world.agents[name]._monitors = [monitor]
        await world.clock.sleep(2 * world.config.membership.heartbeat + 2 * world.config.scheduler.refresh)
        assert await lands(client) == "host2"
        monitors["host1"].heat = 20.0
        await world.clock.sleep(2 * world.config.membership.heartbeat + 2 * world.config.scheduler.refresh)
        assert await lands(client) == "host1"


class Thermometer(CpuMonitor):
    """A monitor of another make."""

    def __init__(self, heat: float) -> None:
        self.heat = heat

    def measure(self) -> dict[str, float]:
        return {"heat": self.heat}


@pytest.mark.parametrize("filters", [["NoFilter"], ["ComputeFilter", "json"]])
async def test_unknown_rules_end_the_start(tmp_path: Path, filters: list[str]) -> None:
    with pytest.raises(Exception, match=r"option scheduler\.filters: there is no"):
        World(tmp_path, scheduler={"filters": filters})
