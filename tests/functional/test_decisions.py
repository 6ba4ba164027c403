"""Why a server is where it is, as its owner and an administrator are told: over HTTP, on a running cloud of fake hosts."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clouds import Client, Cloud, embedded

HOSTS = ["box-1", "box-2", "box-3"]
NOWHERE = "99999999-9999-4999-8999-999999999999"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with embedded("compute.driver=fake", "compute.fake_hosts=3", "compute.host=box") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def image(cloud: Cloud) -> str:
    with cloud.client() as admin:
        for name, vcpus in (("huge", 100_000), ("wide", 90_000)):
            body = {"flavor": {"id": name, "name": name, "vcpus": vcpus, "ram": 64, "disk": 1}}
            assert admin.http.post("/compute/v2.1/flavors", json=body).status_code == 200
        return admin.upload("empty", b"\0" * 512)


def decisions(client: Client, server: str, query: str = "") -> list[dict[str, Any]]:
    answer = client.http.get(f"/kilonova/v1/servers/{server}/decisions{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["decisions"])


def test_a_success_is_explained(cloud: Cloud, image: str) -> None:
    with cloud.client() as admin:
        server = admin.boot("placed", image)
        host = admin.becomes(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
        [decision] = decisions(admin, server)
    assert (decision["outcome"], decision["action"], decision["host"]) == ("placed", "create", host)
    assert decision["considered"] == 3 and decision["asked"]["memory_mb"] == 512
    assert {ranked["host"] for ranked in decision["ranking"]} == set(HOSTS)
    by_host = {ranked["host"]: ranked for ranked in decision["ranking"]}
    assert by_host[host]["weight"] == max(ranked["weight"] for ranked in decision["ranking"])
    for ranked in by_host.values():
        assert ranked["weight"] == pytest.approx(sum(ranked["parts"].values()), abs=0.001)


def test_a_failure_says_what_would_fit(cloud: Cloud, image: str) -> None:
    with cloud.client() as admin:
        server = admin.boot("failed", image, flavor="huge")
        fault = admin.becomes(server, "ERROR")["fault"]
        [decision] = decisions(admin, server)
    assert decision["outcome"] == "failed" and decision["host"] is None
    assert decision["dropped_by"] == {"CapacityFilter": 3}
    assert {dropped["host"] for dropped in decision["dropped"]} == set(HOSTS)
    assert {near["change"] for near in decision["nearest"]} == {"flavor", "size", "host"}
    assert "would fit." in fault["message"] and "box-" not in fault["message"]
    assert "box-1: CapacityFilter needed 100000 VCPU" in fault["details"]


def test_an_owner_is_told_no_host_and_nothing_it_has(cloud: Cloud, image: str) -> None:
    with cloud.client("demo") as owner, cloud.client() as admin:
        failed, placed = owner.boot("mine", image, flavor="huge"), owner.boot("mine too", image)
        fault = owner.becomes(failed, "ERROR")["fault"]
        owner.becomes(placed, "ACTIVE")
        answers = [owner.http.get(f"/kilonova/v1/servers/{server}/decisions") for server in (failed, placed)]
        [decision], [success] = (answer.json()["decisions"] for answer in answers)
        assert set(decisions(admin, failed)[0]) > set(decision)
    for text in (*(answer.text for answer in answers), str(fault)):
        assert not any(host in text for host in HOSTS)
    assert decision["dropped_by"] == {"CapacityFilter": 3}
    assert all(near.keys() <= {"change", "name", "text", "hosts"} for near in decision["nearest"])
    assert any(near["change"] == "flavor" for near in decision["nearest"])
    assert success.keys().isdisjoint({"host", "ranking", "dropped"}) and success["zone"] == "nova"
    assert "details" not in fault


def test_another_zone_and_a_hint_less_are_named(cloud: Cloud, image: str) -> None:
    with cloud.client() as admin:
        aggregate = admin.http.post("/compute/v2.1/os-aggregates", json={"aggregate": {"name": "a"}}).json()
        path = f"/compute/v2.1/os-aggregates/{aggregate['aggregate']['id']}/action"
        first = admin.boot("first", image)
        host = admin.becomes(first, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
        other = next(name for name in HOSTS if name != host)
        empty = {server["id"] for server in admin.get(f"/servers?all_tenants=1&host={other}")["servers"]}
        admin.delete(*empty)
        assert admin.http.post(path, json={"add_host": {"host": other}}).is_success
        assert admin.http.post(path, json={"set_metadata": {"metadata": {"availability_zone": "az2"}}}).is_success
        body = {
            "server": {"name": "x", "imageRef": image, "flavorRef": "1", "networks": "auto"},
            "os:scheduler_hints": {"same_host": [first]},
        }
        body["server"]["availability_zone"] = "az2"
        made = admin.http.post("/compute/v2.1/servers", json=body)
        server = made.json()["server"]["id"]
        fault = admin.becomes(server, "ERROR")["fault"]
        [decision] = decisions(admin, server)
        assert admin.http.post(path, json={"remove_host": {"host": other}}).is_success
    assert "It would fit in zone nova." in fault["message"]
    assert "It would fit without the hint same_host." in fault["message"]
    by_change = {near["change"]: near for near in decision["nearest"]}
    assert by_change["zone"]["name"] == "nova" and by_change["zone"]["host"] == host
    assert by_change["hint"]["host"] == other


def test_a_host_that_is_switched_off_is_the_nearest(cloud: Cloud, image: str) -> None:
    with cloud.client("demo") as owner, cloud.client() as admin:
        services = [s for s in admin.get("/os-services")["services"] if s["binary"] == "nova-compute"]
        for service in services:
            body = {"status": "disabled", "disabled_reason": "new disks"}
            put = admin.http.put(f"/compute/v2.1/os-services/{service['id']}", json=body)
            assert put.status_code == 200
        server = owner.boot("nobody takes it", image)
        owner.becomes(server, "ERROR")
        told, known = decisions(owner, server)[0], decisions(admin, server)[0]  # a claim may have been lost before
        for service in services:
            admin.http.put(f"/compute/v2.1/os-services/{service['id']}", json={"status": "enabled"})
    assert told["nearest"] == [
        {"change": "host", "hosts": 3, "text": "3 hosts that could take it are out of service now."}
    ]
    assert known["nearest"][0]["have"] == ["disabled: new disks"] and known["nearest"][0]["host"] in HOSTS


def test_moves_are_decisions_too_and_pages_go_back_in_time(cloud: Cloud, image: str) -> None:
    with cloud.client() as admin:
        server = admin.boot("moved", image)
        admin.becomes(server, "ACTIVE")
        admin.act(server, migrate=None)
        host = admin.becomes(server, "VERIFY_RESIZE")["OS-EXT-SRV-ATTR:host"]
        newest, oldest = decisions(admin, server)
        assert (newest["action"], newest["host"], oldest["action"]) == ("migrate", host, "create")
        page = admin.http.get(f"/kilonova/v1/servers/{server}/decisions?limit=1").json()
        assert page["decisions"] == [newest]
        following = admin.http.get(page["decisions_links"][0]["href"]).json()
        assert following["decisions"] == [oldest]
        last = admin.http.get(following["decisions_links"][0]["href"]).json()
        assert last == {"decisions": []}


def test_all_decisions_are_for_administrators(cloud: Cloud, image: str) -> None:
    with cloud.client("demo") as owner, cloud.client() as admin:
        server = owner.boot("failed too", image, flavor="wide")
        owner.becomes(server, "ERROR")
        assert owner.http.get("/kilonova/v1/decisions").status_code == 403
        found = admin.http.get("/kilonova/v1/decisions?outcome=failed").json()["decisions"]
        assert found[0]["server_id"] == server and {one["outcome"] for one in found} == {"failed"}
        there = admin.http.get(f"/kilonova/v1/decisions?host={HOSTS[0]}").json()["decisions"]
        assert {one["host"] for one in there} <= {HOSTS[0]}
        ids = [one["id"] for one in admin.http.get("/kilonova/v1/decisions").json()["decisions"]]
        assert ids == sorted(ids, reverse=True)


def test_strangers_and_bad_questions(cloud: Cloud, image: str) -> None:
    with cloud.client("demo") as owner, cloud.client() as admin:
        not_mine = admin.boot("not mine", image)
        assert owner.http.get(f"/kilonova/v1/servers/{not_mine}/decisions").status_code == 404
        assert owner.http.get(f"/kilonova/v1/servers/{NOWHERE}/decisions").status_code == 404
        for query in ("limit=x", "marker=-1", "marker=" + "9" * 30, "unknown=1"):
            assert admin.http.get(f"/kilonova/v1/servers/{not_mine}/decisions?{query}").status_code == 400, query
        assert admin.http.get("/kilonova/v1/decisions?outcome=perhaps").status_code == 400
        admin.delete(not_mine)
        assert len(decisions(admin, not_mine)) == 1  # deleted, and still explained
