"""What fits on a machine: by example, and compared with a search through everything there is."""

from itertools import combinations, permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.model.topology.fit import NoFit, fit
from kilonova.model.topology.given import (
    GivenTopology,
    TopologyUse,
    given_twice,
    read_given,
    read_use,
    taken_in,
    use_document,
    used_by,
)
from kilonova.model.topology.machine import Cell, Device, Pages, Topology, dedicated_in
from kilonova.model.topology.request import CellRequest, DeviceRequest, TopologyRequest, read_request
from tests.unit.topology_machines import ALIASES, GPU, NIC, gpu, machine, nic

NOTHING = TopologyUse()


def asked(vcpus: int, specs: str, memory_mb: int = 64) -> TopologyRequest:
    """What a flavor with those extra specs (``name=value``, separated by blanks) asks for."""
    named = dict(part.split("=", 1) for part in specs.split())
    found = read_request(vcpus, memory_mb, named, {}, ALIASES)
    assert found is not None
    return found


def pinned(vcpus: int, specs: str = "", memory_mb: int = 64) -> TopologyRequest:
    return asked(vcpus, f"hw:cpu_policy=dedicated {specs}", memory_mb)


def given_for(topology: Topology, use: TopologyUse, request: TopologyRequest) -> GivenTopology:
    found = fit(topology, use, request)
    assert isinstance(found, GivenTopology), found
    return found


def refused(topology: Topology, use: TopologyUse, request: TopologyRequest) -> NoFit:
    found = fit(topology, use, request)
    assert isinstance(found, NoFit), found
    return found


# --- processors ------------------------------------------------------------------------------------------------


def test_a_machine_is_filled_to_the_last_processor() -> None:
    topology, use = machine(), NOTHING
    for _ in range(4):
        use = use.plus(given_for(topology, use, pinned(2)))
    assert {cpu for cell in use.cells.values() for cpu in cell.taken} == set(range(8))
    missing = refused(topology, use, pinned(1))
    assert missing.need == "1 dedicated processors of one cell" and "0 on cell 0" in missing.have


def test_threads_of_a_core_are_given_together() -> None:
    topology = machine(cells=1)
    first = given_for(topology, NOTHING, pinned(1))
    second = given_for(topology, NOTHING.plus(first), pinned(2))
    assert set(second.pins.values()) == {2, 3}  # the core of 0 is broken into


def test_a_guest_is_not_spread_over_cells_unless_it_asks() -> None:
    topology = machine()
    assert refused(topology, NOTHING, pinned(5)).need == "5 dedicated processors of one cell"
    spread = given_for(topology, NOTHING, pinned(6, "hw:numa_nodes=2"))
    assert [cell.host_cell for cell in spread.cells] == [0, 1]
    assert [len(cell.pins) for cell in spread.cells] == [3, 3]


def test_isolated_threads_have_their_cores_alone() -> None:
    topology = machine(cells=1)
    first = given_for(topology, NOTHING, pinned(1, "hw:cpu_thread_policy=isolate"))
    assert first.cells[0].kept_free == [1]
    use = NOTHING.plus(first)
    assert set(given_for(topology, use, pinned(2)).pins.values()) == {2, 3}
    assert refused(topology, use, pinned(2, "hw:cpu_thread_policy=isolate")).have == "1 on cell 0"


def test_a_core_that_is_shared_in_part_isolates_nobody() -> None:
    cell = Cell(id=0, shared=[1], dedicated=[0, 2, 3], siblings=[[0, 1], [2, 3]], memory_mb=1024)
    found = given_for(Topology(cells=[cell]), NOTHING, pinned(1, "hw:cpu_thread_policy=isolate"))
    assert found.pins == {0: 2}


def test_required_siblings_are_siblings() -> None:
    no_threads = machine(cells=1, cores=4, threads=1)
    assert "siblings" in refused(no_threads, NOTHING, pinned(2, "hw:cpu_thread_policy=require")).need
    topology = machine(cells=1)
    broken = NOTHING.plus(given_for(topology, NOTHING, pinned(1)))
    assert given_for(topology, broken, pinned(2, "hw:cpu_thread_policy=require")).pins == {0: 2, 1: 3}
    assert refused(topology, broken, pinned(3, "hw:cpu_thread_policy=require")).have == "2 on cell 0"
    assert len(given_for(topology, broken, pinned(3)).pins) == 3


def test_shared_processors_are_promised_as_often_as_the_ratio_says() -> None:
    topology = msgspec.structs.replace(machine(cells=1, dedicated=False), cpu_ratio=2.0, memory_ratio=4.0)
    request, use = asked(4, "hw:numa_nodes=1"), NOTHING
    for _ in range(2):
        use = use.plus(given_for(topology, use, request))
    assert "shared processors" in refused(topology, use, request).need
    assert "shared processors" in refused(topology, NOTHING, asked(5, "hw:numa_nodes=1")).need


def test_some_of_a_guests_processors_can_be_dedicated() -> None:
    cell = Cell(id=0, shared=[0, 1], dedicated=[2, 3], memory_mb=1024)
    request = asked(3, "hw:cpu_policy=mixed hw:cpu_dedicated_mask=^0-1")
    found = given_for(Topology(cells=[cell]), NOTHING, request)
    assert found.pins == {2: 2} and found.cells[0].shared == [0, 1]


@pytest.mark.parametrize("policy", ["prefer", "require"])
def test_an_isolated_emulator_has_a_processor_more(policy: str) -> None:
    topology = machine(cells=1)
    request = pinned(2, f"hw:emulator_threads_policy=isolate hw:cpu_thread_policy={policy}")
    found = given_for(topology, NOTHING, request)
    assert set(found.pins.values()) == {0, 1} and found.emulator == {2} and not found.emulator_shares
    use = NOTHING.plus(found)
    assert use.cell(0).taken == {0, 1, 2}
    again = refused(topology, use, pinned(1, "hw:emulator_threads_policy=isolate"))
    assert again.need == "2 dedicated processors of one cell (1 and one for the emulator)"
    assert again.have == "1 on cell 0"
    assert given_for(topology, use, pinned(1, "hw:emulator_threads_policy=share")).emulator_shares


def test_all_of_a_cell_and_an_emulator_are_too_much() -> None:
    missing = refused(machine(), NOTHING, pinned(4, "hw:emulator_threads_policy=isolate"))
    assert missing.need == "5 dedicated processors of one cell (4 and one for the emulator)"
    assert missing.have == "4 on cell 0; 4 on cell 1"


def test_the_emulator_is_on_the_guests_first_cell() -> None:
    request = pinned(6, "hw:numa_nodes=2 hw:emulator_threads_policy=isolate")
    uneven = Topology(cells=[*machine(cells=1, cores=3, threads=1).cells, *_second(4)])
    found = given_for(uneven, NOTHING, request)
    assert [(cell.host_cell, len(cell.pins), len(cell.emulator)) for cell in found.cells] == [(1, 3, 1), (0, 3, 0)]
    missing = refused(Topology(cells=[*machine(cells=1, cores=3, threads=1).cells, *_second(3)]), NOTHING, request)
    assert missing.need == "4 dedicated processors of one cell (3 and one for the emulator)"


def _second(processors: int) -> list[Cell]:
    return [Cell(id=1, shared=[], dedicated=[*range(10, 10 + processors)], memory_mb=1024)]


def test_an_emulator_does_not_break_into_a_core_without_need() -> None:
    topology = machine(cells=1, cores=3)
    found = given_for(topology, NOTHING, pinned(3, "hw:emulator_threads_policy=isolate"))
    assert set(found.pins.values()) == {0, 1, 2} and found.emulator == {3}


def test_with_isolated_threads_the_emulator_has_a_core_too() -> None:
    specs = "hw:cpu_thread_policy=isolate hw:emulator_threads_policy=isolate"
    found = given_for(machine(cells=1), NOTHING, pinned(1, specs))
    assert found.pins == {0: 0} and found.emulator == {2} and found.cells[0].kept_free == [1, 3]
    assert refused(machine(cells=1), NOTHING, pinned(2, specs)).need == (
        "3 dedicated cores that are wholly free (2 and one for the emulator)"
    )


def test_an_emulator_may_be_all_that_a_first_cell_has_of_its_own() -> None:
    cells = [Cell(id=at, shared=[3 * at], dedicated=[3 * at + 1, 3 * at + 2], memory_mb=1024) for at in (0, 1)]
    specs = "hw:cpu_policy=mixed hw:cpu_dedicated_mask=1 hw:numa_nodes=2 hw:emulator_threads_policy=isolate"
    found = given_for(Topology(cells=cells), NOTHING, asked(2, specs))
    assert [(cell.shared, cell.pins, cell.emulator) for cell in found.cells] == [([0], [], [1]), ([], [(1, 4)], [])]


def test_cells_as_the_flavor_draws_them() -> None:
    request = asked(3, "hw:numa_nodes=2 hw:numa_cpus.0=0,2 hw:numa_mem.0=64 hw:numa_cpus.1=1 hw:numa_mem.1=32", 96)
    found = given_for(machine(dedicated=False), NOTHING, request)
    assert [(cell.shared, cell.memory_mb) for cell in found.cells] == [([0, 2], 64), ([1], 32)]
    assert refused(machine(cells=1, dedicated=False), NOTHING, request).need == "2 NUMA cells"


# --- memory ----------------------------------------------------------------------------------------------------

POOLS = [Pages(4, 131_072), Pages(2048, 128), Pages(1_048_576, 1)]


@pytest.mark.parametrize(
    ("size", "memory", "chosen"),
    [
        ("small", 64, 4),
        ("large", 64, 2048),
        ("large", 1024, 1_048_576),
        ("any", 63, 4),
        ("any", 64, 2048),
        ("2048", 64, 2048),
        ("2MB", 64, 2048),
        ("1GB", 1024, 1_048_576),
    ],
)
def test_pages_of_the_size_that_is_asked_for(size: str, memory: int, chosen: int) -> None:
    found = given_for(machine(pages=POOLS, dedicated=False), NOTHING, asked(1, f"hw:mem_page_size={size}", memory))
    assert found.page_kib == chosen
    assert NOTHING.plus(found).cell(0).pages == {chosen: memory * 1024 // chosen}


def test_pages_are_used_up() -> None:
    topology, use = machine(cells=1, pages=POOLS, dedicated=False), NOTHING
    request = asked(1, "hw:mem_page_size=2048", 128)
    for _ in range(2):
        use = use.plus(given_for(topology, use, request))
    assert "0 of 2048 KiB" in refused(topology, use, request).have
    assert "pages '16'" in refused(topology, NOTHING, asked(1, "hw:mem_page_size=16")).need
    assert "none are told" in refused(machine(), NOTHING, asked(1, "hw:mem_page_size=small")).have


def test_pinned_guests_do_not_overcommit_memory() -> None:
    topology = machine(cells=1, memory_mb=1024)
    use = NOTHING.plus(given_for(topology, NOTHING, pinned(1, "", 700)))
    assert "324 MiB" in refused(topology, use, pinned(1, "", 325)).have
    assert isinstance(fit(topology, use, pinned(1, "", 324)), GivenTopology)


# --- devices ---------------------------------------------------------------------------------------------------


def test_a_device_goes_to_one_server() -> None:
    topology = machine(devices=[gpu(1), gpu(2)])
    request = asked(1, "pci_passthrough:alias=gpu:1")
    first = given_for(topology, NOTHING, request)
    use = NOTHING.plus(first)
    second = given_for(topology, use, request)
    assert {first.devices[0].address, second.devices[0].address} == {"0000:01:00.0", "0000:02:00.0"}
    missing = refused(topology, use.plus(second), request)
    assert missing.devices and missing.need == "devices: 1 gpu" and missing.have == "free: 0 gpu"


def test_the_guest_goes_where_its_device_is() -> None:
    topology = machine(devices=[gpu(1, cell=1)])
    near = pinned(2, "pci_passthrough:alias=near:1")
    first = given_for(topology, NOTHING, near)
    assert first.cells[0].host_cell == 1
    assert refused(topology, NOTHING.plus(first), near).devices


def test_a_cell_near_a_device_is_left_to_those_who_want_it() -> None:
    assert given_for(machine(devices=[gpu(1, cell=0)]), NOTHING, pinned(2)).cells[0].host_cell == 1


def test_affinities() -> None:
    topology = machine(devices=[gpu(1, cell=1), nic(1, cell=1)])
    taken = given_for(topology, NOTHING, pinned(4, "pci_passthrough:alias=near:1"))
    use = NOTHING.plus(GivenTopology(cells=taken.cells))  # no processor is left near the devices
    assert refused(topology, use, pinned(2, "pci_passthrough:alias=near:1")).devices
    assert refused(topology, use, pinned(2, "pci_passthrough:alias=gpu:1")).devices
    assert given_for(topology, use, pinned(2, "pci_passthrough:alias=nic:1")).cells[0].host_cell == 0
    assert given_for(topology, use, pinned(2, "pci_passthrough:alias=gpu:1 hw:pci_numa_affinity_policy=preferred"))
    assert refused(topology, use, pinned(2, "pci_passthrough:alias=nic:1 hw:pci_numa_affinity_policy=socket")).devices
    unknown = machine(devices=[gpu(1)])
    assert given_for(unknown, NOTHING, pinned(2, "pci_passthrough:alias=gpu:1")).devices
    assert refused(unknown, NOTHING, pinned(2, "pci_passthrough:alias=near:1")).devices


def test_whoever_can_do_with_another_device_leaves_the_only_one() -> None:
    anyone = asked(1, "pci_passthrough:alias=gpu:1").devices[0]
    only = msgspec.structs.replace(anyone, alias="only", specs=[NIC])
    either = msgspec.structs.replace(anyone, alias="either", specs=[NIC, GPU])
    request = TopologyRequest(devices=[either, only])
    found = given_for(machine(devices=[nic(1), gpu(9)]), NOTHING, request)
    assert {device.alias: device.address for device in found.devices} == {
        "only": "0000:f0:00.1",
        "either": "0000:09:00.0",
    }


# --- what is used ----------------------------------------------------------------------------------------------


def test_what_is_given_adds_up_and_is_kept() -> None:
    topology = machine(pages=POOLS, devices=[gpu(1)])
    found = given_for(topology, NOTHING, pinned(2, "pci_passthrough:alias=gpu:1 hw:mem_page_size=large"))
    use = NOTHING.plus(found)
    assert use == used_by([found]) and use != NOTHING
    assert given_twice([found]) == []
    assert given_twice([found, found]) == ["device 0000:01:00.0", "processor 0", "processor 1"]
    isolated = given_for(topology, use, pinned(1, "hw:emulator_threads_policy=isolate"))
    assert given_twice([found, isolated, isolated]) == ["processor 4", "processor 5"]
    assert read_given(msgspec.to_builtins(found)) == found
    text = msgspec.json.encode(use_document(use)).decode()
    assert read_use(msgspec.json.decode(text)) == use and taken_in(text) == len(use.cell(0).taken) == 2
    assert dedicated_in(msgspec.json.encode(topology).decode()) == 8 and dedicated_in(None) == taken_in(None) == 0
    assert use_document(NOTHING) is None and read_use(None) == NOTHING


# --- compared with a search through everything -----------------------------------------------------------------


@st.composite
def machines(draw: st.DrawFn) -> Topology:
    """Up to three cells of up to four processors, some shared, some dedicated, and up to three devices."""
    made, number = [], 0
    threads = draw(st.sampled_from((1, 2)))
    for cell in range(draw(st.integers(1, 3))):
        cpus = list(range(number, number + draw(st.sampled_from((2, 4)))))
        number = cpus[-1] + 1
        dedicated = draw(st.sets(st.sampled_from(cpus)))
        made.append(
            Cell(
                id=cell,
                shared=[cpu for cpu in cpus if cpu not in dedicated],
                dedicated=sorted(dedicated),
                siblings=[cpus[at : at + 2] for at in range(0, len(cpus), 2)] if threads == 2 else [],
                memory_mb=draw(st.sampled_from((2, 4, 8))),
            )
        )
    places = draw(st.lists(st.sampled_from((None, *range(len(made)))), max_size=3))
    devices = [gpu(at, cell) if draw(st.booleans()) else nic(at, cell) for at, cell in enumerate(places)]
    return Topology(cells=made, devices=devices, cpu_ratio=draw(st.sampled_from((1.0, 2.0))))


@st.composite
def requests(draw: st.DrawFn) -> TopologyRequest:
    cells = draw(st.integers(1, 2))
    each = draw(st.integers(1, 3))
    policy = draw(st.sampled_from(("shared", "dedicated", "mixed")))
    specs = [f"hw:numa_nodes={cells}"]
    if policy != "shared":
        specs.append(f"hw:cpu_policy={policy}")
        specs.append(f"hw:cpu_thread_policy={draw(st.sampled_from(('prefer', 'isolate', 'require')))}")
        if emulator := draw(st.sampled_from((None, "isolate", "share"))):
            specs.append(f"hw:emulator_threads_policy={emulator}")
    vcpus = cells * each
    if policy == "mixed":
        if vcpus == 1:
            return asked(1, "hw:cpu_policy=dedicated")
        specs.append("hw:cpu_dedicated_mask=0")
    wanted = [f"{name}:{count}" for name in ALIASES if (count := draw(st.integers(0, 1)))]
    if wanted:
        specs.append(f"pci_passthrough:alias={','.join(wanted)}")
    return asked(vcpus, " ".join(specs), cells * draw(st.sampled_from((1, 2, 4))))


def exists(topology: Topology, use: TopologyUse, request: TopologyRequest) -> bool:
    """Whether there is any way at all: every placing of cells, every choice of processors, every choice of devices."""
    free = [device for device in topology.devices if device.address not in use.devices]
    units = [one for one in request.devices for _ in range(one.count)]
    for chosen in permutations(topology.cells, len(request.cells)):
        near = {cell.id for cell in chosen}
        if all(_takes(topology, cell, use, one, request) for cell, one in zip(chosen, request.cells, strict=True)):
            for devices in permutations(free, len(units)):
                if all(_may(device, unit, near) for device, unit in zip(devices, units, strict=True)):
                    return True
    return False


def _may(device: Device, unit: DeviceRequest, near: set[int]) -> bool:
    if (device.vendor_id, device.product_id) not in [(spec.vendor_id, spec.product_id) for spec in unit.specs]:
        return False
    legacy = unit.affinity == "legacy" and (device.cell is None or device.cell in near)
    return legacy or unit.affinity == "preferred" or device.cell in near


def _takes(topology: Topology, cell: Cell, use: TopologyUse, one: CellRequest, request: TopologyRequest) -> bool:
    used = use.cell(cell.id)
    most = len(cell.shared) * topology.cpu_ratio
    shares = bool(one.shared) or not one.dedicated
    if shares and (len(one.shared) > len(cell.shared) or used.shared + len(one.shared) > most):
        return False
    if used.memory_mb + one.memory_mb > cell.memory_mb:
        return False
    free = [cpu for cpu in cell.dedicated if cpu not in used.taken]
    return any(
        _allowed(cell, set(some), set(free), request.threads)
        and (not one.emulator or _allows_emulator(cell, set(some), free, request.threads))
        for some in combinations(free, len(one.dedicated))
    )


def _allows_emulator(cell: Cell, some: set[int], free: list[int], policy: str | None) -> bool:
    """Any processor that is left will do, unless the guest's must have their cores alone: then one of another such core."""
    more = [cpu for cpu in free if cpu not in some]
    return any(policy != "isolate" or _allowed(cell, {*some, cpu}, set(free), policy) for cpu in more)


def _allowed(cell: Cell, some: set[int], free: set[int], policy: str | None) -> bool:
    shares = [len(some & set(core)) for core in cell.cores if some & set(core)]
    if policy == "isolate":
        return all(count == 1 for count in shares) and all(
            set(core) <= free for core in cell.cores if some & set(core)
        )
    if policy == "require":  # whole cores; the last of them need not be used up
        whole = all(len(free & set(core)) > 1 for core in cell.cores if some & set(core))
        return whole and shares.count(1) <= 1
    return True


@given(machines(), st.lists(st.tuples(requests(), st.integers(0, 9)), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_it_fits_exactly_if_there_is_any_way(topology: Topology, asking: list[tuple[TopologyRequest, int]]) -> None:
    use = TopologyUse()
    held: list[GivenTopology] = []
    for request, gone in asking:
        found = fit(topology, use, request)
        assert isinstance(found, GivenTopology) is exists(topology, use, request), (topology, use, request, found)
        if isinstance(found, GivenTopology):
            assert _is_what_was_asked(found, request)
            held.append(found)
        if gone < len(held):
            held.pop(gone)
        use = used_by(held)
        assert given_twice(held) == []
        _within(topology, use)


def _is_what_was_asked(found: GivenTopology, request: TopologyRequest) -> bool:
    cells = [
        (cell.shared, [guest for guest, _ in cell.pins], len(cell.emulator), cell.memory_mb) for cell in found.cells
    ]
    placed = [(cell.shared, cell.dedicated, cell.emulator, cell.memory_mb) for cell in request.cells]
    return (
        found.emulator_shares == request.emulator_shares
        and cells == placed
        and sorted(d.alias for d in found.devices) == sorted(d.alias for d in request.devices)
    )


def _within(topology: Topology, use: TopologyUse) -> None:
    for cell in topology.cells:
        used = use.cell(cell.id)
        assert used.taken <= set(cell.dedicated)
        assert used.shared <= len(cell.shared) * topology.cpu_ratio
        assert used.memory_mb <= cell.memory_mb
    assert use.devices <= {device.address for device in topology.devices}
