"""Version documents, extensions and flavors over HTTP, across the microversions that changed them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kilonova.database.flavors import find_flavor, seed_flavors
from tests.functional.compute_api import NOW, Api, compute_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(seed_flavors, NOW)
        yield found


def new(**values: Any) -> dict[str, Any]:
    return {"flavor": {"name": "big", "id": "b1", "ram": 2048, "vcpus": 2, "disk": 10, **values}}


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/", "/v2.1", "/v2.1/", "/v2.1/versions/v2.1"])
async def test_version_documents_need_no_token(api: Api, path: str) -> None:
    answer = await api(None, f"GET {path}", raw=True)
    assert answer.status_code == 200
    body = answer.json()
    document = body["version"] if "version" in body else body["versions"][1]
    assert document["links"][0]["href"].startswith("http://cloud/v2")
    if "v2.1" in path or path == "/":
        assert (document["version"], document["min_version"], document["status"]) == ("2.104", "2.1", "CURRENT")


async def test_everything_else_needs_one(api: Api) -> None:
    assert (await api(None, "GET /flavors")).status_code == 401
    assert (await api("stranger", "GET /flavors")).status_code == 401


async def test_extensions(api: Api) -> None:
    listed = (await api("nobody", "GET /extensions")).json()["extensions"]
    assert {"os-keypairs", "os-flavor-access"} <= {entry["alias"] for entry in listed}
    assert (await api("nobody", "GET /extensions/os-keypairs")).json()["extension"]["name"] == "Keypairs"
    assert (await api("nobody", "GET /extensions/os-nothing")).status_code == 404
    assert (await api("nobody", "GET /extensions?x=1", 101)).status_code == 200
    assert (await api("nobody", "GET /extensions?x=1", 102)).status_code == 400


async def test_seed_is_idempotent_and_only_for_an_empty_table(api: Api) -> None:
    assert not await api.database.run(seed_flavors, NOW)
    assert len((await api("reader", "GET /flavors")).json()["flavors"]) == 12
    tiny = await api.database.run(find_flavor, "1", "p-one", False)
    assert tiny is not None
    assert (tiny.name, tiny.memory_mb) == ("m1.tiny", 512)


@pytest.mark.parametrize(
    ("version", "has", "lacks", "swap"),
    [
        (1, {"rxtx_factor", "OS-FLV-DISABLED:disabled"}, {"description", "extra_specs"}, ""),
        (54, {"rxtx_factor"}, {"description"}, ""),
        (55, {"description"}, {"extra_specs"}, ""),
        (61, {"description", "extra_specs"}, set(), ""),
        (75, {"extra_specs", "rxtx_factor"}, set(), 0),
        (102, {"extra_specs"}, {"rxtx_factor", "OS-FLV-DISABLED:disabled"}, 0),
    ],
)
async def test_views_by_version(api: Api, version: int, has: set[str], lacks: set[str], swap: object) -> None:
    for call in ("GET /flavors/1", "GET /flavors/detail"):
        body = (await api("reader", call, version)).json()
        view = body["flavor"] if "flavor" in body else body["flavors"][0]
        assert has <= set(view)
        assert not lacks & set(view)
        assert view["swap"] == swap
        assert [link["rel"] for link in view["links"]] == ["self", "bookmark"]
    short = (await api("reader", "GET /flavors", version)).json()["flavors"][0]
    assert ("description" in short) == (version >= 55)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("minRam=8192", ["4", "5"]),
        ("minDisk=80", ["4", "5"]),
        ("limit=2", ["1", "2"]),
        ("limit=2&marker=2", ["3", "4"]),
        ("limit=0", []),
        ("minDisk=160&limit=" + "9" * 5000, ["5"]),
        ("sort_key=memory_mb&sort_dir=desc&limit=2", ["5", "4"]),
        ("sort_key=memory_mb&sort_dir=desc&limit=1&marker=5", ["4"]),
        ("sort_key=root_gb&sort_dir=desc&limit=1", ["5"]),
        ("sort_key=description&limit=2&marker=42", ["84", "c1"]),
        ("sort_key=description&sort_dir=desc&limit=2&marker=c1", ["84", "42"]),
        ("is_public=false", []),
    ],
)
async def test_filters_and_pages(api: Api, query: str, ids: list[str]) -> None:
    answer = await api("admin", f"GET /flavors?{query}")
    assert [flavor["id"] for flavor in answer.json()["flavors"]] == ids


async def test_next_link_leads_through_all(api: Api) -> None:
    seen: list[str] = []
    path = "/v2.1/flavors/detail?limit=5"
    while path:
        body = (await api("reader", f"GET {path}", raw=True)).json()
        seen += [flavor["id"] for flavor in body["flavors"]]
        path = body["flavors_links"][0]["href"].removeprefix("http://cloud") if "flavors_links" in body else ""
    assert len(seen) == len(set(seen)) == 12


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("limit=x", 1),
        ("limit=-1", 1),
        ("marker=nosuch", 1),
        ("minRam=x", 1),
        ("minDisk=x", 1),
        ("is_public=perhaps", 1),
        ("sort_key=secret", 1),
        ("sort_dir=up", 1),
        ("unknown=1", 75),
        ("name=a", 101),
        ("name=(", 102),
        ("sort_key=rxtx_factor", 102),
    ],
)
async def test_bad_queries(api: Api, query: str, version: int) -> None:
    assert (await api("admin", f"GET /flavors?{query}", version)).status_code == 400


async def test_lenient_queries_before_and_names_after(api: Api) -> None:
    assert (await api("admin", "GET /flavors?unknown=1", 74)).status_code == 200
    answer = await api("reader", "GET /flavors?name=ds", 102)
    assert {flavor["name"] for flavor in answer.json()["flavors"]} == {"ds512M", "ds1G", "ds2G", "ds4G"}
    assert (await api("reader", "GET /flavors/1?x=1", 101)).status_code == 200
    assert (await api("reader", "GET /flavors/1?x=1", 102)).status_code == 400


async def test_create_show_delete(api: Api) -> None:
    answer = await api("admin", "POST /flavors", 55, new(ram="4096", swap="64", description="large"))
    assert answer.status_code == 200
    made = answer.json()["flavor"]
    assert (made["ram"], made["swap"], made["description"]) == (4096, 64, "large")
    assert (await api("reader", "GET /flavors/b1")).json()["flavor"]["name"] == "big"
    assert (await api("admin", "DELETE /flavors/b1")).status_code == 202
    assert (await api("reader", "GET /flavors/b1")).status_code == 404
    assert (await api("admin", "DELETE /flavors/b1")).status_code == 404


@pytest.mark.parametrize("flavor_id", [None, "auto"])
async def test_create_makes_an_id(api: Api, flavor_id: str | None) -> None:
    made = (await api("admin", "POST /flavors", body=new(id=flavor_id))).json()["flavor"]
    assert len(made["id"]) == 36


@pytest.mark.parametrize(
    ("values", "version"),
    [
        ({"name": ""}, 1),
        ({"name": " big"}, 1),
        ({"name": "x" * 256}, 1),
        ({"name": 5}, 1),
        ({"id": "a/b"}, 1),
        ({"id": " a"}, 1),
        ({"ram": 0}, 1),
        ({"ram": "0"}, 1),
        ({"ram": -1}, 1),
        ({"ram": "x"}, 1),
        ({"ram": 2**31}, 1),
        ({"ram": str(2**31)}, 1),
        ({"vcpus": 0}, 1),
        ({"vcpus": None}, 1),
        ({"disk": 1.5}, 1),
        ({"swap": -1}, 1),
        ({"rxtx_factor": 0}, 1),
        ({"rxtx_factor": "x"}, 1),
        ({"os-flavor-access:is_public": "perhaps"}, 1),
        ({"description": "early"}, 54),
        ({"description": "a\x00b"}, 55),
        ({"rxtx_factor": 1.0}, 102),
        ({"surprise": 1}, 1),
    ],
)
async def test_bad_input_creates_nothing(api: Api, values: dict[str, Any], version: int) -> None:
    assert (await api("admin", "POST /flavors", version, new(**values))).status_code == 400
    assert len((await api("admin", "GET /flavors?is_public=none")).json()["flavors"]) == 12


@pytest.mark.parametrize("body", [None, [], {}, {"flavor": {}}, {"flavor": {"name": "x"}}, {"flavor": []}])
async def test_bodies_that_are_no_flavor(api: Api, body: Any) -> None:
    assert (await api("admin", "POST /flavors", body=body)).status_code == 400


@pytest.mark.parametrize("values", [{"id": "1"}, {"name": "m1.tiny"}])
async def test_taken_ids_and_names(api: Api, values: dict[str, Any]) -> None:
    assert (await api("admin", "POST /flavors", body=new(**values))).status_code == 409


async def test_description_is_all_that_changes(api: Api) -> None:
    change = {"flavor": {"description": "small"}}
    assert (await api("admin", "PUT /flavors/1", 54, change)).status_code == 404
    answer = await api("admin", "PUT /flavors/1", 55, change)
    assert (answer.status_code, answer.json()["flavor"]["description"]) == (200, "small")
    assert (await api("admin", "PUT /flavors/1", 55, {"flavor": {"description": "x", "ram": 1}})).status_code == 400
    assert (await api("admin", "PUT /flavors/none", 55, change)).status_code == 404


async def test_only_administrators_manage(api: Api) -> None:
    specs = {"extra_specs": {"a": "b"}}
    calls: list[tuple[str, Any]] = [
        ("POST /flavors", new()),
        ("PUT /flavors/1", {"flavor": {"description": "x"}}),
        ("DELETE /flavors/1", None),
        ("POST /flavors/1/action", {"addTenantAccess": {"tenant": "p-one"}}),
        ("POST /flavors/1/action", {"removeTenantAccess": {"tenant": "p-one"}}),
        ("GET /flavors/1/os-flavor-access", None),
        ("POST /flavors/1/os-extra_specs", specs),
        ("PUT /flavors/1/os-extra_specs/a", {"a": "b"}),
        ("DELETE /flavors/1/os-extra_specs/a", None),
    ]
    for call, body in calls:
        assert (await api("member", call, 60, body)).status_code == 403, call
    assert (await api("nobody", "GET /flavors")).status_code == 200
    assert (await api("nobody", "GET /flavors/detail")).status_code == 403


async def test_private_flavors_and_access(api: Api) -> None:
    await api("admin", "POST /flavors", body=new(**{"os-flavor-access:is_public": False}))
    assert (await api("member", "GET /flavors/b1")).status_code == 404
    assert (await api("admin", "GET /flavors/b1/os-flavor-access")).json() == {"flavor_access": []}
    add, remove = ({f"{verb}TenantAccess": {"tenant": "p-one"}} for verb in ("add", "remove"))
    given = await api("admin", "POST /flavors/b1/action", body=add)
    assert given.json() == {"flavor_access": [{"flavor_id": "b1", "tenant_id": "p-one"}]}
    assert (await api("admin", "POST /flavors/b1/action", body=add)).status_code == 409
    assert (await api("member", "GET /flavors/b1")).status_code == 200
    assert (await api("other", "GET /flavors/b1")).status_code == 404
    assert "b1" in {f["id"] for f in (await api("member", "GET /flavors")).json()["flavors"]}
    assert "b1" not in {f["id"] for f in (await api("other", "GET /flavors?is_public=none")).json()["flavors"]}
    assert [f["id"] for f in (await api("admin", "GET /flavors?is_public=no")).json()["flavors"]] == ["b1"]
    assert (await api("admin", "POST /flavors/b1/action", body=remove)).json() == {"flavor_access": []}
    assert (await api("admin", "POST /flavors/b1/action", body=remove)).status_code == 404
    assert (await api("member", "GET /flavors/b1")).status_code == 404


async def test_public_flavors_have_no_access_list(api: Api) -> None:
    body = {"addTenantAccess": {"tenant": "p-one"}}
    assert (await api("admin", "GET /flavors/1/os-flavor-access")).status_code == 404
    assert (await api("admin", "POST /flavors/1/action", 7, body)).status_code == 409
    assert (await api("admin", "POST /flavors/1/action", 6, body)).status_code == 200
    assert (await api("admin", "POST /flavors/none/action", 1, body)).status_code == 404


@pytest.mark.parametrize(
    "body",
    [None, {}, {"addTenantAccess": None}, {"addTenantAccess": {"tenant": ""}}, {"nothing": {}}, {"a": 1, "b": 2}],
)
async def test_bad_flavor_actions(api: Api, body: Any) -> None:
    assert (await api("admin", "POST /flavors/1/action", body=body)).status_code == 400


async def test_extra_specs(api: Api) -> None:
    path = "/flavors/1/os-extra_specs"
    made = await api("admin", f"POST {path}", body={"extra_specs": {"hw:cpu_policy": "shared", "n": 5}})
    assert made.json() == {"extra_specs": {"hw:cpu_policy": "shared", "n": 5}}
    assert (await api("reader", f"GET {path}")).json() == {"extra_specs": {"hw:cpu_policy": "shared", "n": "5"}}
    assert (await api("admin", f"PUT {path}/n", body={"n": "6"})).json() == {"n": "6"}
    assert (await api("reader", f"GET {path}/n")).json() == {"n": "6"}
    assert (await api("admin", f"PUT {path}/n", body={"m": "6"})).status_code == 400
    assert (await api("admin", f"PUT {path}/n", body={"n": "6", "m": "6"})).status_code == 400
    assert (await api("admin", f"DELETE {path}/n")).status_code == 200
    assert (await api("admin", f"DELETE {path}/n")).status_code == 404
    assert (await api("reader", f"GET {path}/n")).status_code == 404
    assert (await api("reader", "GET /flavors/none/os-extra_specs")).status_code == 404


@pytest.mark.parametrize(
    ("specs", "good_until"),
    [
        ({"hw:cpu_policy": "sometimes"}, 85),
        ({"hw:unheard_of": "1"}, 85),
        ({"hw:numa_nodes": "0"}, 85),
        ({"trait:HW_X": "maybe"}, 85),
        ({"my:own": "anything"}, 104),
        ({"hw:numa_nodes": "2", "resources:VCPU": "1", "hw:numa_cpus.0": "0-1,^1"}, 104),
        ({"k/ey": "v"}, 0),
        ({"key": None}, 0),
        ({"key": "v" * 256}, 0),
    ],
)
async def test_extra_specs_are_checked(api: Api, specs: dict[str, Any], good_until: int) -> None:
    for version in (1, 85, 86, 104):
        answer = await api("admin", "POST /flavors/1/os-extra_specs", version, {"extra_specs": specs})
        assert answer.status_code == (200 if version <= good_until else 400), version
        if version > good_until == 0:
            assert (await api("admin", "GET /flavors/1/os-extra_specs")).json() == {"extra_specs": {}}
