"""The operations API and the metrics, as an operator's tools ask for them."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.clouds import Cloud, embedded


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with embedded("compute.driver=fake") as cloud:
        yield cloud


def numbers(page: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(kilonova\S+) (\S+)$", page, re.MULTILINE)}


def test_findings_actions_and_metrics_of_a_sound_cloud(cloud: Cloud) -> None:
    with cloud.client() as client:
        server = client.boot("one", client.upload("empty", b"\0" * 512))
        client.becomes(server, "ACTIVE")
        assert client.http.get("/kilonova/v1/findings?rules=true").json() == {"findings": []}
        assert client.http.get("/kilonova/v1/actions").json() == {"actions": []}
        answer = httpx.get(f"{client.http.base_url}/metrics", trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    told = numbers(answer.text)
    assert told["kilonova_actions_late"] == 0
    assert told['kilonova_services{binary="nova-compute",state="up"}'] == 1
    assert server not in answer.text


def test_what_is_wrong_is_told(cloud: Cloud) -> None:
    with cloud.client() as client:
        cloud.change("update hosts set vcpus_used = vcpus_used + 1")
        found = client.http.get("/kilonova/v1/findings?rules=true").json()["findings"]
        assert [one["kind"] for one in found] == ["host_usage"]
        assert client.http.get("/kilonova/v1/findings").json() == {"findings": []}  # the rules cost: only if asked
        cloud.change("update hosts set vcpus_used = vcpus_used - 1")


def test_bad_questions_and_other_people(cloud: Cloud) -> None:
    with cloud.client() as client:
        base = str(client.http.base_url)
        assert client.http.get("/kilonova/v1/findings?rules=perhaps").status_code == 400
        assert client.http.get("/kilonova/v1/actions?unknown=1").status_code == 400
        assert client.http.get("/kilonova/v1/nothing").status_code == 404
        assert client.http.post("/kilonova/v1/findings").status_code == 405
        links = client.http.get("/kilonova/v1").json()["version"]["links"]
        assert [client.http.get(link["href"]).status_code for link in links] == [200, 200, 200]
    for path in ("/kilonova/v1/findings", "/kilonova/v1/actions", "/kilonova/v1"):
        assert httpx.get(base + path, trust_env=False).status_code == 401


def test_a_member_is_not_told(cloud: Cloud) -> None:
    with cloud.client("demo") as client:
        assert client.http.get("/kilonova/v1/findings").status_code == 403
        assert client.http.get("/kilonova/v1/actions").status_code == 403
