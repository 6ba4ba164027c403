"""What each filter asks: Nova's names, Nova's meaning."""

from typing import Any

import pytest

from kilonova.config import SchedulerConfig
from kilonova.messaging.contract import Need
from kilonova.model.errors import Misconfigured
from kilonova.scheduler.catalog import FILTERS, make_filters
from kilonova.scheduler.filters.operators import satisfies
from tests.unit.scheduler.fleets import Group, Host, passing, request_of

A, B, C = Host(name="a"), Host(name="b"), Host(name="c")


@pytest.mark.parametrize(
    ("value", "requirement", "answer"),
    [
        ("4", "= 4", True),
        ("5", "= 4", True),
        ("3", "= 4", False),
        ("4", "== 4.0", True),
        ("5", "!= 4", True),
        ("4", "<= 4", True),
        ("5", "<= 4", False),
        ("10", ">= 9", True),
        ("10", "s>= 9", False),
        ("abc", "s== abc", True),
        ("abc", "s!= abc", False),
        ("abc", "s< abd", True),
        ("abc", "s<= abc", True),
        ("abd", "s> abc", True),
        ("abc", ">= 1", False),
        ("1", ">= x", False),
        ("nan", "!= x", False),
        ("['sse', 'avx']", "<in> avx", True),
        ("['sse', 'avx']", "<in> vmx", False),
        ("['sse', 'avx']", "<all-in> avx sse", True),
        ("['sse', 'avx']", "<all-in> avx vmx", False),
        ("x", "<all-in>", False),
        ("hdd", "<or> ssd <or> hdd", True),
        ("nvme", "<or> ssd <or> hdd", False),
        ("<or>", "<or> ssd <or> hdd", False),
        ("x", "<or>", False),
        ("x", ">=", False),
        ("two words", "two words", True),
        ("two", "two words", False),
        ("", "", True),
        (None, "x", False),
        (None, "!= 4", False),
    ],
)
def test_the_operators(value: str | None, requirement: str, answer: bool) -> None:
    assert satisfies(value, requirement) is answer


def test_any_host() -> None:
    assert passing("AllHostsFilter", [A, Host(name="down", up=False)], request_of()) == ["a", "down"]


@pytest.mark.parametrize(
    ("specs", "hosts"),
    [
        ({}, ["a", "b", "c"]),
        ({"disk": "ssd"}, ["a"]),
        ({"aggregate_instance_extra_specs:disk": "ssd"}, ["a"]),
        ({"disk": "<or> ssd <or> hdd"}, ["a", "b"]),
        ({"aggregate_instance_extra_specs:cores": ">= 8", "disk": "hdd"}, ["b"]),
        ({"hw:cpu_policy": "dedicated"}, ["a", "b", "c"]),
        ({"disk": "ssd", "aggregate_instance_extra_specs:disk": "hdd"}, []),
        ({"there:is:none": "x", "no": "x"}, []),
    ],
)
def test_aggregate_extra_specs(specs: dict[str, str], hosts: list[str]) -> None:
    groups = [
        Group(hosts=("a",), metadata={"disk": "ssd"}),
        Group(hosts=("b",), metadata={"disk": "hdd, tape"}),
        Group(hosts=("b",), metadata={"cores": "4,16"}),
    ]
    assert passing("AggregateInstanceExtraSpecsFilter", [A, B, C], request_of(extra_specs=specs), groups) == hosts


@pytest.mark.parametrize(
    ("properties", "options", "hosts"),
    [
        ({}, {}, ["a", "b", "c"]),
        ({"os_distro": "windows"}, {}, ["a", "c"]),
        ({"os_distro": "debian"}, {}, ["b", "c"]),
        ({"os_distro": "debian"}, {"aggregate_image_properties_isolation_namespace": "my"}, ["a", "b", "c"]),
        ({"my.color": "red"}, {"aggregate_image_properties_isolation_namespace": "my"}, ["a", "b"]),
        ({"my.color": "red"}, {"aggregate_image_properties_isolation_separator": "-"}, ["a", "b"]),
        (
            {"my.color": "red"},
            {
                "aggregate_image_properties_isolation_namespace": "my",
                "aggregate_image_properties_isolation_separator": "-",
            },
            ["a", "b", "c"],
        ),
    ],
)
def test_aggregate_image_properties(properties: dict[str, str], options: dict[str, Any], hosts: list[str]) -> None:
    groups = [
        Group(hosts=("a",), metadata={"os_distro": "windows"}),
        Group(hosts=("b",), metadata={"os_distro": "debian,ubuntu"}),
        Group(hosts=("c",), metadata={"my.color": "blue"}),
    ]
    request = request_of(properties=properties)
    assert passing("AggregateImagePropertiesIsolation", [A, B, C], request, groups, **options) == hosts


TENANTS = [
    Group(hosts=("a",), metadata={"filter_tenant_id": "p1"}),
    Group(hosts=("b",), metadata={"filter_tenant_id_2": "p2, p3"}),
    Group(hosts=("c",), metadata={"other": "p1"}),
    Group(metadata={"filter_tenant_id": "p5"}),
]


@pytest.mark.parametrize(
    ("project", "isolated", "own"),
    [
        ("p1", ["a", "c"], ["a"]),
        ("p3", ["b", "c"], ["b"]),
        ("p4", ["c"], ["a", "b", "c"]),
        ("p5", ["c"], []),
    ],
)
def test_tenants(project: str, isolated: list[str], own: list[str]) -> None:
    request = request_of(project_id=project)
    assert passing("AggregateMultiTenancyIsolation", [A, B, C], request, TENANTS) == isolated
    assert passing("TenantAggregatesFilter", [A, B, C], request, TENANTS) == own
    required = {"placement_aggregate_required_for_tenants": True}
    expected = [] if project == "p4" else own
    assert passing("TenantAggregatesFilter", [A, B, C], request, TENANTS, **required) == expected


def test_flavors_of_aggregates() -> None:
    groups = [
        Group(hosts=("a",), metadata={"instance_type": "m1.tiny,m1.small"}),
        Group(hosts=("b",), metadata={"instance_type": "m1.huge"}),
    ]
    assert passing("AggregateTypeAffinityFilter", [A, B, C], request_of(flavor="m1.small"), groups) == ["a", "c"]
    assert passing("AggregateTypeAffinityFilter", [A, B, C], request_of(flavor="m1"), groups) == ["c"]


@pytest.mark.parametrize("what", ["servers", "io_ops"])
def test_limits_of_hosts(what: str) -> None:
    name, option = {
        "servers": ("NumInstancesFilter", "max_instances_per_host"),
        "io_ops": ("IoOpsFilter", "max_io_ops_per_host"),
    }[what]
    hosts = [Host(name=f"h{count}", **{what: count}) for count in (0, 2, 3, 5)]
    assert passing(name, hosts, request_of(), **{option: 3}) == ["h0", "h2"]
    groups = [
        Group(hosts=("h0", "h3"), metadata={option: "4"}),
        Group(hosts=("h0",), metadata={option: "0"}),
        Group(hosts=("h2",), metadata={option: "many"}),
        Group(hosts=("h5",), metadata={option: "5"}),
    ]
    assert passing(name, hosts, request_of(), groups, **{option: 3}) == ["h0", "h2"]
    assert passing(f"Aggregate{name}", hosts, request_of(), groups, **{option: 3}) == ["h2", "h3"]


@pytest.mark.parametrize(
    ("image", "restrict", "hosts"),
    [
        ("i1", True, ["a"]),
        ("i1", False, ["a"]),
        ("i2", True, ["b", "c"]),
        ("i2", False, ["a", "b", "c"]),
        (None, True, ["b", "c"]),
    ],
)
def test_isolated_hosts(image: str | None, restrict: bool, hosts: list[str]) -> None:
    options = {"isolated_hosts": ["a", "x"], "restrict_isolated_hosts_to_isolated_images": restrict}
    request = request_of(image_id=image)
    assert passing("IsolatedHostsFilter", [A, B, C], request, isolated_images=["i1"], **options) == hosts
    assert passing("IsolatedHostsFilter", [A, B, C], request, **options) == (
        ["b", "c"] if restrict else ["a", "b", "c"]
    )


@pytest.mark.parametrize(
    ("hints", "hosts"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"cidr": "/8"}, ["a", "b", "c", "d"]),
        ({"build_near_host_ip": "192.0.2.77"}, ["a"]),
        ({"build_near_host_ip": "192.0.3.77", "cidr": "/16"}, ["a", "b"]),
        ({"build_near_host_ip": "192.0.3.77", "cidr": "/255.255.0.0"}, ["a", "b"]),
        ({"build_near_host_ip": "2001:db8::7", "cidr": "/64"}, ["c"]),
        ({"build_near_host_ip": "192.0.2.1", "cidr": "/99"}, []),
    ],
)
def test_near_an_address(hints: dict[str, str], hosts: list[str]) -> None:
    there = [
        Host(name="a", address="192.0.2.1"),
        Host(name="b", address="192.0.3.1"),
        Host(name="c", address="2001:db8::1"),
        Host(name="d", address="d.example"),
    ]
    assert passing("SimpleCIDRAffinityFilter", there, request_of(hints=hints)) == hosts


TRAITS = [
    Host(name="a", traits=("HW_CPU_X86_AVX2", "CUSTOM_GOLD")),
    Host(name="b", traits=("HW_CPU_X86_AVX2",)),
    Host(name="c"),
]


@pytest.mark.parametrize(
    ("specs", "properties", "hosts"),
    [
        ({}, {}, ["a", "b", "c"]),
        ({"trait:HW_CPU_X86_AVX2": "required"}, {}, ["a", "b"]),
        ({"trait:HW_CPU_X86_AVX2": "required"}, {"trait:CUSTOM_GOLD": "required"}, ["a"]),
        ({"trait:CUSTOM_GOLD": "forbidden"}, {}, ["b", "c"]),
        ({}, {"trait:CUSTOM_GOLD": "forbidden"}, ["b", "c"]),
        ({"trait1:CUSTOM_GOLD": "required", "trait_x:HW_CPU_X86_AVX2": "required"}, {}, ["a"]),
        ({"trait:CUSTOM_GOLD": "required"}, {"trait:CUSTOM_GOLD": "forbidden"}, []),
        (
            {"trait:CUSTOM_GOLD": "wanted", "xtrait:CUSTOM_X": "required", "x:trait:Y": "required"},
            {},
            ["a", "b", "c"],
        ),
        ({"trait:CUSTOM_NOWHERE": "required"}, {}, []),
    ],
)
def test_traits(specs: dict[str, str], properties: dict[str, str], hosts: list[str]) -> None:
    assert passing("TraitsFilter", TRAITS, request_of(extra_specs=specs, properties=properties)) == hosts


@pytest.mark.parametrize(
    ("specs", "hosts"),
    [
        ({}, ["c"]),
        ({"trait:CUSTOM_GOLD": "required"}, ["a", "c"]),
        ({"trait:CUSTOM_GOLD": "forbidden"}, ["c"]),
        ({"trait:CUSTOM_GOLD": "required", "trait:CUSTOM_DRY": "required"}, ["a", "b", "c"]),
    ],
)
def test_isolated_aggregates(specs: dict[str, str], hosts: list[str]) -> None:
    groups = [
        Group(hosts=("a", "b"), metadata={"trait:CUSTOM_GOLD": "required"}),
        Group(hosts=("b",), metadata={"trait:CUSTOM_DRY": "required"}),
        Group(hosts=("c",), metadata={"trait:CUSTOM_WET": "forbidden", "gold": "required"}),
    ]
    assert passing("IsolatedAggregatesFilter", [A, B, C], request_of(extra_specs=specs), groups) == hosts


CAPABLE = [
    Host(
        name="a",
        hypervisor_version=7_002_022,
        capabilities={"features": ["kvm", "resize"], "cpu_info": {"model": "Icelake", "maxphysaddr": {"bits": 46}}},
        used=Need(vcpus=0, memory_mb=60_000, disk_gb=0),
    ),
    Host(name="b", hypervisor_version=6_000_000, capabilities={"cpu_info": '{"model": "Haswell"}', "gpu": "yes"}),
    Host(name="c", hypervisor_type="fake", hypervisor_version=1_000),
]


@pytest.mark.parametrize(
    ("specs", "hosts"),
    [
        ({}, ["a", "b", "c"]),
        ({"capabilities:hypervisor_type": "QEMU"}, ["a", "b"]),
        ({"capabilities:hypervisor_version": ">= 6001000"}, ["a"]),
        ({"capabilities:hypervisor_type": "s!= fake", "capabilities:hypervisor_version": "<= 6000000"}, ["b"]),
        ({"capabilities:cpu_info:model": "<or> Icelake <or> Skylake"}, ["a"]),
        ({"capabilities:cpu_info:model": "Haswell"}, ["b"]),
        ({"capabilities:cpu_info:model:deeper": "x"}, []),
        ({"capabilities:features": "<in> kvm"}, ["a"]),
        ({"capabilities:free_ram_mb": ">= 6000"}, ["b", "c"]),
        ({"capabilities:nothing": "x"}, []),
        ({"capabilities:": "x"}, []),
        ({"gpu": "yes"}, ["a", "b", "c"]),
        ({"gpu": "no"}, ["a", "c"]),
        ({"free_ram_mb": ">= 6000"}, ["b", "c"]),
        ({"hw:cpu_policy": "dedicated", "quota:cpu_shares": "x"}, ["a", "b", "c"]),
        ({"hw:maxphysaddr_bits": "46"}, ["a"]),
        ({"hw:maxphysaddr_bits": "52"}, []),
    ],
)
def test_capabilities(specs: dict[str, str], hosts: list[str]) -> None:
    assert passing("ComputeCapabilitiesFilter", CAPABLE, request_of(extra_specs=specs)) == hosts


MACHINES = [
    Host(name="a", hypervisor_version=7_002_022, capabilities={"cpu_info": {"maxphysaddr": {"bits": 46}}}),
    Host(name="b", hypervisor_version=6_002_000, capabilities={"architecture": "aarch64"}),
    Host(name="c", hypervisor_type="fake", hypervisor_version=1_000),
]


@pytest.mark.parametrize(
    ("properties", "hosts"),
    [
        ({}, ["a", "b", "c"]),
        ({"hw_architecture": "x86_64"}, ["a", "c"]),
        ({"hw_architecture": "AMD64"}, ["a", "c"]),
        ({"architecture": "i386"}, ["a", "c"]),
        ({"hw_architecture": "aarch64"}, ["b"]),
        ({"img_hv_type": "kvm"}, ["a", "b", "c"]),
        ({"hypervisor_type": "QEMU"}, ["a", "b", "c"]),
        ({"img_hv_type": "xen"}, ["c"]),
        ({"hw_vm_mode": "hvm"}, ["a", "b", "c"]),
        ({"vm_mode": "pv"}, ["c"]),
        ({"img_hv_requested_version": ">=7.0"}, ["a", "b", "c"]),  # without a type it says nothing
        ({"img_hv_type": "qemu", "img_hv_requested_version": ">=7.0"}, ["a"]),
        ({"img_hv_type": "qemu", "img_hv_requested_version": ">=6.0,<7"}, ["b"]),
        ({"img_hv_type": "qemu", "hypervisor_version_requires": "==7.2.22"}, ["a"]),
        ({"img_hv_type": "qemu", "img_hv_requested_version": "!=1.0"}, ["a", "b"]),
        ({"img_hv_type": "qemu", "img_hv_requested_version": "seven"}, []),
        ({"hw_vm_mode": "hvm", "hw_maxphysaddr_bits": "46"}, ["a", "b", "c"]),
        ({"hw_vm_mode": "hvm", "hw_maxphysaddr_bits": "52"}, ["b", "c"]),
    ],
)
def test_image_properties(properties: dict[str, str], hosts: list[str]) -> None:
    assert passing("ImagePropertiesFilter", MACHINES, request_of(properties=properties)) == hosts


def test_the_architecture_of_images_that_name_none() -> None:
    options = {"image_properties_default_architecture": "aarch64"}
    assert passing("ImagePropertiesFilter", MACHINES, request_of(), **options) == ["b"]
    request = request_of(properties={"hw_architecture": "x86_64"})
    assert passing("ImagePropertiesFilter", MACHINES, request, **options) == ["a", "c"]


QUERIED = [
    Host(name="a", servers=2, capacity=Need(vcpus=64, memory_mb=4096, disk_gb=10)),
    Host(name="b", servers=5, capacity=Need(vcpus=64, memory_mb=8192, disk_gb=10), capabilities={"gpu": {"n": 2}}),
]


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("", ["a", "b"]),
        ("[]", ["a", "b"]),
        ('[">=", "$free_ram_mb", 5000]', ["b"]),
        ('["and", [">=", "$free_ram_mb", 4000], ["<", "$num_instances", 3]]', ["a"]),
        ('["or", [">=", "$free_ram_mb", 5000], ["<", "$num_instances", 3]]', ["a", "b"]),
        ('["not", [">=", "$free_ram_mb", 5000]]', ["a"]),
        ('["and", ["not", ["=", "$host", "a"]], ["=", 1, 1]]', ["b"]),
        ('["in", "$host", "a", "c"]', ["a"]),
        ('["=", "$capabilities.gpu.n", 2]', ["b"]),
        ('["=", "$nothing", 1]', []),
        ('["=", "$host"]', []),
        ('["<", "$host", 3]', []),
        ('[">", "$total_usable_disk_gb", 9]', ["a", "b"]),
        ('["<=", "$vcpus_used", 0]', ["a", "b"]),
        ('["nand", 1, 2]', []),
        ('[["and"], 1]', []),
        ('["=", {"a": 1}, {"a": 1}]', []),
        ('"$host"', []),
        ("not json", []),
        ("[" * 100_000, []),
        ('["or", ' + ", ".join(["1"] * 300) + "]", []),
        ('["not", ' * 20 + "1" + "]" * 20, []),
        ({"=": 1}, []),
    ],
)
def test_queries(query: Any, hosts: list[str]) -> None:
    assert passing("JsonFilter", QUERIED, request_of(hints={"query": query})) == hosts


def test_every_name_makes_a_filter_and_an_unknown_one_is_told() -> None:
    assert list(make_filters(sorted(FILTERS), SchedulerConfig())) == sorted(FILTERS)
    with pytest.raises(Misconfigured, match=r"scheduler\.filters.*NoFilter.*known are .*JsonFilter"):
        make_filters(["NoFilter"], SchedulerConfig())
