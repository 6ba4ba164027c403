"""What machines say they have: sets of processors, how operators divide them, what fake hosts pretend."""

import pytest

from kilonova.config import PciConfig
from kilonova.hypervisor.fake.settings import FakeSettings, read_device
from kilonova.model.errors import Invalid, Misconfigured
from kilonova.model.topology.machine import cpu_set, divided
from kilonova.model.topology.request import TopologyRequest, asking, of_flavor, read_request
from tests.unit.topology_machines import ALIASES, machine


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", {0}), ("0-3,^2", {0, 1, 3}), ("1, 4-5", {1, 4, 5}), ("^1,0-1", {0}), ("", set()), ("2-2,", {2})],
)
def test_sets_of_processors(text: str, cpus: set[int]) -> None:
    assert cpu_set(text) == cpus


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "0x1", "1-", "0-999999", "\x00", "1;2"])
def test_what_is_no_set(text: str) -> None:
    with pytest.raises(ValueError, match="no range"):
        cpu_set(text)


def test_a_machine_is_divided_as_its_operator_says() -> None:
    topology = machine(dedicated=False)
    assert divided(topology, None, None) is topology
    both = divided(topology, "2-3", "0-1,4-7")
    assert [(cell.shared, cell.dedicated) for cell in both.cells] == [([0, 1], [2, 3]), ([4, 5, 6, 7], [])]
    assert both.shared_cpus == 6
    assert divided(topology, "2-3", None).shared_cpus == 0
    assert divided(topology, None, "0-1").shared_cpus == 2


@pytest.mark.parametrize(("dedicated", "shared"), [("0-8", None), ("0-1", "1-2"), (None, "9"), ("x", None)])
def test_divisions_that_cannot_be(dedicated: str | None, shared: str | None) -> None:
    with pytest.raises(Misconfigured, match="cpu_"):
        divided(machine(dedicated=False), dedicated, shared)


def test_a_fake_host_has_what_it_is_told_to_have() -> None:
    settings = FakeSettings(vcpus=10, memory_mb=1000, numa_cells=3, threads=2, huge_pages=10)
    cells = settings.topology().cells
    assert [cpu for cell in cells for cpu in cell.shared] == list(range(10))
    assert cells[0].siblings == [[0, 1], [2]]
    assert [(pool.size_kib, pool.total) for pool in cells[0].pages] == [(4, (333 - 20) * 256), (2048, 10)]
    assert FakeSettings().topology().cells[0].pages == []


def test_fake_devices() -> None:
    found = [read_device(text, at) for at, text in enumerate(("10DE:1eb8", "10de:1eb8@1"))]
    assert [(one.vendor_id, one.product_id, one.cell) for one in found] == [
        ("10de", "1eb8", None),
        ("10de", "1eb8", 1),
    ]
    assert found[0].address != found[1].address
    with pytest.raises(Misconfigured, match="fake_pci_devices"):
        read_device("gpu", 0)


def test_an_alias_may_mean_several_kinds_of_device() -> None:
    config = PciConfig.model_validate(
        {
            "alias": [
                {"name": "gpu", "vendor_id": "10DE", "product_id": "1EB8"},
                {"name": "gpu", "vendor_id": "10de", "product_id": "20b0", "numa_policy": "required"},
            ]
        }
    )
    found = config.aliases["gpu"]
    assert [spec.product_id for spec in found.specs] == ["1eb8", "20b0"] and found.affinity == "required"


# --- what flavor and image say together ------------------------------------------------------------------------


def asked(specs: dict[str, str], properties: dict[str, str], vcpus: int = 4) -> TopologyRequest | None:
    return read_request(vcpus, 1024, specs, properties, ALIASES)


@pytest.mark.parametrize("specs", [{}, {"hw:cpu_policy": "shared"}, {"hw:cpu_threads": "2"}, {"resources:VCPU": "4"}])
def test_most_servers_ask_for_nothing(specs: dict[str, str]) -> None:
    assert asked(specs, {}) is None
    assert of_flavor(asking({"name": "x", "topology": {}}, None)) is None


def test_images_ask_as_flavors_do() -> None:
    by_image = asked({}, {"hw_cpu_policy": "dedicated", "hw_numa_nodes": "2", "hw_cpu_thread_policy": "isolate"})
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2", "hw:cpu_thread_policy": "isolate"}
    assert by_image is not None and by_image == asked(specs, {})
    assert of_flavor(asking({"name": "x"}, by_image)) == by_image
    assert by_image.dedicated == 4 and by_image.threads == "isolate"


def test_where_the_emulator_is_to_run() -> None:
    isolate, share = {"hw:emulator_threads_policy": "isolate"}, {"hw:emulator_threads_policy": "share"}
    two = asked({"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2", **isolate}, {})
    assert two is not None and [cell.emulator for cell in two.cells] == [True, False]
    assert two.dedicated == 4 and not two.emulator_shares
    by_class = asked({"resources:PCPU": "5", **isolate}, {})
    assert by_class is not None and by_class == asked({"hw:cpu_policy": "dedicated", **isolate}, {})
    shares = asked({"hw:cpu_policy": "dedicated", **share}, {})
    assert shares is not None and shares.emulator_shares and not shares.cells[0].emulator
    assert asked(share, {}) is None


def test_an_image_may_choose_what_the_flavor_leaves_open() -> None:
    narrowed = asked({"hw:mem_page_size": "any"}, {"hw_mem_page_size": "2MB"})
    assert narrowed is not None and narrowed.page_size == 2048
    threads = asked(
        {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "prefer"}, {"hw_cpu_thread_policy": "require"}
    )
    assert threads is not None and threads.threads == "require"
    fewer = asked({"hw:cpu_policy": "dedicated", "hw:cpu_max_threads": "2"}, {"hw_cpu_threads": "2"})
    assert fewer is not None and fewer.guest_threads == 2
    trait = asked({"hw:cpu_policy": "dedicated", "trait:HW_CPU_HYPERTHREADING": "forbidden"}, {})
    assert trait is not None and trait.threads == "isolate"


@pytest.mark.parametrize(
    ("specs", "properties"),
    [
        ({"hw:cpu_policy": "shared"}, {"hw_cpu_policy": "dedicated"}),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"}, {"hw_cpu_policy": "dedicated"}),
        ({"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "isolate"}, {"hw_cpu_thread_policy": "require"}),
        ({"hw:numa_nodes": "2"}, {"hw_numa_nodes": "2"}),
        ({"hw:numa_cpus.0": "0"}, {"hw_numa_cpus.0": "0", "hw_numa_nodes": "1"}),
        ({}, {"hw_mem_page_size": "large"}),
        ({"hw:mem_page_size": "2048"}, {"hw_mem_page_size": "4"}),
        ({"hw:mem_page_size": "2M"}, {}),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0-3"}, {}),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "7"}, {}),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "x"}, {}),
        ({"hw:cpu_realtime": "true"}, {}),
        ({"hw:cpu_policy": "dedicated", "hw:cpu_realtime": "true"}, {}),
        ({"hw:emulator_threads_policy": "isolate"}, {}),
        ({"hw:emulator_threads_policy": "isolate", "hw:cpu_policy": "shared"}, {}),
        ({"hw:emulator_threads_policy": "isolate", "resources:VCPU": "4"}, {}),
        ({"hw:emulator_threads_policy": "alone", "hw:cpu_policy": "dedicated"}, {}),
        ({"hw:emulator_threads_policy": "isolate", "resources:PCPU": "4"}, {}),
        ({"hw:emulator_threads_policy": "share", "resources:PCPU": "5"}, {}),
        ({"hw:cpu_max_sockets": "2"}, {"hw_cpu_max_sockets": "4"}),
        ({"hw:cpu_max_cores": "2"}, {"hw_cpu_cores": "4"}),
        ({"hw:cpu_sockets": "many"}, {}),
        ({"resources:VCPU": "4", "resources:PCPU": "4"}, {}),
        (
            {
                "hw:cpu_policy": "dedicated",
                "hw:cpu_thread_policy": "isolate",
                "trait:HW_CPU_HYPERTHREADING": "required",
            },
            {},
        ),
        ({"pci_passthrough:alias": "gpu:1", "hw:pci_numa_affinity_policy": "near"}, {}),
        (
            {"pci_passthrough:alias": "gpu:1", "hw:pci_numa_affinity_policy": "legacy"},
            {"hw_pci_numa_affinity_policy": "required"},
        ),
        ({"pci_passthrough:alias": "gpu:0"}, {}),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "x"}, {}),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-", "hw:numa_mem.0": "1024"}, {}),
        (
            {
                "hw:numa_nodes": "2",
                "hw:numa_cpus.0": "0-3",
                "hw:numa_mem.0": "512",
                "hw:numa_cpus.1": "3",
                "hw:numa_mem.1": "512",
            },
            {},
        ),
    ],
)
def test_contradictions(specs: dict[str, str], properties: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        asked(specs, properties)
