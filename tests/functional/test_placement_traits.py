"""Traits and resource classes: standard names, an operator's own, and which hosts have them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import membership
from kilonova.database.traits import traits_of_hosts
from tests.functional.placement_api import LATEST, Api, placement_api, uuid

ONE = f"/resource_providers/{uuid(1)}"
IMPLIED = {"COMPUTE_NODE", "HW_ARCH_X86_64", "COMPUTE_ARCH_X86_64", "COMPUTE_IMAGE_TYPE_QCOW2"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with placement_api(tmp_path) as opened:
        yield opened


async def test_standard_traits_and_ones_own(api: Api) -> None:
    assert "HW_CPU_X86_AVX2" in (await api.ok("GET /traits"))["traits"]
    assert (await api("PUT /traits/CUSTOM_FAST")).status_code == 201
    again = await api("PUT /traits/CUSTOM_FAST")
    assert (again.status_code, again.headers["location"]) == (204, "/placement/traits/CUSTOM_FAST")
    assert (await api("GET /traits/CUSTOM_FAST")).status_code == 204
    assert (await api("GET /traits/COMPUTE_NODE")).status_code == 204
    await api.refused(404, "GET /traits/CUSTOM_SLOW")
    assert await api.ok("GET /traits?name=in:CUSTOM_FAST,COMPUTE_NODE,NOTHING") == {
        "traits": ["COMPUTE_NODE", "CUSTOM_FAST"]
    }
    assert await api.ok("GET /traits?name=startswith:CUSTOM_") == {"traits": ["CUSTOM_FAST"]}
    assert set((await api.ok("GET /traits?associated=true"))["traits"]) >= IMPLIED
    assert "CUSTOM_FAST" in (await api.ok("GET /traits?associated=False&name=startswith:CUSTOM"))["traits"]
    await api.ok("DELETE /traits/CUSTOM_FAST")
    await api.refused(404, "DELETE /traits/CUSTOM_FAST")
    await api.refused(404, "GET /traits", 5)


@pytest.mark.parametrize(
    "name", ["FAST", "CUSTOM_", "CUSTOM_fast", "CUSTOM_A-B", "CUSTOM_" + "X" * 249, "COMPUTE_NODE"]
)
async def test_names_that_cannot_be(api: Api, name: str) -> None:
    await api.refused(400, f"PUT /traits/{name}")
    await api.refused(400, f"PUT /resource_classes/{name}")
    await api.refused(400, "POST /resource_classes", body={"name": name})


async def test_a_standard_name_stays(api: Api) -> None:
    await api.refused(400, "DELETE /traits/COMPUTE_NODE")
    await api.refused(400, "DELETE /resource_classes/VCPU")
    await api.refused(400, "PUT /resource_classes/VCPU", 2, {"name": "CUSTOM_CPU"})
    await api.refused(400, "GET /traits?name=COMPUTE_NODE")
    await api.refused(400, "GET /traits?associated=perhaps")


async def test_traits_of_a_host(api: Api) -> None:
    shown = await api.ok(f"GET {ONE}/traits")
    assert set(shown["traits"]) >= IMPLIED and shown["resource_provider_generation"] == 0
    await api.ok("PUT /traits/CUSTOM_FAST")
    body = {"traits": ["CUSTOM_FAST", "HW_CPU_X86_AVX2"], "resource_provider_generation": 0}
    changed = await api.ok(f"PUT {ONE}/traits", body=body)
    assert set(changed["traits"]) == set(shown["traits"]) | {"CUSTOM_FAST", "HW_CPU_X86_AVX2"}
    assert "concurrent" in await api.refused(409, f"PUT {ONE}/traits", body=body)
    await api.refused(400, f"PUT {ONE}/traits", body={"traits": ["CUSTOM_SLOW"], "resource_provider_generation": 1})
    await api.refused(409, "DELETE /traits/CUSTOM_FAST")
    listed = (await api.ok("GET /resource_providers?required=CUSTOM_FAST,!CUSTOM_FAST"))["resource_providers"]
    assert listed == []
    listed = (await api.ok("GET /resource_providers?required=CUSTOM_FAST"))["resource_providers"]
    assert [one["name"] for one in listed] == ["one"]
    of_hosts = await api.database.run(traits_of_hosts)
    assert of_hosts["one"] - of_hosts["two"] == {"CUSTOM_FAST", "HW_CPU_X86_AVX2"}
    await api.ok(f"DELETE {ONE}/traits")
    assert (await api.ok(f"GET {ONE}/traits"))["traits"] == shown["traits"]
    assert await api.generation(1) == 2


async def test_what_a_host_implies_is_not_kept_by_writing_it(api: Api) -> None:
    """A client that reads, adds and writes back does not make the driver's traits the operator's."""
    shown = await api.ok(f"GET {ONE}/traits")
    await api.ok(f"PUT {ONE}/traits", body=shown)

    def moved_to_arm(connection: Connection) -> None:
        host = membership.find_host(connection, "one")
        assert host is not None
        values = {"hypervisor_type": "QEMU", "hypervisor_version": 1, "capabilities": {"architecture": "aarch64"}}
        values |= {"address": host.address, "availability_zone": "nova", "free_disk_gb": 1}
        values |= {name: getattr(host, name) for name in ("vcpus", "memory_mb", "disk_gb")}
        values |= {f"{name}_capacity": 1 for name in ("vcpus", "memory_mb", "disk_gb")}
        membership.describe_host(connection, "one", uuid=uuid(1), now=2, values=values)

    await api.database.run(moved_to_arm)
    traits = set((await api.ok(f"GET {ONE}/traits"))["traits"])
    assert "HW_ARCH_AARCH64" in traits and "HW_ARCH_X86_64" not in traits


async def test_a_disabled_host_says_so(api: Api) -> None:
    await api.database.run(lambda connection: membership.update_service(connection, 1, disabled=True))
    assert "COMPUTE_STATUS_DISABLED" in (await api.ok(f"GET {ONE}/traits"))["traits"]
    listed = (await api.ok("GET /resource_providers?required=!COMPUTE_STATUS_DISABLED"))["resource_providers"]
    assert [one["name"] for one in listed] == ["two"]


async def test_resource_classes(api: Api) -> None:
    names = [one["name"] for one in (await api.ok("GET /resource_classes"))["resource_classes"]]
    assert names[:3] == ["VCPU", "MEMORY_MB", "DISK_GB"]
    assert (await api("POST /resource_classes", 2, {"name": "CUSTOM_A"})).status_code == 201
    await api.refused(409, "POST /resource_classes", 2, {"name": "CUSTOM_A"})
    assert (await api("PUT /resource_classes/CUSTOM_A", 7)).status_code == 204
    assert (await api("PUT /resource_classes/CUSTOM_B", 7)).status_code == 201
    shown = await api.ok("GET /resource_classes/CUSTOM_A")
    assert shown == {"name": "CUSTOM_A", "links": [{"rel": "self", "href": "/placement/resource_classes/CUSTOM_A"}]}
    await api.refused(404, "GET /resource_classes/CUSTOM_C")
    await api.refused(404, "DELETE /resource_classes/CUSTOM_C")
    await api.refused(404, "GET /resource_classes", 1)


async def test_a_class_is_renamed_with_all_there_is_of_it(api: Api) -> None:
    await api.ok("PUT /resource_classes/CUSTOM_A")
    await api.ok("PUT /resource_classes/CUSTOM_B")
    await api(f"POST {ONE}/inventories", LATEST, {"resource_class": "CUSTOM_A", "total": 3})
    await api.refused(409, "PUT /resource_classes/CUSTOM_A", 6, {"name": "CUSTOM_B"})
    await api.refused(404, "PUT /resource_classes/CUSTOM_X", 6, {"name": "CUSTOM_Y"})
    assert (await api.ok("PUT /resource_classes/CUSTOM_A", 6, {"name": "CUSTOM_C"}))["name"] == "CUSTOM_C"
    assert (await api.ok(f"GET {ONE}/inventories/CUSTOM_C"))["total"] == 3
