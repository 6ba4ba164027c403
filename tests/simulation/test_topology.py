"""Dedicated processors, NUMA cells, pages and devices through every sub-service: given once, and given back whatever happens."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kilonova.database.flavors import find_flavor
from kilonova.hypervisor.fake.settings import Fault
from kilonova.model.errors import Misconfigured
from kilonova.model.topology.request import asking, read_request
from kilonova.model.what_if import NewHosts, Question
from kilonova.scheduler.planner import Planner
from kilonova.simulation.images import Shelved
from tests.simulation.moves import act, all_is_well
from tests.simulation.topology_worlds import MACHINE, flavor, given, opened, taken
from tests.simulation.world import Client, World, nothing_left

DEDICATED = {2, 3, 6, 7}


async def active(client: Client, flavor_id: str, **more: Any) -> tuple[str, str]:
    """A server that is ACTIVE, and its host."""
    server_id = await client.boot(flavorRef=flavor_id, **more)
    return server_id, (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]


async def test_a_host_shows_the_processors_that_servers_share(tmp_path: Path) -> None:
    """As Nova's libvirt driver does: those that one server gets for itself are no VCPUs."""
    async with opened(tmp_path) as (_, client):
        (one, _) = (await client("GET", "/os-hypervisors/detail", token="admin", version="2.1")).json()["hypervisors"]
        assert one["vcpus"] == 4
        total = (await client("GET", "/os-hosts/host1", token="admin", version="2.1")).json()["host"][0]["resource"]
        assert (total["project"], total["cpu"]) == ("(total)", 4)


async def topology(client: Client, server_id: str, token: str = "member") -> dict[str, Any]:
    answer = await client("GET", f"/servers/{server_id}/topology", token=token)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def remove(client: Client, *servers: str) -> None:
    for server_id in servers:
        assert (await client("DELETE", f"/servers/{server_id}")).status_code == 204
    for server_id in servers:
        await client.until_gone(server_id)


# --- processors ------------------------------------------------------------------------------------------------


async def test_hosts_are_filled_to_the_last_processor_and_not_beyond(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        made = [await active(client, "pinned") for _ in range(4)]
        assert await taken(world) == {"host1": DEDICATED, "host2": DEDICATED}
        for server_id, host in made:
            found = world.drivers[host].topology(server_id)
            assert found is not None and found == (await given(world, server_id))[host]
            assert set(found.pins) == {0, 1} and set(found.pins.values()) in ({2, 3}, {6, 7})
        too_many = await client.boot(flavorRef="pinned")
        fault = (await client.until(too_many, "ERROR"))["fault"]
        assert "NUMATopologyFilter dropped 2" in fault["message"]
        assert "2 dedicated processors of one cell, there was 0 on cell 0; 0 on cell 1" in fault["details"]
        await all_is_well(world)
        await active(client, "plain")  # the shared ones are still there
        gone = made[0][0]
        await remove(client, gone)
        assert (await active(client, "pinned"))[1] == made[0][1]
        listed = (await client("GET", "/servers")).json()["servers"]
        await remove(client, *(server["id"] for server in listed))
        assert await taken(world) == {}
        await nothing_left(world)


async def test_many_of_one_request_share_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        await client.boot(flavorRef="pinned", min_count=4, max_count=4)
        servers = (await client("GET", "/servers")).json()["servers"]
        for server in servers:
            await client.until(server["id"], "ACTIVE")
        assert await taken(world) == {"host1": DEDICATED, "host2": DEDICATED}
        await all_is_well(world)


async def test_a_pinned_server_is_no_vcpu_and_counts_for_the_quota(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (_, client):
        await active(client, "pinned")
        host = (await client("GET", "/os-hypervisors/detail", token="admin", version="2.1")).json()["hypervisors"][0]
        assert (host["vcpus"], host["vcpus_used"]) == (4, 0)
        limits = (await client("GET", "/limits")).json()["limits"]["absolute"]
        assert limits["totalCoresUsed"] == 2


async def test_an_isolated_emulator_has_a_processor_more_until_the_server_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        await flavor(world, "alone", {"hw:cpu_policy": "dedicated", "hw:emulator_threads_policy": "isolate"}, 1)
        server_id, host = await active(client, "alone")
        found = (await given(world, server_id))[host]
        assert world.drivers[host].topology(server_id) == found
        assert await taken(world) == {host: {*found.pins.values(), *found.emulator}} and len(found.emulator) == 1
        await all_is_well(world)
        other, _ = await active(client, "pinned")
        assert await taken(world) == {host: DEDICATED}
        too_many = await client.boot(flavorRef="alone")
        details = (await client.until(too_many, "ERROR"))["fault"]["details"]
        needed = "needed 2 dedicated processors of one cell (1 and one for the emulator), there was 0 on cell 0; 0 on cell 1"
        assert needed in details
        await remove(client, server_id, other, too_many)
        assert await taken(world) == {}
        await nothing_left(world)


async def test_the_emulator_is_the_reason_that_nothing_fits(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        await flavor(world, "alone", {"hw:cpu_policy": "dedicated", "hw:emulator_threads_policy": "isolate"})
        server_id = await client.boot(flavorRef="alone")
        fault = (await client.until(server_id, "ERROR"))["fault"]
        assert "NUMATopologyFilter dropped 2" in fault["message"]
        needed = "needed 3 dedicated processors of one cell (2 and one for the emulator), there was 2 on cell 0; 2 on cell 1"
        assert needed in fault["details"]
        assert "It would fit with a flavor without hw:emulator_threads_policy=isolate." in fault["details"]


async def test_the_topology_that_users_and_administrators_see(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        await flavor(world, "threads", {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2", "hw:cpu_threads": "2"}, 4)
        server_id, _ = await active(client, "threads")
        node = {"memory_mb": 256, "siblings": [[0, 1]], "vcpu_set": [0, 1]}
        other = {"memory_mb": 256, "siblings": [[2, 3]], "vcpu_set": [2, 3]}
        assert await topology(client, server_id) == {"nodes": [node, other], "pagesize_kb": None}
        pins = (await topology(client, server_id, "admin"))["nodes"]
        assert {one["host_node"] for one in pins} == {0, 1}
        assert {host for one in pins for host in one["cpu_pinning"].values()} == DEDICATED
        plain, _ = await active(client, "plain")
        assert await topology(client, plain, "admin") == {"nodes": [], "pagesize_kb": None}
        answer = await client("GET", f"/servers/{server_id}/topology", token="other")
        assert answer.status_code == 404


async def test_a_server_that_is_nowhere_has_its_nodes_nowhere(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        await flavor(world, "wide", {"hw:cpu_policy": "dedicated"}, 5)
        server_id = await client.boot(flavorRef="wide")
        await client.until(server_id, "ERROR")
        node = (await topology(client, server_id, "admin"))["nodes"][0]
        assert (node["host_node"], node["cpu_pinning"], node["vcpu_set"]) == (-1, {}, [0, 1, 2, 3, 4])


async def test_pages(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (_, client):
        for _ in range(2):
            server_id, _ = await active(client, "huge")
            assert (await topology(client, server_id))["pagesize_kb"] == 2048


async def test_a_host_that_divides_nothing_pins_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path, compute={"reserved_memory_mb": 0}) as (_, client):
        server_id = await client.boot(flavorRef="pinned")
        assert "NUMATopologyFilter dropped 2" in (await client.until(server_id, "ERROR"))["fault"]["message"]


@pytest.mark.parametrize(
    "sets",
    [{"cpu_dedicated_set": "6-9"}, {"cpu_dedicated_set": "2", "cpu_shared_set": "1-2"}, {"cpu_shared_set": "x"}],
)
async def test_sets_that_cannot_be(tmp_path: Path, sets: dict[str, str]) -> None:
    world = World(tmp_path, hosts=1, machine=MACHINE, compute=sets)
    with pytest.raises(Misconfigured, match=r"option compute\.cpu_"):
        await world.start()
    await world.stop()


# --- devices ---------------------------------------------------------------------------------------------------


async def test_a_device_has_one_server(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        plain, keeps_off = await active(client, "plain")
        first, host = await active(client, "gpu")
        second, other = await active(client, "gpu")
        assert {host, other} == {"host1", "host2"} and keeps_off in (host, other) and plain
        third = await client.boot(flavorRef="gpu")
        fault = (await client.until(third, "ERROR"))["fault"]
        assert "PciPassthroughFilter dropped 2" in fault["message"]
        assert "needed devices: 1 gpu, there was free: 0 gpu" in fault["details"]
        device = world.drivers[host].topology(first)
        assert device is not None and [one.address for one in device.devices] == ["0000:01:00.0"]
        await remove(client, first)
        assert (await active(client, "gpu"))[1] == host
        await all_is_well(world)
        await remove(client, second)


async def test_two_servers_race_for_one_device(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        racing = [await client.boot(flavorRef="gpu"), await client.boot(flavorRef="gpu")]
        async with asyncio.timeout(120):
            while True:
                states = sorted([(await client.show(one))["status"] for one in racing])
                if "BUILD" not in states:
                    break
                await asyncio.sleep(0.1)
        assert states == ["ACTIVE", "ERROR"]
        await all_is_well(world)


async def test_whoever_wants_no_device_leaves_hosts_with_them(tmp_path: Path) -> None:
    async with opened(tmp_path, scheduler={"weighers": {"PCIWeigher": 1.0}}) as (_, client):
        _, host = await active(client, "gpu")  # it has no device left
        for _ in range(3):
            assert (await active(client, "plain"))[1] == host


async def test_the_guest_is_where_its_device_is(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        near, host = await active(client, "pinned-gpu")
        assert [cell.host_cell for cell in (await given(world, near))[host].cells] == [1]


# --- it moves, and all is given back ---------------------------------------------------------------------------


async def test_a_resize_takes_anew_and_gives_back_what_it_had(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        server_id, source = await active(client, "plain")
        await act(client, server_id, "resize", {"flavorRef": "pinned"})
        resized = await client.until(server_id, "VERIFY_RESIZE")
        destination = resized["OS-EXT-SRV-ATTR:host"]
        assert destination != source and set(await given(world, server_id)) == {destination}
        assert len((await topology(client, server_id))["nodes"]) == 1
        await act(client, server_id, "revertResize")
        await client.until(server_id, "ACTIVE")
        assert await taken(world) == {} and (await topology(client, server_id))["nodes"] == []
        await act(client, server_id, "resize", {"flavorRef": "pinned"})
        await client.until(server_id, "VERIFY_RESIZE")
        await act(client, server_id, "confirmResize", code=204)
        await client.until(server_id, "ACTIVE")
        await act(client, server_id, "resize", {"flavorRef": "two-cells"})
        await client.until(server_id, "VERIFY_RESIZE")
        assert {host: len(one.cells) for host, one in (await given(world, server_id)).items()} == {
            source: 2,
            destination: 1,
        }
        await all_is_well(world)
        await act(client, server_id, "revertResize")
        await client.until(server_id, "ACTIVE")
        assert set(await given(world, server_id)) == {destination}
        await remove(client, server_id)
        await nothing_left(world)


@pytest.mark.parametrize("kind", ["migrate", "os-migrateLive"])
async def test_a_move_takes_processors_of_the_destination(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path) as (world, client):
        server_id, source = await active(client, "pinned")
        body = {"block_migration": "auto", "host": None} if kind == "os-migrateLive" else None
        await act(client, server_id, kind, body, token="admin")
        if kind == "migrate":
            await client.until(server_id, "VERIFY_RESIZE")
            assert len(await given(world, server_id)) == 2
            await act(client, server_id, "confirmResize", code=204)
        await asyncio.sleep(30)
        destination = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
        assert destination != source
        found = await given(world, server_id)
        assert list(found) == [destination] == list(await taken(world))
        assert world.drivers[destination].topology(server_id) == found[destination]
        await all_is_well(world)


async def test_a_resize_that_stays_has_both_until_it_is_confirmed(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1, moves={"allow_resize_to_same_host": True}) as (world, client):
        server_id, host = await active(client, "pinned")
        before = (await given(world, server_id))[host]
        await flavor(world, "pinned-other", {"hw:cpu_policy": "dedicated"})
        await act(client, server_id, "resize", {"flavorRef": "pinned-other"})
        await client.until(server_id, "VERIFY_RESIZE")
        assert await taken(world) == {host: DEDICATED}
        during = world.drivers[host].topology(server_id)
        assert during is not None and not set(during.pins.values()) & set(before.pins.values())
        assert (await topology(client, server_id, "admin"))["nodes"][0]["cpu_pinning"] == {
            str(guest): cpu for guest, cpu in during.pins.items()
        }
        await act(client, server_id, "revertResize")
        await client.until(server_id, "ACTIVE")
        assert world.drivers[host].topology(server_id) == before
        assert await taken(world) == {host: set(before.pins.values())}
        await all_is_well(world)
        await act(client, server_id, "resize", {"flavorRef": "plain"})
        await client.until(server_id, "VERIFY_RESIZE")
        assert world.drivers[host].topology(server_id) is None


async def test_a_build_that_fails_gives_back_what_it_was_given(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        world.drivers["host1"].inject(Fault(verb="prepare", times=-1))
        world.drivers["host2"].inject(Fault(verb="prepare", times=-1))
        server_id = await client.boot(flavorRef="pinned-gpu")
        await client.until(server_id, "ERROR")
        assert await taken(world) == {}
        await all_is_well(world)


async def test_a_shelved_server_comes_back_to_processors_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, moves={"shelved_offload_time": 0}) as (world, client):
        server_id, _ = await active(client, "pinned-gpu")
        await act(client, server_id, "shelve")
        await client.until(server_id, "SHELVED_OFFLOADED")
        assert await taken(world) == {}
        assert (await topology(client, server_id, "admin"))["nodes"][0]["host_node"] == -1
        await act(client, server_id, "unshelve")
        host = (await client.until(server_id, "ACTIVE"))["OS-EXT-SRV-ATTR:host"]
        found = await given(world, server_id)
        assert list(found) == [host] and found[host].devices
        assert world.drivers[host].topology(server_id) == found[host]


async def test_a_rebuilt_server_keeps_what_it_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        server_id, host = await active(client, "pinned")
        before = await given(world, server_id)
        image = (await client.show(server_id))["image"]["id"]
        await act(client, server_id, "rebuild", {"imageRef": image})
        await client.until(server_id, "ACTIVE")
        assert await given(world, server_id) == before
        assert world.drivers[host].topology(server_id) == before[host]
        other = msgspec.structs.replace(world.images.shelf.find(image).image, properties={"hw_numa_nodes": "2"})
        world.images.shelf.images[image] = Shelved(image=other, uploaded=True)
        answer = await client("POST", f"/servers/{server_id}/action", {"rebuild": {"imageRef": image}})
        assert answer.status_code == 400 and "NUMA topology" in answer.text


async def test_a_host_that_tells_of_another_machine(tmp_path: Path) -> None:
    """Its operator divides it anew while servers are on it: those keep what they have, others see what is left."""
    async with opened(tmp_path, hosts=1) as (world, client):
        server_id, host = await active(client, "pinned")
        pins = set((await given(world, server_id))[host].pins.values())
        await world.agents[host].abandon()
        world.config = world.config.model_copy(
            update={
                "compute": world.config.compute.model_copy(update={"cpu_dedicated_set": "2-3", "cpu_shared_set": "0"})
            }
        )
        world.agents[host] = world.agent(host)
        await world.agents[host].start(world.agents[host]._capabilities)
        other = await client.boot(flavorRef="pinned")
        status = "ERROR" if pins == {2, 3} else "ACTIVE"
        await client.until(other, status)
        await all_is_well(world)


# --- what is refused at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra_specs", "says"),
    [
        ({"hw:cpu_policy": "some"}, "CPU allocation policy"),
        ({"hw:cpu_thread_policy": "isolate"}, "non dedicated"),
        ({"hw:emulator_threads_policy": "isolate"}, "An isolated CPU emulator threads option requires a dedicated"),
        ({"hw:cpu_policy": "shared", "hw:emulator_threads_policy": "isolate"}, "requires a dedicated CPU policy"),
        ({"hw:cpu_policy": "dedicated", "hw:emulator_threads_policy": "own"}, "Invalid CPU emulator threads option"),
        ({"resources:PCPU": "2", "hw:emulator_threads_policy": "isolate"}, "it must be 3"),
        ({"hw:cpu_policy": "mixed"}, "mixed"),
        ({"hw:cpu_policy": "dedicated", "hw:cpu_dedicated_mask": "0"}, "mixed"),
        ({"hw:numa_nodes": "0"}, "numa_nodes"),
        ({"hw:numa_nodes": "3"}, "Asymmetric"),
        ({"hw:numa_nodes": "2", "hw:numa_cpus.0": "0"}, "all NUMA nodes"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0", "hw:numa_mem.0": "512"}, "not assigned"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-2", "hw:numa_mem.0": "512"}, "larger than max"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-1", "hw:numa_mem.0": "500"}, "expected 512 MB"),
        ({"hw:mem_page_size": "tiny"}, "page size"),
        ({"pci_passthrough:alias": "none:1"}, "not defined"),
        ({"pci_passthrough:alias": "gpu"}, "name:count"),
        ({"resources:PCPU": "1"}, "resources:PCPU"),
        ({"resources:PCPU": "2", "hw:cpu_policy": "shared"}, "one or the other"),
    ],
)
async def test_contradictions_are_refused_and_change_nothing(
    tmp_path: Path, extra_specs: dict[str, str], says: str
) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        await flavor(world, "odd", extra_specs)
        body = {
            "name": "odd",
            "imageRef": "11111111-1111-4111-8111-111111111111",
            "flavorRef": "odd",
            "networks": "auto",
        }
        answer = await client("POST", "/servers", {"server": body})
        assert answer.status_code == 400 and says in answer.text, answer.text
        server_id, _ = await active(client, "plain")
        answer = await client("POST", f"/servers/{server_id}/action", {"resize": {"flavorRef": "odd"}})
        assert answer.status_code == 400 and says in answer.text, answer.text
        assert (await client.show(server_id))["status"] == "ACTIVE"


async def test_pcpu_means_dedicated(tmp_path: Path) -> None:
    async with opened(tmp_path, hosts=1) as (world, client):
        await flavor(world, "pcpu", {"resources:PCPU": "2"})
        server_id, host = await active(client, "pcpu")
        assert len((await given(world, server_id))[host].pins) == 2


async def test_the_nearest_fit_of_a_server_that_wants_processors(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, client):
        for _ in range(4):
            await active(client, "pinned")
        server_id = await client.boot(flavorRef="pinned")
        fault = (await client.until(server_id, "ERROR"))["fault"]
        assert "It would fit with a flavor without hw:cpu_policy=dedicated." in fault["details"]


async def test_what_if_counts_processors_and_devices(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, client):
        await active(client, "pinned-gpu")
        planner = Planner(
            world.database,
            world.clock,
            world.random,
            scheduler=world.config.scheduler,
            membership=world.config.membership,
        )

        async def fitting(name: str, **more: Any) -> int:
            found = await world.database.run(lambda connection: find_flavor(connection, name, "p1", True))
            assert found is not None
            aliases = world.config.pci.aliases
            asked = read_request(found.vcpus, found.memory_mb, found.extra_specs, {}, aliases)
            flavor = asking(msgspec.to_builtins(found), asked)
            answer = await planner.answer(Question(project_id="p1", user_id="u1", flavor=flavor, count=20, **more))
            return int(answer["servers"]["fits"])

        assert (await fitting("pinned"), await fitting("pinned-gpu")) == (3, 1)
        assert await fitting("pinned", new_hosts=NewHosts(count=2)) == 3 + 4
        assert await fitting("pinned-gpu", new_hosts=NewHosts(count=2, like="host2")) == 1 + 2
