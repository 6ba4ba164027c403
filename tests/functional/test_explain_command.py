"""``kilonova explain`` and ``kilonova what-if`` as owners and administrators call them, and the API behind what-if."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clouds import BIN, PASSWORD, Client, Cloud, embedded

HOSTS = ["box-1", "box-2", "box-3"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with embedded("compute.driver=fake", "compute.fake_hosts=3", "compute.host=box") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def image(cloud: Cloud) -> str:
    with cloud.client() as admin:
        body = {"flavor": {"id": "huge", "name": "huge", "vcpus": 100_000, "ram": 64, "disk": 1}}
        assert admin.http.post("/compute/v2.1/flavors", json=body).status_code == 200
        return admin.upload("empty", b"\0" * 512)


@pytest.fixture(scope="module")
def servers(cloud: Cloud, image: str) -> dict[str, str]:
    """The project demo's: one that runs, one that fits nowhere, and one that was deleted."""
    with cloud.client("demo") as owner:
        ids = {
            "web": owner.boot("web", image),
            "huge": owner.boot("huge", image, flavor="huge"),
            "gone": owner.boot("gone", image),
        }
        owner.becomes(ids["web"], "ACTIVE")
        owner.becomes(ids["huge"], "ERROR")
        owner.becomes(ids["gone"], "ACTIVE")
        owner.delete(ids["gone"])
    return ids


def kilonova(cloud: Cloud, *arguments: str, who: str = "admin") -> subprocess.CompletedProcess[str]:
    credentials = {
        "OS_AUTH_URL": f"{cloud.url}/identity/v3",
        "OS_USERNAME": who,
        "OS_PASSWORD": PASSWORD,
        "OS_PROJECT_NAME": who,
    }
    return subprocess.run(
        [str(BIN / "kilonova"), *arguments],
        env={**os.environ, **credentials},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ok(cloud: Cloud, *arguments: str, who: str = "admin", code: int = 0) -> str:
    said = kilonova(cloud, *arguments, who=who)
    assert said.returncode == code, said.stderr + said.stdout
    return said.stdout


def ask(client: Client, **question: Any) -> dict[str, Any]:
    answer = client.http.post("/kilonova/v1/what-if", json={"what_if": question})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["what_if"])


# --- explain -------------------------------------------------------------------------------------------------


def test_an_administrator_is_shown_all_of_it(cloud: Cloud, servers: dict[str, str]) -> None:
    said = ok(cloud, "explain", "web")
    assert "asked for      m1.tiny (1 core, 512 MiB memory, 1 GiB disk)" in said
    assert "considered     3 hosts, none of them dropped" in said
    assert all(host in said for host in HOSTS) and "weight" in said and "in zone nova" in said
    said = ok(cloud, "explain", servers["huge"])
    assert "huge: create" in said and "no host could take it" in said
    assert "3 hosts; CapacityFilter dropped 3" in said
    assert "100000 VCPU" in said and "VCPU free" in said and "The flavor" in said


def test_an_owner_is_shown_what_to_ask_for_instead(cloud: Cloud, servers: dict[str, str]) -> None:
    said = ok(cloud, "explain", "huge", who="demo")
    assert "CapacityFilter dropped 3" in said and "would fit." in said
    for text in (said, ok(cloud, "explain", "web", "--json", who="demo"), ok(cloud, "explain", "web", who="demo")):
        assert not any(host in text for host in HOSTS)
    told = json.loads(ok(cloud, "explain", servers["web"], "--json", who="demo"))
    assert told["server"] == {"id": servers["web"], "name": "web"}
    assert [one["outcome"] for one in told["decisions"]] == ["placed"]


def test_earlier_decisions_and_deleted_servers(cloud: Cloud, servers: dict[str, str]) -> None:
    with cloud.client() as admin:
        admin.act(servers["web"], migrate=None)
        admin.becomes(servers["web"], "VERIFY_RESIZE")
        admin.act(servers["web"], confirmResize=None)
        admin.becomes(servers["web"], "ACTIVE")
    [newest] = json.loads(ok(cloud, "explain", "web", "--json"))["decisions"]
    both = json.loads(ok(cloud, "explain", "web", "--all", "--json"))["decisions"]
    assert newest["action"] == "migrate" and [one["action"] for one in both] == ["migrate", "create"]
    assert "create" in ok(cloud, "explain", "web", "--all")
    assert "gone" not in ok(cloud, "explain", servers["gone"]) and "placed" in ok(cloud, "explain", servers["gone"])


def test_servers_that_nobody_knows(cloud: Cloud, servers: dict[str, str], image: str) -> None:
    said = kilonova(cloud, "explain", "nobody")
    assert said.returncode == 1 and said.stderr.startswith("kilonova: no server is called nobody")
    with cloud.client() as admin:
        mine = admin.boot("of-the-admin", image)
        admin.becomes(mine, "ACTIVE")
    assert kilonova(cloud, "explain", mine, who="demo").returncode == 1
    assert kilonova(cloud, "explain", "of-the-admin", who="demo").returncode == 1


# --- what-if -------------------------------------------------------------------------------------------------


def test_how_many_fit_and_what_stops_the_next_one(cloud: Cloud, servers: dict[str, str]) -> None:
    with cloud.client() as admin:
        told = ask(admin, flavor="m1.xlarge", count=1000)
        assert ask(admin, flavor="m1.xlarge", count=1000)["servers"]["fits"] == told["servers"]["fits"]
        more = ask(admin, flavor="m1.xlarge", count=1000, add_hosts={"count": 2, "like": "box-1"})
        fewer = ask(admin, flavor="m1.xlarge", count=1000, without_hosts=["box-1", "box-2"])
    fits = told["servers"]["fits"]
    assert 0 < fits < 1000 and told["hosts"] == 3
    assert sum(place["servers"] for place in told["servers"]["placements"]) == fits
    assert told["servers"]["stopped_by"]["dropped_by"] == {"CapacityFilter": 3}
    assert any(near["change"] == "flavor" for near in told["servers"]["stopped_by"]["nearest"])
    assert more["new_hosts"] == ["box-1+1", "box-1+2"] and more["hosts"] == 5 and more["servers"]["fits"] > fits
    assert fewer["hosts"] == 1 and {place["host"] for place in fewer["servers"]["placements"]} == {"box-3"}
    said = ok(cloud, "what-if", "--flavor", "m1.xlarge", "--count", "1000", "--image", "empty", code=1)
    assert f"1000 × m1.xlarge: {fits} fit, on 3 hosts" in said and f"What stops number {fits + 1}" in said
    said = ok(cloud, "what-if", "--flavor", "huge", "--add-hosts", "1", "--like", "box-1", "--size", "100000,9999,99")
    assert "1 × huge: all fit, on 1 host" in said and "box-1+1" in said


def test_whether_a_host_can_be_drained(cloud: Cloud, servers: dict[str, str], image: str) -> None:
    with cloud.client() as admin:
        moving = admin.boot("moving", image)
        host = admin.becomes(moving, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
        [told] = ask(admin, drain=[host])["drain"]
        mine = next(one for one in told["servers"] if one["id"] == moving)
        assert told["can_be_drained"] and mine["fits"] and mine["host"] in set(HOSTS) - {host}
        every = ask(admin, drain=HOSTS)["drain"]
        stuck = next(one for told in every for one in told["servers"] if one["id"] == moving)
        assert not stuck["fits"] and stuck["stopped_by"]["dropped_by"] == {"ComputeFilter": 3}
        admin.act(moving, migrate=None)
        admin.becomes(moving, "VERIFY_RESIZE")
        [told] = ask(admin, drain=[host])["drain"]
        assert not told["can_be_drained"] and moving in [one["id"] for one in told["held_by_moves"]]
        said = ok(cloud, "what-if", "--drain", host, code=1)
        assert f"{host} cannot be drained now" in said and "its move must be confirmed or reverted first" in said
        admin.act(moving, confirmResize=None)
        admin.becomes(moving, "ACTIVE")
        assert f"{host} can be drained" in ok(cloud, "what-if", "--drain", host)
        assert json.loads(ok(cloud, "what-if", "--drain", host, "--json"))["drain"][0]["can_be_drained"]


def test_zones_and_hints_count(cloud: Cloud, servers: dict[str, str]) -> None:
    with cloud.client() as admin:
        assert ask(admin, flavor="1", availability_zone="elsewhere")["servers"]["fits"] == 0
        project = admin.server(servers["web"])["tenant_id"]
        host = admin.server(servers["web"])["OS-EXT-SRV-ATTR:host"]
        beside = ask(admin, flavor="1", count=3, hints={"same_host": [servers["web"]]}, project_id=project)
        assert beside["servers"]["placements"] == [{"host": host, "zone": "nova", "servers": 3}]
    said = ok(cloud, "what-if", "--flavor", "1", "--zone", "elsewhere", "--hint", "same_host=x", code=1)
    assert "none fits" in said and "It would fit outside zone elsewhere and without the hint same_host." in said


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"count": 3},
        {"flavor": "nothing like it"},
        {"flavor": "1", "count": 0},
        {"flavor": "1", "count": 10_001},
        {"flavor": "1", "count": "3"},
        {"flavor": "1", "image": "not an id"},
        {"flavor": "1", "image": "99999999-9999-4999-8999-999999999999"},
        {"flavor": "1", "unknown": 1},
        {"flavor": "1", "add_hosts": {}},
        {"flavor": "1", "add_hosts": {"count": 1, "like": "box-9"}},
        {"flavor": "1", "add_hosts": {"count": 1, "vcpus": -1}},
        {"flavor": "1", "hints": {"a\x00b": "c"}},
        {"flavor": "1", "hints": {"group": "99999999-9999-4999-8999-999999999999\x00"}},
        {"flavor": "1", "without_hosts": ["box-9"]},
        {"drain": []},
        {"drain": ["box-9"]},
        {"drain": ["box-1"], "without_hosts": ["box-1"]},
    ],
    ids=str,
)
def test_questions_that_make_no_sense(cloud: Cloud, question: dict[str, Any]) -> None:
    with cloud.client() as admin:
        answer = admin.http.post("/kilonova/v1/what-if", json={"what_if": question})
        assert answer.status_code == 400, answer.text
        assert answer.json()["badRequest"]["message"]


def test_what_if_is_for_administrators(cloud: Cloud) -> None:
    with cloud.client("demo") as owner:
        assert owner.http.post("/kilonova/v1/what-if", json={"what_if": {"flavor": "1"}}).status_code == 403
        assert owner.http.get("/kilonova/v1/what-if").status_code == 405
    said = kilonova(cloud, "what-if", "--drain", "box-1", who="demo")
    assert said.returncode == 1 and "kilonova:what_if" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name a --flavor"),
        (("--flavor", "1", "--like", "box-1"), "--add-hosts"),
        (("--flavor", "1", "--hint", "nothing"), "key=value"),
        (("--flavor", "1", "--add-hosts", "1", "--size", "1,2"), "CORES,MIB,GIB"),
    ],
)
def test_commands_that_make_no_sense(cloud: Cloud, arguments: tuple[str, ...], why: str) -> None:
    said = kilonova(cloud, "what-if", *arguments)
    assert said.returncode == 78 and why in said.stderr and said.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["explain", "what-if"])
def test_help_has_an_example(cloud: Cloud, command: str) -> None:
    assert f"Example: kilonova {command}" in ok(cloud, command, "--help")
