"""``openstack resource provider …`` and its kin, as osc-placement spells them, unmodified."""

from collections.abc import Iterator

import pytest

from tests import clients
from tests.clients import Failed, Shell
from tests.clouds import Cloud

RATIO = "VCPU:allocation_ratio=2.0"


@pytest.fixture(scope="module")
def admin(fake_cloud: Cloud) -> Iterator[Shell]:
    """A shell that speaks the newest version the client knows."""
    with clients.shell(fake_cloud, OS_PLACEMENT_API_VERSION="1.39") as shell:
        yield shell


@pytest.fixture(scope="module")
def provider(admin: Shell) -> str:
    """The UUID of a host."""
    found: str = admin.json("resource", "provider", "list")[0]["uuid"]
    return found


def test_what_a_server_takes(fake_cloud: Cloud, admin: Shell) -> None:
    with fake_cloud.client() as operator, fake_cloud.client("demo") as client:
        image = operator.upload("for-placement", b"\0" * 512)
        server = client.boot("placed", image)
        project = client.becomes(server, "ACTIVE")["tenant_id"]
        (claim,) = admin.json("resource", "provider", "allocation", "show", server)
        assert claim["resources"] == {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
        assert (claim["project_id"], claim["consumer_type"]) == (project, "INSTANCE")
        host = claim["resource_provider"]
        used = {
            row["resource_class"]: row["usage"] for row in admin.json("resource", "provider", "usage", "show", host)
        }
        assert used == {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
        shown = admin.json("resource", "provider", "show", "--allocations", host)
        assert list(shown["allocations"]) == [server]
        assert admin.json("resource", "usage", "show", project)[0]["usage"]
        with pytest.raises(Failed, match="409"):
            admin("resource", "provider", "allocation", "delete", server)
        with pytest.raises(Failed, match="belongs to the servers"):
            admin(
                *("resource", "provider", "allocation", "set", server, "--allocation", f"rp={host},VCPU=9"),
                *("--project-id", project, "--user-id", "u", "--consumer-type", "INSTANCE"),
            )
        client.delete(server)
        assert operator.http.delete(f"/image/v2/images/{image}").status_code == 204
    assert admin.json("resource", "provider", "allocation", "show", server) == []


def test_providers_and_candidates(admin: Shell, provider: str) -> None:
    listed = admin.json("resource", "provider", "list")
    assert len(listed) == 3 and {one["root_provider_uuid"] for one in listed} == {one["uuid"] for one in listed}
    named = admin.json("resource", "provider", "list", "--name", listed[1]["name"], "--resource", "VCPU=1")
    assert [one["uuid"] for one in named] == [listed[1]["uuid"]]
    some = admin.json("allocation", "candidate", "list", "--resource", "VCPU=1", "--limit", "2")
    assert len(some) == 2 and some[0]["allocation"] == "VCPU=1"
    chosen = admin.json(
        *("allocation", "candidate", "list", "--resource", "VCPU=1", "--resource", "MEMORY_MB=64"),
        *("--required", "COMPUTE_NODE", "--forbidden", "COMPUTE_STATUS_DISABLED"),
        *("--group", "1", "--resource", "DISK_GB=1", "--group-policy", "none"),
    )
    assert len(chosen) == 3
    with pytest.raises(Failed, match="409"):
        admin("resource", "provider", "create", "mine")
    with pytest.raises(Failed, match="409"):
        admin("resource", "provider", "delete", provider)


def test_inventories(admin: Shell, provider: str) -> None:
    listed = admin.json("resource", "provider", "inventory", "list", provider)
    assert {one["resource_class"] for one in listed} == {"VCPU", "MEMORY_MB", "DISK_GB"}
    admin("resource", "class", "create", "CUSTOM_LICENSE")
    assert "CUSTOM_LICENSE" in [one["name"] for one in admin.json("resource", "class", "list")]
    inventory = ("resource", "provider", "inventory")
    changed = admin.json(
        *inventory, "set", provider, "--amend", "--resource", "CUSTOM_LICENSE=10", "--resource", RATIO
    )
    rows = {one["resource_class"]: one for one in changed}
    assert (rows["CUSTOM_LICENSE"]["total"], rows["VCPU"]["allocation_ratio"]) == (10, 2.0)
    with pytest.raises(Failed, match="cannot be taken away"):
        admin(*inventory, "set", provider, "--resource", "CUSTOM_LICENSE=10")
    total = str(rows["VCPU"]["total"])
    admin(*inventory, "class", "set", provider, "VCPU", "--total", total, "--allocation_ratio", "4.0")
    assert admin.json(*inventory, "show", provider, "VCPU")["allocation_ratio"] == 4.0
    admin(*inventory, "delete", provider, "--resource-class", "CUSTOM_LICENSE")
    admin("resource", "class", "delete", "CUSTOM_LICENSE")
    with pytest.raises(Failed, match="404"):
        admin("resource", "class", "show", "CUSTOM_LICENSE")


def test_traits_and_aggregates(admin: Shell, provider: str) -> None:
    assert {"name": "HW_CPU_X86_AVX2"} in admin.json("trait", "list")
    admin("trait", "create", "CUSTOM_FAST")
    traits = ("resource", "provider", "trait")
    assert {"name": "CUSTOM_FAST"} in admin.json(*traits, "set", provider, "--trait", "CUSTOM_FAST")
    assert {"name": "COMPUTE_NODE"} in admin.json(*traits, "list", provider)
    found = admin.json("resource", "provider", "list", "--required", "CUSTOM_FAST,HW_CPU_X86_AVX2")
    assert [one["uuid"] for one in found] == [provider]
    admin(*traits, "delete", provider)
    admin("trait", "delete", "CUSTOM_FAST")
    host = admin.json("resource", "provider", "show", provider)["name"]
    admin("aggregate", "create", "placed")
    admin("aggregate", "add", "host", "placed", host)
    (aggregate,) = admin.json("resource", "provider", "aggregate", "list", provider)
    found = admin.json("resource", "provider", "list", "--member-of", aggregate["uuid"])
    assert [one["uuid"] for one in found] == [provider]
    admin("aggregate", "remove", "host", "placed", host)
    admin("aggregate", "delete", "placed")
    assert admin.json("resource", "provider", "aggregate", "list", provider) == []


def test_the_version_is_negotiated(fake_cloud: Cloud) -> None:
    """Without an option the client asks the service which versions it speaks."""
    listed = clients.run(fake_cloud, "openstack", "resource", "provider", "list", "-f", "value", "-c", "name")
    assert len(listed.split()) == 3


def test_others_than_operators_see_their_own_usage(fake_cloud: Cloud) -> None:
    with clients.shell(fake_cloud, "demo", OS_PLACEMENT_API_VERSION="1.37") as demo:
        with pytest.raises(Failed, match="403"):
            demo("resource", "provider", "list")
        with fake_cloud.client("demo") as client:
            project = client.http.get("/identity/v3/auth/projects").json()["projects"][0]["id"]
        assert demo.json("resource", "usage", "show", project) == []
