"""Requests whose shape Nova accepts or refuses: found by holding our answers against its schemas."""

from pathlib import Path
from typing import Any

import pytest

from tests.functional.compute_api import compute_api
from tests.functional.front_door import front_door
from tests.functional.test_foreign_objects import things

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHzrgxMGIU4Z6u4jTPXUPJRNMkZcXJbAoAbTs0vVKnwX a@b"


async def test_an_address_has_one_way_of_writing(tmp_path: Path) -> None:
    async with front_door(tmp_path) as door:
        mine = await things(door)
        url, headers = f"/compute/v2.1/servers/{mine['server']}", {"x-auth-token": door.tokens["member"]}
        body = {"server": {"accessIPv6": "::babe:220.12.22.2", "accessIPv4": "10.0.0.1"}}
        changed = await door.http.put(url, json=body, headers=headers)
        assert changed.json()["server"]["accessIPv6"] == "::babe:dc0c:1602"
        image = (await door.http.get(url, headers=headers)).json()["server"]["image"]["id"]
        body = {"server": {"name": "b", "imageRef": image, "flavorRef": "1", "accessIPv6": "2001:DB8:0:0::1"}}
        made = (await door.http.post("/compute/v2.1/servers", json=body, headers=headers)).json()["server"]["id"]
        shown = (await door.http.get(f"/compute/v2.1/servers/{made}", headers=headers)).json()["server"]
        assert shown["accessIPv6"] == "2001:db8::1"
        refused = await door.http.put(url, json={"server": {"accessIPv6": ""}}, headers=headers)
        assert refused.status_code == 400


@pytest.mark.parametrize(
    "options",
    [{"config_drive": "ON"}, {"return_reservation_id": "Off"}, {"adminPass": "x" * 256}],
    ids=["config_drive", "return_reservation_id", "adminPass"],
)
async def test_a_create_may_be_written_in_all_of_novas_ways(tmp_path: Path, options: dict[str, Any]) -> None:
    async with front_door(tmp_path) as door:
        mine = await things(door)
        body = {"server": {"name": "b", "imageRef": mine["image_id"], "flavorRef": "1", **options}}
        answer = await door.http.post(
            "/compute/v2.1/servers", json=body, headers={"x-auth-token": door.tokens["member"]}
        )
        assert answer.status_code == 202, answer.text


async def test_ids_of_the_identity_service_are_told_from_nonsense(tmp_path: Path) -> None:
    async with compute_api(tmp_path) as api:
        private = {"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}}
        flavor = (await api("admin", "POST /flavors", body=private)).json()["flavor"]["id"]
        for project in ("10.11.12.13", "x" * 65, "é"):
            body = {"addTenantAccess": {"tenant": project}}
            refused = await api("admin", f"POST /flavors/{flavor}/action", body=body)
            assert refused.status_code == 400
            assert refused.json()["badRequest"]["message"].endswith("is not a valid project.")
        assert (await api("admin", f"GET /flavors/{flavor}/os-flavor-access")).json() == {"flavor_access": []}
        body = {"keypair": {"name": "k", "public_key": KEY, "user_id": "10.11.12.13"}}
        refused = await api("admin", "POST /os-keypairs", 10, body)
        assert refused.json()["badRequest"]["message"] == "User ID 10.11.12.13 is not a valid user."
        assert (await api("admin", "GET /os-keypairs?user_id=%20", 10)).status_code == 400


async def test_an_empty_key_is_no_key(tmp_path: Path) -> None:
    async with compute_api(tmp_path) as api:
        refused = await api("member", "POST /os-keypairs", body={"keypair": {"name": "k", "public_key": ""}})
        assert refused.status_code == 400
        assert (await api("member", "GET /os-keypairs")).json() == {"keypairs": []}


@pytest.mark.parametrize(
    ("call", "version", "body"),
    [
        ("POST /servers/{}/action", 1, {"resize": {"flavorRef": "x" * 256}}),
        ("POST /servers/{}/action", 91, {"unshelve": {"availability_zone": "x" * 256, "host": "y" * 256}}),
        ("POST /servers/{}/action", 14, {"evacuate": {"adminPass": "x" * 256}}),
        ("PUT /servers/{}", 104, {"server": {"pinned_availability_zone": " x "}}),
        ("POST /os-server-groups", 64, {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {}}}),
    ],
)
async def test_what_nova_lets_pass_is_not_refused_for_its_shape(
    tmp_path: Path, call: str, version: int, body: dict[str, Any]
) -> None:
    """It may still be refused for what it says: then in other words."""
    if "server_group" in body:
        body["server_group"]["rules"] = {"max_server_per_host": 2**31}
    async with front_door(tmp_path) as door:
        server = (await things(door))["server"]
        method, path = call.format(server).split()
        headers = {"x-auth-token": door.tokens["admin"], "openstack-api-version": f"compute 2.{version}"}
        answer = await door.http.request(method, f"/compute/v2.1{path}", json=body, headers=headers)
        assert "Invalid input for" not in answer.text


@pytest.mark.parametrize("zone", [" ", " x ", ""])
async def test_a_zone_to_come_back_in_has_a_name(tmp_path: Path, zone: str) -> None:
    async with front_door(tmp_path) as door:
        server = (await things(door))["server"]
        headers = {"x-auth-token": door.tokens["member"], "openstack-api-version": "compute 2.77"}
        body = {"unshelve": {"availability_zone": zone}}
        answer = await door.http.post(f"/compute/v2.1/servers/{server}/action", json=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"].startswith("Invalid input for")
